// Own script: renews partitions, takes those that are free, or gives them up. One call for all:
// most workers are idle. The epoch stays, so that of the next owner is higher.
//
// KEYS  1…  owner of each partition
// ARGV  1  worker
//       2  lease, ms
//       3  a letter for each partition: `1` if it is to be taken if it is free, `-` if it is to be
//          given up, else `0`
//       4  channel of wakes
// Returns of each partition: 1 if it is the worker's, else 0; and its epoch.

import { type Script, script } from './script.ts'

export const OWN: Script = script('own')`
local time, reply, isAnyFree = now(), {}, false
for i, key in ipairs(KEYS) do
  local own = redis.call('HMGET', key, 'owner', 'epoch', 'until')
  local epoch, letter = tonumber(own[2] or 0), string.sub(ARGV[3], i, i)
  local isMine = own[1] == ARGV[1]
  local isFree = not own[1] or tonumber(own[3]) < time
  if isMine and letter == '-' then
    redis.call('HDEL', key, 'owner', 'until')
    isMine, isAnyFree = false, true
  elseif not isMine and isFree and letter == '1' then
    isMine, epoch = true, epoch + 1
    redis.call('HSET', key, 'owner', ARGV[1], 'epoch', string.format('%.0f', epoch))
  end
  if isMine then redis.call('HSET', key, 'until', time + ARGV[2]) end
  reply[2 * i - 1], reply[2 * i] = isMine and 1 or 0, epoch
end
if isAnyFree then redis.call('PUBLISH', ARGV[4], '!') end
return reply
`
