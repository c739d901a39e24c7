#!lua flags=allow-oom
--[[
  Reads where the stream of announcements stands, and the store's time. It writes nothing, and yet has no flag
  no-writes: a store that takes no writes refuses it, since in such a one everybody is silent and nobody has gone.

  KEYS[1] loads

  Returns { time in ms, id of the oldest entry, id of the newest }; ids are empty where there is none.
]]
--- @include now-ms

local function idOf(entries)
  return entries[1] and entries[1][1] or ''
end
return {
  nowMs(),
  idOf(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)),
  idOf(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)),
}
