// Clients of Angular: its builders compile, style and minify an application and a library on our
// pool, and what they make is the same to the byte, hashes in names included.

import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { CLIENT_MS, ClientFolder } from '../support/clients.ts'
import { describeWithTools } from '../support/locked-packages.ts'

const tools = join(import.meta.dirname, 'tools/angular')
const PARTS = ['first', 'second', 'third'] as const

const theme = '$ink: rgb(10 20 30);\n@mixin pad($n) { padding: $n * 4px; }\n'
const partStyle = "@use 'theme';\np { @include theme.pad(2); b { color: theme.$ink } }\n"

function part(name: string): string {
  return `import { Component, signal } from '@angular/core'
@Component({
  selector: 'part-${name}',
  template: '<p (click)="n.set(n() + 1)"><b>{{ n() }}</b></p>',
  styleUrl: './${name}.scss',
})
export class Part${name} { readonly n = signal(0) }\n`
}

function parts(folder: string): Record<string, string> {
  const files: Record<string, string> = { [`${folder}/_theme.scss`]: theme }
  for (const name of PARTS) {
    files[`${folder}/${name}.ts`] = part(name)
    files[`${folder}/${name}.scss`] = partStyle
  }
  return files
}

const application = {
  ...parts('application/src'),
  'application/tsconfig.json': JSON.stringify({
    compilerOptions: {
      target: 'ES2022',
      module: 'preserve',
      moduleResolution: 'bundler',
      strict: true,
      // As in an application that `ng new` makes.
      skipLibCheck: true,
      types: [],
      experimentalDecorators: true,
    },
    files: ['src/main.ts'],
  }),
  'application/src/index.html':
    '<!doctype html><html lang="en"><head><base href="/"></head><body><app-root></app-root></body></html>',
  'application/src/styles.scss': "@use './theme';\nbody { color: theme.$ink; }\n",
  'application/src/main.ts': `import { bootstrapApplication } from '@angular/platform-browser'
import { Component } from '@angular/core'
import { Partfirst } from './first'
import { Partsecond } from './second'
import { Partthird } from './third'
@Component({
  selector: 'app-root',
  imports: [Partfirst, Partsecond, Partthird],
  template: '<part-first /><part-second />@defer { <part-third /> }',
})
class App {}
void bootstrapApplication(App)\n`,
}

function library(folder: string): Record<string, string> {
  return {
    ...parts(`${folder}/src`),
    [`${folder}/package.json`]: JSON.stringify({ name: 'library', version: '1.0.0' }),
    [`${folder}/ng-package.json`]: JSON.stringify({
      dest: 'dist',
      lib: { entryFile: 'src/index.ts', styleIncludePaths: ['src'] },
    }),
    [`${folder}/src/index.ts`]: PARTS.map((name) => `export * from './${name}'\n`).join(''),
  }
}

describeWithTools(tools, () => {
  const work = new ClientFolder(tools, import.meta.filename)
  afterAll(() => work.remove())

  test(
    '@angular/build makes an application on our pool',
    async () => {
      work.write(application)
      const ours = work.overridden('@angular/build', 'piscina')
      const program = work.spec('clients-angular.cjs')
      const workspace = work.at('application')
      const make = async (builders: string, output: string) => {
        await work.run(program, builders, workspace, output)
        return work.contents(`application/${output}`)
      }
      const made = await make(ours, 'ours')
      expect(Object.keys(made).some((name) => /main-\w{8}\.js$/.test(name))).toBe(true)
      expect(Object.keys(made).length).toBeGreaterThan(8)
      const theirs = () => make('@angular/build', 'theirs')
      expect(made).toEqual(await work.theirs('application', theirs, made))
    },
    2 * CLIENT_MS,
  )

  test(
    'ng-packagr makes a library with Sass on our pool',
    async () => {
      const ours = work.overridden('ng-packagr', 'piscina')
      const program = work.spec('clients-ng-packagr.cjs')
      const make = async (packager: string, folder: string) => {
        work.write(library(folder))
        await work.run(program, packager, work.at(folder))
        return work.contents(`${folder}/dist`)
      }
      const made = await make(ours, 'ours')
      expect(made['/fesm2022/library.mjs']).toContain('padding:8px')
      const theirs = () => make('ng-packagr', 'theirs')
      expect(made).toEqual(await work.theirs('library', theirs, made))
    },
    2 * CLIENT_MS,
  )
})
