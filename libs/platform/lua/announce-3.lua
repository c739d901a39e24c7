#!lua flags=allow-oom
--[[
  Writes down what a worker says of itself, and tells routers through the stream. Keys of another type than ours are
  removed: each worker writes them again with its next heartbeat.

  KEYS[1] members
  KEYS[2] loads
  KEYS[3] wanted

  ARGV[1] kind: beat; freed, which goes to the stream only while somebody waits for pages; left
  ARGV[2] worker id
  ARGV[3] epoch
  ARGV[4] load: state, requests running and waiting, free pages, with blanks between
  ARGV[5] how many entries the stream keeps, about
  ARGV[6] time to live of members and stream, ms

  Returns
   0 nothing was told
   1 it stands in the stream
]]
--- @include now-ms
--- @include is-foreign

if isForeign(KEYS[1], 'hash') then
  redis.call('DEL', KEYS[1])
end
if isForeign(KEYS[2], 'stream') then
  redis.call('DEL', KEYS[2])
end
if ARGV[1] == 'left' then
  redis.call('HDEL', KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f %s %s', nowMs(), ARGV[3], ARGV[4]))
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
if ARGV[1] == 'freed' and redis.call('EXISTS', KEYS[3]) == 0 then
  return 0
end
local said = table.concat({ ARGV[1], ARGV[2], ARGV[3], ARGV[4] }, ' ')
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'a', said)
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return 1
