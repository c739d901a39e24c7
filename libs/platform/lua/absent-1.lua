#!lua flags=no-writes
--[[
  Asks which routers have gone: their record has run out, or another process has taken it over.

  KEYS[1] routers

  ARGV[1] time to live of a record, ms
  ARGV[2] a router's id; the next one its epoch, and so on for each router

  Returns those of them that have: id, epoch, and so on. Nobody where the key is of another type than ours, until the
  next router that registers replaces it.
]]
--- @include now-ms
--- @include is-foreign
--- @include router-record

if isForeign(KEYS[1], 'hash') then
  return {}
end
local now = nowMs()
local absent = {}
for i = 2, #ARGV, 2 do
  local epoch, renewedMs = routerRecord(KEYS[1], ARGV[i])
  if epoch ~= tonumber(ARGV[i + 1]) or now >= renewedMs + tonumber(ARGV[1]) then
    absent[#absent + 1] = ARGV[i]
    absent[#absent + 1] = ARGV[i + 1]
  end
end
return absent
