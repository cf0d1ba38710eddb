// Builds an application of Angular. Arguments: the builders' package, the workspace, the output.
const [, , builders, workspace, outputPath] = process.argv
const { createRequire } = require('node:module')
const { dirname } = require('node:path')

const manifest = require.resolve(`${builders}/package.json`)
const near = createRequire(manifest)
const { Architect } = near('@angular-devkit/architect')
const { TestingArchitectHost } = near('@angular-devkit/architect/testing')
const { json } = near('@angular-devkit/core')

async function build() {
  const registry = new json.schema.CoreSchemaRegistry()
  registry.addPostTransform(json.schema.transforms.addUndefinedDefaults)
  const host = new TestingArchitectHost(workspace)
  await host.addBuilderFromPackage(dirname(manifest))
  host.getProjectMetadata = async () => ({ root: '', cli: { cache: { enabled: false } } })
  const target = { project: 'application', target: 'build' }
  host.addTarget(target, '@angular/build:application', {
    browser: 'src/main.ts',
    index: 'src/index.html',
    tsConfig: 'tsconfig.json',
    styles: ['src/styles.scss'],
    outputPath,
    outputHashing: 'all',
    progress: false,
    sourceMap: true,
  })
  const run = await new Architect(host, registry).scheduleTarget(target)
  const { success, error } = await run.result
  await run.stop()
  if (!success) throw new Error(error)
}

build().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
