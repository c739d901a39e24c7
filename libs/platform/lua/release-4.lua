--[[
  Gives a lease's pages back. An older epoch's leases went with it, so its release has nothing to do.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines

  ARGV[1] epoch
  ARGV[2] lease id

  Returns
   0 done, or nothing was held
]]
--- @include check-epoch

if checkEpoch(KEYS[1], KEYS[2], ARGV[1]) then
  return 0
end
local lease = redis.call('HGET', KEYS[3], ARGV[2])
if lease then
  local field = string.sub(lease, 1, 1) == 'c' and 'committed' or 'reserved'
  -- Deletions first: at its memory limit Redis refuses a script that begins with a write that may grow.
  redis.call('HDEL', KEYS[3], ARGV[2])
  redis.call('ZREM', KEYS[4], ARGV[2])
  redis.call('HINCRBY', KEYS[2], field, 0 - tonumber(string.sub(lease, 3)))
end
return 0
