#!lua flags=allow-oom
--[[
  Gives a lease's pages back, and remembers that for a while: a reservation or commit that a broken connection
  delivers late is refused then, since nobody would give its pages back before the epoch ends. An older epoch's
  leases went with it, so its release has nothing to do.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released

  ARGV[1] epoch
  ARGV[2] lease id
  ARGV[3] how long it is remembered, ms
  ARGV[4] how many are remembered at most, the latest

  Returns
   0 done, or nothing was held
]]
--- @include now-ms
--- @include check-epoch
--- @include read-lease
--- @include outlive-worker

if checkEpoch(KEYS[1], KEYS[2], ARGV[1]) then
  return 0
end
local now = nowMs()
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now)
local lease = redis.call('HGET', KEYS[3], ARGV[2])
if lease then
  local state, pages = readLease(lease)
  redis.call('HDEL', KEYS[3], ARGV[2])
  redis.call('ZREM', KEYS[4], ARGV[2])
  if state then
    redis.call('HINCRBY', KEYS[2], state == 'c' and 'committed' or 'reserved', 0 - pages)
  end
end
redis.call('ZADD', KEYS[5], now + tonumber(ARGV[3]), ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[5], 0, -1 - tonumber(ARGV[4]))
outliveWorker(KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 0
