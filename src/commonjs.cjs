// CommonJS: loads the ES modules of the package where only CommonJS can be loaded, as in Jest.
// Thread: main.   Owns: what it has loaded.
// Node's own `require` and bundlers take the ES modules themselves. The rest are loaders that
// run code in a realm of their own, and a copy of the code for them would double the package.
'use strict'

// Not by `require`: a test may have mocked it.
const { readFileSync } = process.getBuiltinModule('node:fs')
const { dirname, join } = process.getBuiltinModule('node:path')
const { pathToFileURL } = process.getBuiltinModule('node:url')

const BUNDLERS_PAGE = 'https://github.com/corelane/corelane/blob/main/docs/bundlers.md'

/** Modules by path. */
const loaded = new Map()

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const what = `corelane cannot find its own file ${path}. If the application is bundled`
    throw new Error(`${what}, the tool must use the condition "module": see ${BUNDLERS_PAGE}`, {
      cause,
    })
  }
}

/** The names of an export as getters: `a,b as c`. */
function gettersOf(names, from = '') {
  const getters = names.split(',').map((name) => {
    const [local, exported = local] = name.split(' as ')
    return `get ${exported}() { return ${from}${local} }`
  })
  return `$define({ ${getters.join(', ')} })`
}

/**
 * A function that does what an ES module does. Those of the package import in their first lines
 * and export in their last one, as rolldown minifies them; each line keeps its number.
 */
function functionOf(text) {
  const body = text
    .replace(
      /^import\{(.*)\}from(".*");$/gm,
      (_, names, id) => `const { ${names.replace(/ as /g, ': ')} } = $load(${id})`,
    )
    .replace(/^import ([\w$]+) from(".*");$/gm, 'const $1 = $$load($2)')
    .replace(
      /^export\{(.*)\}from(".*");$/gm,
      (_, names, id) => `{ const $from = $load(${id}); ${gettersOf(names, '$from.')} }`,
    )
    .replace(/^export\{(.*)\};$/gm, (_, names) => gettersOf(names))
    .replace(/\bimport\((".*?")\)/g, 'Promise.resolve($1).then($$load)')
    .replace(/\bimport\.meta\.url\b/g, '$$url')
  return `(($load, $define, $url) => { 'use strict'; ${body}\n})`
}

/** Loads one of our modules, Node's, or a package; its default export is what CommonJS exports. */
function load(id, folder = __dirname) {
  if (id.startsWith('node:')) return process.getBuiltinModule(id)
  if (!id.startsWith('.')) return require(id.replace('/esm/', '/umd/').replace(/\.mjs$/, '.js'))
  const path = join(folder, id)
  if (path.endsWith('.cjs')) return require(path)
  const known = loaded.get(path)
  if (known !== undefined) return known
  const module = {}
  loaded.set(path, module)
  // biome-ignore lint/security/noGlobalEval: a function of this realm, which vm's would not be.
  const run = globalThis.eval(`${functionOf(read(path))}\n//# sourceURL=${path}`)
  run(
    (next) => load(next, dirname(path)),
    (getters) => Object.defineProperties(module, Object.getOwnPropertyDescriptors(getters)),
    pathToFileURL(path).href,
  )
  return module
}

module.exports = load
