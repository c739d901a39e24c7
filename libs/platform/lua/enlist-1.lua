#!lua flags=allow-oom
--[[
  Registers a router, or renews its record. The process whose record lives keeps its epoch; any other gets a new one,
  the store's time in ms or one more than the last where that is larger.

  KEYS[1] routers

  ARGV[1] router id
  ARGV[2] instance: the registering process, the same for all its calls
  ARGV[3] the epoch that it holds so far, 0 for none
  ARGV[4] the latest epoch of its own that a worker's ledger has refused, 0 for none: it gets a later one
  ARGV[5] time to live of the record, ms
  ARGV[6] how long one that has run out is remembered, ms
  ARGV[7] host:port that it listens at, empty while it does not

  Returns {epoch, how many routers there are whose records live, this one included, the addresses of these}, or {code}:
  -6 another process has registered since the held epoch: nothing is changed
]]
--- @include now-ms
--- @include is-foreign
--- @include router-record

if isForeign(KEYS[1], 'hash') then
  redis.call('DEL', KEYS[1])
end
local now = nowMs()
local all = redis.call('HGETALL', KEYS[1])
local others = 0
local addresses = {}
for i = 1, #all, 2 do
  local _, renewedMs, _, address = routerRecord(KEYS[1], all[i])
  if renewedMs and now < renewedMs + tonumber(ARGV[5]) and all[i] ~= ARGV[1] then
    others = others + 1
    if address ~= '' then
      addresses[#addresses + 1] = address
    end
  end
  if not renewedMs or renewedMs + tonumber(ARGV[5]) + tonumber(ARGV[6]) <= now then
    redis.call('HDEL', KEYS[1], all[i])
  end
end
local held, refused = tonumber(ARGV[3]), tonumber(ARGV[4])
local epoch, renewedMs, instance = routerRecord(KEYS[1], ARGV[1])
if epoch and instance ~= ARGV[2] and held > 0 and epoch > held then
  return { -6 }
end
local isOwn = epoch and instance == ARGV[2] and now < renewedMs + tonumber(ARGV[5])
if not isOwn or epoch <= refused then
  epoch = math.max((epoch or 0) + 1, held + 1, refused + 1, now)
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f %s %s', epoch, now, ARGV[2], ARGV[7]))
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[5]) + tonumber(ARGV[6]))
if ARGV[7] ~= '' then
  addresses[#addresses + 1] = ARGV[7]
end
return { epoch, others + 1, unpack(addresses) }
