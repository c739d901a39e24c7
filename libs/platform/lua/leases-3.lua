#!lua flags=no-writes
--[[
  Reads a worker's account and all its leases in one instant, for people who look.

  KEYS[1] info
  KEYS[2] leases
  KEYS[3] deadlines

  Returns { now, epoch, capacity, reserved, committed, { lease id, its fields, … }, { lease id, deadline, … } }, or nil
  when the worker's record is gone.
]]
--- @include now-ms

local account = redis.call('HMGET', KEYS[1], 'epoch', 'capacity', 'reserved', 'committed')
if not account[1] then
  return nil
end
local leases = redis.call('HGETALL', KEYS[2])
local deadlines = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '+inf', 'WITHSCORES')
return { nowMs(), account[1], account[2], account[3], account[4], leases, deadlines }
