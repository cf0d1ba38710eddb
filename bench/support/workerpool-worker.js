// workerpool worker: registers the handlers with workerpool.
// Thread: one of workerpool's.   Owns: nothing.
// @ts-check

import { loadPeer } from '../peers/load-peer.js'
import { loadHandlers } from './handlers-url.js'

const { default: workerpool } = await loadPeer('workerpool')
workerpool.worker((await loadHandlers()).byName)
