--[[
  Puts a worker on the list of those that may be alive. What is no list there is replaced by one: each worker puts
  itself on it again with its next heartbeat.

  KEYS[1] list of workers

  ARGV[1] worker id

  Returns
   0 it was on the list
   1 it has been put there
]]
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'set' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
end
-- Asked first, since Redis at its memory limit refuses SADD even where it would add nothing.
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return 0
end
return redis.call('SADD', KEYS[1], ARGV[1])
