// Bundle: what users and threads load, as few large modules; node needs a millisecond or two for
// each module of a graph, and src has two hundred.
// @ts-check

import { resolve } from 'node:path'
import { rolldown } from 'rolldown'

/** What a user, node or a thread names; everything else is a chunk that these share. */
const DOORS = ['index', 'handler', 'redis', 'testing', 'cli/main', 'cli/bench-handlers']
const ENTRY = 'partition/entry'
const STEMS = [...DOORS, ENTRY]

/** The chunks, each before those that import it. */
const CHUNKS = ['handler', 'thread', 'queue']

/** Node would take comlink as CommonJS, at 6 ms a thread; its ES modules come without types. */
const COMLINK = {
  comlink: 'comlink/dist/esm/comlink.mjs',
  'comlink/dist/umd/node-adapter.js': 'comlink/dist/esm/node-adapter.mjs',
}

/** @typedef {import('rolldown').ChunkingContext} ChunkingContext */

/** @param {string} stem */
const sourceOf = (stem) => resolve(`src/${stem}.ts`)

/**
 * What a door loads before it runs; not what it may import later.
 *
 * @param {string} stem
 * @param {ChunkingContext} context
 */
function reachedFrom(stem, context) {
  const reached = new Set([sourceOf(stem)])
  for (const id of reached) {
    for (const next of context.getModuleInfo(id)?.importedIds ?? []) reached.add(next)
  }
  return reached
}

/**
 * The chunk of a module that several doors share. A thread must load nothing that only a main
 * thread needs, and the door of handler modules next to nothing.
 *
 * @param {string} id
 * @param {ChunkingContext} context
 */
function chunkOf(id, context) {
  const reaching = STEMS.filter((stem) => reachedFrom(stem, context).has(id))
  if (reaching.length === 1) return undefined
  if (reaching.includes('handler')) return 'handler'
  return reaching.includes(ENTRY) ? 'thread' : 'queue'
}

/**
 * V8 parses and keeps a source at a byte per character if it can. Comments are gone, and a string
 * may hold an escape wherever it holds a character.
 *
 * @param {string} code
 */
function ascii(code) {
  const escaped = (/** @type {string} */ unit) => unit.charCodeAt(0).toString(16).padStart(4, '0')
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${escaped(unit)}`)
}

/**
 * Bundles src.
 *
 * @returns {Promise<{ path: string, text: string }[]>} The files, each after those that it imports.
 */
export async function bundle() {
  const build = await rolldown({
    input: Object.fromEntries(STEMS.map((stem) => [stem, sourceOf(stem)])),
    platform: 'node',
    external: /^[^./]/,
    transform: { target: 'es2023' },
  })
  const { output } = await build.generate({
    dir: 'dist',
    format: 'es',
    sourcemap: true,
    // src is in the package.
    sourcemapExcludeSources: true,
    entryFileNames: '[name].js',
    // No hashes: a process that runs on goes on finding its chunks after the next build.
    chunkFileNames: 'chunk/[name].js',
    paths: COMLINK,
    codeSplitting: {
      groups: CHUNKS.map((chunk, index) => ({
        name: (id, context) => (chunkOf(id, context) === chunk ? chunk : null),
        debugName: chunk,
        priority: CHUNKS.length - index,
      })),
    },
    // A file of the next build may meet a loaded one, so what they export keeps its name.
    minifyInternalExports: false,
    comments: false,
  })
  await build.close()
  const depth = (/** @type {string} */ name) => (name.startsWith('chunk/') ? 0 : 1)
  return output
    .map((file) => ({
      name: file.fileName,
      text: file.type === 'chunk' ? file.code : String(file.source),
    }))
    .sort((a, b) => depth(a.name) - depth(b.name))
    .map(({ name, text }) => ({
      path: `dist/${name}`,
      text: name.endsWith('.js') ? ascii(text) : text,
    }))
}
