// Compiles folders with one version of TypeScript, in one process, which parses each file once.
// Prints what is wrong in the files that are there and in corelane's types. Files of others are
// read, and checked as far as those ask for them. Arguments: the version, the folders.
const [, , version, ...folders] = process.argv
const ts = require(version)

/** Files by how they are parsed. */
const sources = new Map()

function diagnosticsOf(folder) {
  const { config } = ts.readConfigFile(`${folder}/tsconfig.json`, ts.sys.readFile)
  const { fileNames, options, errors } = ts.parseJsonConfigFileContent(config, ts.sys, folder)
  const host = ts.createCompilerHost(options)
  const { getSourceFile } = host
  host.getSourceFile = (name, how, ...others) => {
    const key = `${name} ${how.impliedNodeFormat} ${how.jsDocParsingMode}`
    if (!sources.has(key)) sources.set(key, getSourceFile.call(host, name, how, ...others))
    return sources.get(key)
  }
  const program = ts.createProgram(fileNames, options, host)
  const files = program.getSourceFiles()
  const isOurs = ({ fileName }) => !/\/node_modules\/(?!corelane\/)/.test(fileName)
  const ours = files.filter(isOurs)
  if (!ours.some(({ fileName }) => fileName.includes('/corelane/'))) throw new Error('no types')
  return [
    ...errors,
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...ours.flatMap((file) => program.getSyntacticDiagnostics(file)),
    ...ours.flatMap((file) => program.getSemanticDiagnostics(file)),
  ]
}

const all = folders.flatMap(diagnosticsOf)
const host = {
  getCanonicalFileName: (name) => name,
  getCurrentDirectory: ts.sys.getCurrentDirectory,
  getNewLine: () => '\n',
}
process.stdout.write(ts.formatDiagnostics(all, host))
