// One shot: other people's compilers and bundlers work once and end, before V8's last optimizing
// compiler has paid for itself: without it webpack takes two thirds of its processor time.

const hook = "import { setFlagsFromString } from 'node:v8'; setFlagsFromString('--max-opt=2')"

/** Environment of such a tool. `NODE_OPTIONS` takes no flags of V8, but a module that sets one. */
export const ONE_SHOT = {
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hook)}`,
} as const
