// Drop-places script: gives places back, and tells the workers that wait for one.
// Thread: main.   Owns: nothing; text only.
//
// KEYS  1  holders of places, by when these expire
// ARGV  1   channel of freed places
//       2…  the holders
// Returns how many had a place.

import { type Script, script } from './script.ts'

/** See the table above. */
export const DROP_PLACES: Script = script(
  'drop-places',
  `
local dropped = 0
for i = 2, #ARGV do dropped = dropped + redis.call('ZREM', KEYS[1], ARGV[i]) end
if dropped > 0 then redis.call('PUBLISH', ARGV[1], '') end
return dropped
`,
)
