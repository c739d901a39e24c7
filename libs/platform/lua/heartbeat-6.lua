#!lua flags=allow-oom
--[[
  Keeps the worker alive, counts the pages of its leases anew, whatever stands among them, drops reserved ones past
  their deadline, and tells whose routers' the others are.

  KEYS[1] epoch
  KEYS[2] info
  KEYS[3] leases
  KEYS[4] deadlines
  KEYS[5] released
  KEYS[6] routers

  ARGV[1] epoch
  ARGV[2] capacity, pages
  ARGV[3] time to live of the record, ms
  ARGV[4] time to live of the epoch, ms
  ARGV[5] time to live of a reserved lease whose deadline was lost, ms
  ARGV[6] SHA-1 of the worker's descriptor, hex

  Returns { pages that are promised to nobody, then each router that has reserved some as `ID EPOCH` }, or { code }:
  -1 the worker's record is gone, or has another descriptor, or one of its keys is of another type than ours:
     register again
  -2 another process has registered under this id
]]
--- @include now-ms
--- @include check-epoch
--- @include drop-expired
--- @include fence-router
--- @include recount
--- @include outlive-worker
--- @include foreign-keys

if #foreignKeys(KEYS) > 0 then
  return { -1 }
end
local refused = checkEpoch(KEYS[1], KEYS[2], ARGV[1])
if refused then
  return { refused }
end
if redis.sha1hex(redis.call('HGET', KEYS[2], 'descriptor') or '') ~= ARGV[6] then
  return { -1 }
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[2], 'capacity', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local now = nowMs()
local promised, routers = recount(KEYS[2], KEYS[3], KEYS[4], now + tonumber(ARGV[5]))
local dropped = dropExpired(KEYS[2], KEYS[3], KEYS[4], now)
local known = redis.call('HGETALL', KEYS[6])
for i = 1, #known, 2 do
  if not leastRouterEpoch(KEYS[6], known[i], now) then
    redis.call('HDEL', KEYS[6], known[i])
  end
end
outliveWorker(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
return { math.max(0, tonumber(ARGV[2]) - promised + dropped), unpack(routers) }
