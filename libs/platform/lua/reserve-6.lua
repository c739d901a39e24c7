#!lua
--[[
  Sets pages aside until a deadline. The same lease again sets its pages and renews its deadline; a lease
  that is committed already stays as it is, since the call is then a late double.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released
  KEYS[6] routers

  ARGV[1] epoch
  ARGV[2] lease id
  ARGV[3] pages
  ARGV[4] time to live, ms
  ARGV[5] the router that reserves, which the lease names; empty for nobody
  ARGV[6] the router's epoch
  ARGV[7] how long an earlier epoch of that router is refused, ms

  Returns
   0 done
  -1 the worker is not registered
  -2 the epoch is not the current one
  -3 the capacity would be passed: nothing is changed
  -5 the lease has been given back: nothing is changed
  -6 the router has a newer epoch, or was taken for dead: nothing is changed
]]
--- @include now-ms
--- @include check-epoch
--- @include drop-expired
--- @include fence-router
--- @include is-released
--- @include set-lease
--- @include outlive-worker

local refused = checkEpoch(KEYS[1], KEYS[2], ARGV[1])
if refused then
  return refused
end
local now = nowMs()
local routerId, routerEpoch = ARGV[5], tonumber(ARGV[6])
local least = routerId ~= '' and leastRouterEpoch(KEYS[6], routerId, now)
if least and routerEpoch < least then
  return -6
end
if isReleased(KEYS[5], ARGV[2], now) then
  return -5
end
local lease = redis.call('HGET', KEYS[3], ARGV[2])
if lease and string.sub(lease, 1, 1) == 'c' then
  return 0
end
dropExpired(KEYS[2], KEYS[3], KEYS[4], now)
local owner = ''
if routerId ~= '' then
  owner = ':' .. routerId .. ':' .. ARGV[6]
  if least ~= routerEpoch then
    local keys = { info = KEYS[2], leases = KEYS[3], deadlines = KEYS[4], routers = KEYS[6] }
    fenceRouter(keys, routerId, routerEpoch, now + tonumber(ARGV[7]))
  end
end
if not setLease(KEYS[2], KEYS[3], ARGV[2], 'r', tonumber(ARGV[3]), owner) then
  return -3
end
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[4]), ARGV[2])
outliveWorker(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
return 0
