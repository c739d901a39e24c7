#!lua
--[[
  Sets pages aside until a deadline. The same lease again sets its pages and renews its deadline; a lease
  that is committed already stays as it is, since the call is then a late double.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released

  ARGV[1] epoch
  ARGV[2] lease id
  ARGV[3] pages
  ARGV[4] time to live, ms

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
local lease = redis.call('HGET', KEYS[3], ARGV[2])
if lease and string.sub(lease, 1, 1) == 'c' then
  return 0
end
dropExpired(KEYS[2], KEYS[3], KEYS[4], now)
if not setLease(KEYS[2], KEYS[3], ARGV[2], 'r', tonumber(ARGV[3])) then
  return -3
end
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[4]), ARGV[2])
outliveWorker(KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 0
