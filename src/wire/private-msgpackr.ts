// Private msgpackr: the codec of objects, as an instance of the module that nobody else holds.
// Thread: any, one instance per thread.   Owns: that instance, so its arena and its extensions.
// Must not: be replaced by a plain import. msgpackr keeps its encode target, its extensions and its
// native string extractor in module variables: user code that imports msgpackr (or lmdb, or bullmq)
// would encode into our arena, change how dates travel on one thread only, and make every decode
// out of a ring scan the whole ring. An instance of our own is immune to all of it.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { compileFunction } from 'node:vm'
import type { Packr as PackrClass, Unpackr as UnpackrClass } from 'msgpackr'

const load = createRequire(import.meta.url)

/** Stands in for TextDecoder inside msgpackr, which would swallow a byte order mark. */
class ExactDecoder {
  decode(bytes: Buffer): string {
    return bytes.toString('utf8')
  }
}

function requireForMsgpackr(name: string): unknown {
  // The native extractor is optional to msgpackr, and slow on a view of a large buffer.
  if (name === 'msgpackr-extract') throw new Error('corelane runs msgpackr without it')
  return load(name)
}

function instantiate(): { Packr: typeof PackrClass; Unpackr: typeof UnpackrClass } {
  const filename = load.resolve('msgpackr')
  const module = { exports: {} }
  compileFunction(readFileSync(filename, 'utf8'), ['exports', 'require', 'module', 'TextDecoder'], {
    filename,
  })(module.exports, requireForMsgpackr, module, ExactDecoder)
  return module.exports as ReturnType<typeof instantiate>
}

let classes: ReturnType<typeof instantiate> | undefined

/**
 * msgpackr's classes, sharing no state with any other import of msgpackr. Made when first asked
 * for: that takes 15 ms, and a thread whose payloads are plain trees never needs them.
 */
export function privateMsgpackr(): ReturnType<typeof instantiate> {
  classes ??= instantiate()
  return classes
}

/** Encoder of the private instance. */
export type Packr = PackrClass
/** Decoder of the private instance. */
export type Unpackr = UnpackrClass
