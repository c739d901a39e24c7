#!lua flags=allow-oom
--[[
  Removes the worker's record and ledger. The epoch stays, so that its successor gets a higher one.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released
  KEYS[6] routers

  ARGV[1] epoch

  Returns
   0 done, or nothing was there
  -2 another process has registered under this id: nothing is changed
]]
--- @include epoch-holder

local current = epochHolder(KEYS[1])
if current and current ~= ARGV[1] then
  return -2
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
return 0
