#!lua flags=allow-oom
--[[
  Sets the pages of a committed lease, up or down.

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
  -4 the lease is not committed: nothing is changed, so a late call cannot bring a released lease back
]]
--- @include now-ms
--- @include check-epoch
--- @include drop-expired
--- @include set-lease
--- @include outlive-worker

local refused = checkEpoch(KEYS[1], KEYS[2], ARGV[1])
if refused then
  return refused
end
local lease = redis.call('HGET', KEYS[3], ARGV[2])
if not lease or string.sub(lease, 1, 1) ~= 'c' then
  return -4
end
dropExpired(KEYS[2], KEYS[3], KEYS[4], nowMs())
if not setLease(KEYS[2], KEYS[3], ARGV[2], 'c', tonumber(ARGV[3])) then
  return -3
end
outliveWorker(KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 0
