--[[
  Drops reserved leases past their deadline, or all leases when the worker's record is gone. Leases of older
  epochs are dropped when a newer one registers.

  KEYS[1] info
  KEYS[2] leases
  KEYS[3] deadlines

  Returns how many leases were dropped.
]]
--- @include now-ms
--- @include drop-expired

if redis.call('EXISTS', KEYS[1]) == 0 then
  local dropped = redis.call('HLEN', KEYS[2])
  redis.call('DEL', KEYS[2], KEYS[3])
  return dropped
end
return dropExpired(KEYS[1], KEYS[2], KEYS[3], nowMs())
