#!lua flags=allow-oom
--[[
  Keeps the worker alive, counts the pages of its leases anew, whatever stands among them, and drops reserved ones past
  their deadline.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released

  ARGV[1] epoch
  ARGV[2] capacity, pages
  ARGV[3] time to live of the record, ms
  ARGV[4] time to live of the epoch, ms
  ARGV[5] time to live of a reserved lease whose deadline was lost, ms

  Returns the pages that are promised to nobody, or
  -1 the worker's record is gone, or one of its keys is of another type than ours: register again
  -2 another process has registered under this id
]]
--- @include now-ms
--- @include check-epoch
--- @include drop-expired
--- @include recount
--- @include outlive-worker
--- @include foreign-keys

if #foreignKeys(KEYS) > 0 then
  return -1
end
local refused = checkEpoch(KEYS[1], KEYS[2], ARGV[1])
if refused then
  return refused
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[2], 'capacity', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local now = nowMs()
local promised = recount(KEYS[2], KEYS[3], KEYS[4], now + tonumber(ARGV[5]))
local dropped = dropExpired(KEYS[2], KEYS[3], KEYS[4], now)
outliveWorker(KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return math.max(0, tonumber(ARGV[2]) - promised + dropped)
