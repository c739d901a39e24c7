--[[
  Takes the worker's id over: a new epoch, an empty ledger, a fresh record.
  The epoch is the store's time in ms or the old epoch + 1, whichever is larger, so that it also grows
  when the store has lost its data.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines

  ARGV[1] attempt: unique per call, so that the same call sent twice registers once
  ARGV[2] descriptor, JSON
  ARGV[3] load, JSON
  ARGV[4] capacity, pages
  ARGV[5] time to live of the record, ms
  ARGV[6] time to live of the epoch, ms

  Returns the new epoch.
]]
--- @include now-ms

local known = redis.call('HMGET', KEYS[2], 'attempt', 'epoch')
if known[1] == ARGV[1] then
  return tonumber(known[2])
end
local epoch = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) + 1, nowMs())
local epochText = string.format('%.0f', epoch)
redis.call('SET', KEYS[1], epochText, 'PX', ARGV[6])
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[2], 'attempt', ARGV[1], 'epoch', epochText, 'descriptor', ARGV[2], 'load', ARGV[3],
  'capacity', ARGV[4], 'reserved', 0, 'committed', 0)
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return epoch
