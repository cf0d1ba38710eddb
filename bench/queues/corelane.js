// corelane: its queue on Redis, its workers in processes of their own, and a submitter.
// Thread: main.   Owns: nothing.
// @ts-check
import { installedVersion } from '../systems/installed-version.js'
export const corelane = { name: 'corelane', version: () => '', missing: () => 'not yet', modes: [] }
