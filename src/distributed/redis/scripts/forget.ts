// Forget script: forgets results. Commands that are pending stay.
//
// KEYS  1…  key of each command
// Returns how many had ended.

import { type Script, script } from './script.ts'

export const FORGET: Script = script('forget')`
local forgotten = 0
for _, key in ipairs(KEYS) do
  -- Removes it at once, and needs no right to DEL.
  if redis.call('GETRANGE', key, 0, 0) == 'E' then forgotten = forgotten + redis.call('PEXPIRE', key, 0) end
end
return forgotten
`
