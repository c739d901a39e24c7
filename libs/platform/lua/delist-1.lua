#!lua flags=allow-oom
--[[
  Removes a router's record: what it has reserved is dropped by the next heartbeats of the workers.

  KEYS[1] routers

  ARGV[1] router id
  ARGV[2] epoch

  Returns
   0 done, or nothing of that epoch was there
]]
--- @include router-record

if routerRecord(KEYS[1], ARGV[1]) == tonumber(ARGV[2]) then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
