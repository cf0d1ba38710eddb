// Release-slots script: gives slots back, and tells the workers that wait for one.
//
// KEYS  1  holders of slots, by when these expire
// ARGV  1   channel of freed slots
//       2…  the holders
// Returns how many had a slot.

import { type Script, script } from './script.ts'

export const RELEASE_SLOTS: Script = script('release-slots')`
local dropped = 0
for i = 2, #ARGV do dropped = dropped + redis.call('ZREM', KEYS[1], ARGV[i]) end
if dropped > 0 then redis.call('PUBLISH', ARGV[1], '') end
return dropped
`
