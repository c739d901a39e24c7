#!lua flags=allow-oom
--[[
  Refuses routers that have gone, and drops what they have reserved; a lease that its worker has committed stays.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released
  KEYS[6] routers

  ARGV[1] epoch
  ARGV[2] how long they are refused, ms
  ARGV[3] a router's id; the next one its epoch, and so on for each router

  Returns how many pages were dropped, or
  -1 the worker is not registered
  -2 the epoch is not the current one
]]
--- @include now-ms
--- @include check-epoch
--- @include fence-router
--- @include outlive-worker

local refused = checkEpoch(KEYS[1], KEYS[2], ARGV[1])
if refused then
  return refused
end
local now = nowMs()
local keys = { info = KEYS[2], leases = KEYS[3], deadlines = KEYS[4], routers = KEYS[6] }
local dropped = 0
for i = 3, #ARGV, 2 do
  local least = tonumber(ARGV[i + 1]) + 1
  if least > (leastRouterEpoch(KEYS[6], ARGV[i], now) or 0) then
    dropped = dropped + fenceRouter(keys, ARGV[i], least, now + tonumber(ARGV[2]))
  end
end
outliveWorker(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
return dropped
