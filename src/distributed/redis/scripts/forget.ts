// Forget script: forgets results. Commands that are pending stay.
//
// KEYS  1…  key of each command
// Returns nothing.

import { type Script, script } from './script.ts'

export const FORGET: Script = script('forget')`
for _, key in ipairs(KEYS) do
  -- Removes it at once, and needs no right to DEL. One that is pending has no expiry.
  redis.call('PEXPIRE', key, 0, 'XX')
end
`
