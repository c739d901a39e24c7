#!lua flags=allow-oom
--[[
  Takes a lease over for as long as the epoch lives and sets its pages. A lease that is unknown (swept, or
  lost with the store) is made, capacity permitting.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released

  ARGV[1] epoch
  ARGV[2] lease id
  ARGV[3] pages

  Returns
   0 done
  -1 the worker is not registered
  -2 the epoch is not the current one
  -3 the capacity would be passed: nothing is changed
  -5 the lease has been given back: nothing is changed
]]
--- @include now-ms
--- @include check-epoch
--- @include drop-expired
--- @include is-released
--- @include set-lease
--- @include outlive-worker

local refused = checkEpoch(KEYS[1], KEYS[2], ARGV[1])
if refused then
  return refused
end
local now = nowMs()
if isReleased(KEYS[5], ARGV[2], now) then
  return -5
end
-- A worker that commits late still gets its own lease, so it is taken out of the sweep's reach first.
local deadline = redis.call('ZSCORE', KEYS[4], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
dropExpired(KEYS[2], KEYS[3], KEYS[4], now)
if not setLease(KEYS[2], KEYS[3], ARGV[2], 'c', tonumber(ARGV[3])) then
  if deadline then
    redis.call('ZADD', KEYS[4], deadline, ARGV[2])
    dropExpired(KEYS[2], KEYS[3], KEYS[4], now)
  end
  return -3
end
outliveWorker(KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 0
