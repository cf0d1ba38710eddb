// poolifier worker: registers the handlers with poolifier.
// Thread: one of poolifier's.   Owns: nothing.
// @ts-check

import { loadPeer } from '../peers/load-peer.js'
import { loadHandlers } from './handlers-url.js'

const { ThreadWorker } = await loadPeer('poolifier')
export default new ThreadWorker((await loadHandlers()).byName)
