// Bundle: the files of the package. Node needs a millisecond or two for each module of a graph, and
// src has two hundred, so what users and threads load is a few large files.
// @ts-check

import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'
import { parseSync, Visitor } from 'rolldown/utils'
import { dts } from 'rolldown-plugin-dts'

const manifest = JSON.parse(readFileSync('package.json', 'utf8'))

/** Doors that share their classes; those that threads load stand alone. */
const MAIN_DOORS = ['index', 'jest-worker', 'piscina', 'redis', 'testing', 'prometheus']
const THREAD_DOORS = ['handler', 'opentelemetry']
const DOORS = [...MAIN_DOORS, ...THREAD_DOORS]
/** What only the bin loads. */
const CLI = ['cli/main', 'cli/bench-handlers']

/** The program of threads, and its file, which an application also bundles as text. */
const ENTRY = 'partition/entry'
const ENTRY_FILE = 'corelane-entry.cjs'

/** Loads ES modules as CommonJS. */
const COMMON_LOADER = 'commonjs.cjs'

/** Packages that are installed beside corelane; any other is copied into the files that use it. */
const INSTALLED = [manifest.dependencies, manifest.peerDependencies].flatMap(Object.keys)

/** The ES modules of comlink: as CommonJS it would cost an ES module 6 ms more. */
const COMLINK = {
  comlink: 'comlink/dist/esm/comlink.mjs',
  'comlink/dist/umd/node-adapter.js': 'comlink/dist/esm/node-adapter.mjs',
}

/**
 * @typedef {{ path: string, text: string }} BuiltFile
 * @typedef {import('rolldown').InputOptions} InputOptions
 * @typedef {import('rolldown').OutputOptions} OutputOptions
 */

/** Folders of the packages that were copied in. */
const copied = new Set()

/** @param {string} id */
function isInstalled(id) {
  return (
    id.startsWith('node:') || INSTALLED.some((name) => id === name || id.startsWith(`${name}/`))
  )
}

/** @param {readonly string[]} stems */
function sourcesOf(stems) {
  return Object.fromEntries(stems.map((stem) => [stem, resolve('src', `${stem}.ts`)]))
}

/**
 * Short code with a statement a line, so that a stack names a place, in ASCII, since V8 parses and
 * keeps a source at a byte per character if it can: a string may hold an escape wherever it holds a
 * character. Tools that follow files look for them in quotes, which minifying makes backticks. Lua
 * and pages come without their comments and their indentation.
 *
 * @param {string} path
 * @param {string} code
 */
function lines(path, code) {
  const quoted = code.replace(/`(\.\/[\w.-]+)`/g, '"$1"')
  /** @type {Set<number>} */
  const starts = new Set()
  const note = (/** @type {readonly { start: number }[]} */ nodes) => {
    for (const { start } of nodes) starts.add(start)
  }
  const body = (/** @type {{ body: readonly { start: number }[] }} */ node) => note(node.body)
  const cases = (/** @type {{ consequent: readonly { start: number }[] }} */ node) =>
    note(node.consequent)
  new Visitor({
    Program: body,
    BlockStatement: body,
    StaticBlock: body,
    ClassBody: body,
    SwitchCase: cases,
  }).visit(parseSync(path, quoted).program)
  starts.delete(0)
  const ends = [0, ...[...starts].sort((a, b) => a - b), quoted.length]
  const text = ends.slice(1).map((end, index) => quoted.slice(ends[index], end))
  const escaped = (/** @type {string} */ unit) => unit.charCodeAt(0).toString(16).padStart(4, '0')
  const bare = text.join('\n').replace(/^ *(?:--|\/\/) .*\n/gm, '')
  const flush = /#!lua|<!doctype html>/.test(bare) ? bare.replace(/^ +/gm, '') : bare
  return flush.replace(/[^\0-\x7f]/g, (unit) => `\\u${escaped(unit)}`)
}

/**
 * Takes Node's modules as they are: for an import Node makes a facade with each export of the
 * module, a seventh of the time in which the front door loads.
 *
 * @param {string} code - As {@link lines} makes it.
 */
function withoutFacades(code) {
  return code.replace(
    /^import(?:\{(.*)\}| (\w+) )from"(node:.*)";$/gm,
    (_, names, all, id) =>
      `const ${names ? `{${names.replaceAll(' as ', ':')}}` : all}=process.getBuiltinModule("${id}");`,
  )
}

/**
 * Runs rolldown.
 *
 * @param {InputOptions} input
 * @param {OutputOptions} output
 * @returns {Promise<BuiltFile[]>} Each after those that it imports.
 */
async function roll(input, output) {
  const build = await rolldown(input)
  const generated = await build.generate({ dir: 'dist', minifyInternalExports: false, ...output })
  await build.close()
  const chunks = generated.output.flatMap((file) => (file.type === 'chunk' ? [file] : []))
  for (const id of chunks.flatMap(({ moduleIds }) => moduleIds)) {
    const [, folder] = /^(?:\0.*?:)?(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id) ?? []
    if (folder !== undefined) copied.add(folder)
  }
  return chunks
    .sort((a, b) => Number(a.isEntry) - Number(b.isEntry))
    .map(({ fileName, code }) => ({ path: `dist/${fileName}`, text: code }))
}

/** All files of code lie beside the program of threads. */
const BESIDE = {
  name: 'beside',
  resolveId: (/** @type {string} */ id) =>
    id.endsWith(ENTRY_FILE)
      ? { id: `./${ENTRY_FILE}`, external: /** @type {const} */ ('absolute') }
      : undefined,
}

/** Names of functions and classes stay, for stacks, and statements are not joined. */
const keepNames = { function: true, class: true }
const SHORT = {
  mangle: { toplevel: true, keepNames },
  compress: { sequences: false, joinVars: false, keepNames },
  codegen: { removeWhitespace: true },
}

/**
 * Code. Names of files have no hash, so a process that runs finds its chunks after the next build.
 *
 * @param {readonly string[]} stems
 */
async function code(stems) {
  const files = await roll(
    {
      input: sourcesOf(stems),
      platform: 'node',
      transform: { target: 'es2023' },
      external: isInstalled,
      plugins: [BESIDE],
    },
    {
      format: 'es',
      entryFileNames: '[name].js',
      chunkFileNames: '[name].js',
      paths: COMLINK,
      codeSplitting: { groups: [{ name: 'queue', minShareCount: 2 }] },
      minify: SHORT,
      comments: { legal: true, annotation: false, jsdoc: false },
    },
  )
  return files.map(({ path, text }) => ({ path, text: withoutFacades(lines(path, text)) }))
}

/**
 * The doors for CommonJS: each compiles the ES modules when it is loaded.
 *
 * @returns {BuiltFile[]}
 */
function commonJs() {
  const loader = readFileSync(`src/${COMMON_LOADER}`, 'utf8')
  return [
    { path: `dist/${COMMON_LOADER}`, text: loader.replace(/^ *(?:\/\/|\/?\*).*\n/gm, '') },
    ...DOORS.map((door) => ({
      path: `dist/${door}.cjs`,
      // Properties, not getters: Jest mocks and spies on no others.
      text: `'use strict'\nmodule.exports = { ...require('./${COMMON_LOADER}')('./${door}.js') }\n`,
    })),
  ]
}

/**
 * The program of threads: a file that needs no other one, so that it can be copied anywhere, and
 * that has the program once, as text, since an application that is bundled without it needs that.
 * Its thread compiles the text as this file, line by line, which takes no longer than the file
 * would. A tool that follows `require` finds none.
 *
 * @returns {Promise<BuiltFile[]>}
 */
async function entry() {
  const alias = Object.entries(COMLINK).map(([name, path]) => [
    `${name}$`,
    resolve('node_modules', path),
  ])
  const [file] = await roll(
    {
      input: sourcesOf([ENTRY]),
      platform: 'node',
      transform: { target: 'es2023' },
      external: /^node:/,
      resolve: { alias: Object.fromEntries(alias) },
    },
    {
      format: 'cjs',
      entryFileNames: ENTRY_FILE,
      codeSplitting: false,
      minify: SHORT,
      comments: { legal: true, annotation: false, jsdoc: false },
    },
  )
  const program = lines(file.path, file.text).trim()
  const { PROGRAM_MARKER } = await import('../build/model/command.js')
  const text = `exports.ENTRY_TEXT = \`${program.replace(/[\\`]|\$(?=\{)/g, '\\$&')}\`
{
const { getEnvironmentData, setEnvironmentData } = process.getBuiltinModule('node:worker_threads')
if (getEnvironmentData('${PROGRAM_MARKER}')) {
setEnvironmentData('${PROGRAM_MARKER}', undefined)
module._compile(exports.ENTRY_TEXT, __filename)
}
}
`
  return [{ path: file.path, text }]
}

/**
 * Types: a file for each door and one that they share, from what tsc made of the modules. Those of
 * the ES modules name those of the CommonJS ones, so that a class has one type and not two.
 *
 * @returns {Promise<BuiltFile[]>}
 */
async function types() {
  const files = await roll(
    {
      input: Object.fromEntries(DOORS.map((door) => [door, `build/${door}.d.ts`])),
      external: /^[^./]/,
      plugins: [dts({ dtsInput: true, emitDtsOnly: true })],
    },
    {
      format: 'es',
      entryFileNames: '[name].d.cts',
      chunkFileNames: '[name].d.cts',
      codeSplitting: { groups: [{ name: 'shared', minShareCount: 2 }] },
    },
  )
  // The path of its first module is at the top of each.
  for (const file of files) file.text = file.text.replace(/^\/\/ build\/.*\n/m, '')
  for (const door of DOORS) {
    files.push({ path: `dist/${door}.d.ts`, text: `export * from './${door}.cjs'\n` })
  }
  files.push({ path: `dist/${ENTRY_FILE.replace('.cjs', '.d.cts')}`, text: 'export {}\n' })
  return files
}

/**
 * The licences of the packages that were copied in.
 *
 * @returns {BuiltFile}
 */
function licences() {
  const texts = [...copied].sort().map((folder) => {
    const { name, version, license } = JSON.parse(
      readFileSync(join(folder, 'package.json'), 'utf8'),
    )
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one))
    const text = file === undefined ? '' : readFileSync(join(folder, file), 'utf8').trim()
    return `${name} ${version}: ${license}\n\n${text}\n`
  })
  return { path: 'dist/licences.txt', text: texts.join(`\n${'-'.repeat(80)}\n\n`) }
}

/**
 * Makes the files of dist from src, and their types from build.
 *
 * @returns {Promise<BuiltFile[]>} Each after those that it loads.
 */
export async function bundle() {
  const files = await entry()
  for (const stems of [[...MAIN_DOORS, ...CLI], ...THREAD_DOORS.map((door) => [door])]) {
    files.push(...(await code(stems)))
  }
  return [...files, ...commonJs(), ...(await types()), licences()]
}
