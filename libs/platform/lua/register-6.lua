#!lua flags=allow-oom
--[[
  Takes the worker's id over: a new epoch, an empty ledger, a fresh record.
  The epoch is the store's time in ms or the old epoch + 1, whichever is larger, so that it also grows
  when the store has lost its data. The process whose record lives has only missed the answer: it gets the
  same epoch, and nothing else changes. Where another descriptor stands there the epoch is a new one, since routers
  read a descriptor once an epoch. Keys of another type than ours are removed.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released
  KEYS[6] routers

  ARGV[1] instance: the registering process, the same for all its calls
  ARGV[2] the epoch that it holds so far, 0 for none
  ARGV[3] descriptor, JSON
  ARGV[4] capacity, pages
  ARGV[5] time to live of the record, ms
  ARGV[6] time to live of the epoch, ms

  Returns the new epoch, or
  -2 another process has registered since the held epoch: nothing is changed
]]
--- @include now-ms
--- @include epoch-holder
--- @include foreign-keys

local foreign = foreignKeys(KEYS)
for _, key in ipairs(foreign) do
  redis.call('DEL', key)
end
local current, holder = epochHolder(KEYS[1])
local record = redis.call('HMGET', KEYS[2], 'epoch', 'descriptor')
if current and holder == ARGV[1] and #foreign == 0 and record[1] == current and record[2] == ARGV[3] then
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  return tonumber(current)
end
local held = tonumber(ARGV[2])
if current and holder ~= ARGV[1] and held > 0 and tonumber(current) > held then
  return -2
end
local epoch = math.max(tonumber(current or 0) + 1, nowMs())
local epochText = string.format('%.0f', epoch)
redis.call('SET', KEYS[1], epochText .. ' ' .. ARGV[1], 'PX', ARGV[6])
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('HSET', KEYS[2], 'epoch', epochText, 'descriptor', ARGV[3], 'capacity', ARGV[4],
  'reserved', 0, 'committed', 0)
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return epoch
