#!lua flags=no-writes
--[[
  Reads the account of one worker in one instant.

  KEYS[1] info
  KEYS[2] leases

  Returns { epoch, capacity, reserved, committed, leases }, or nil when the worker's record is gone.
]]
local account = redis.call('HMGET', KEYS[1], 'epoch', 'capacity', 'reserved', 'committed')
if not account[1] then
  return nil
end
return { account[1], account[2], account[3], account[4], redis.call('HLEN', KEYS[2]) }
