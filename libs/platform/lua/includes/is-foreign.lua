-- Whether a key holds another type than ours: somebody else has written there.
local function isForeign(key, kind)
  local found = redis.call('TYPE', key).ok
  return found ~= kind and found ~= 'none'
end
