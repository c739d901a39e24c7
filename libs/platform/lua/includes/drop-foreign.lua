-- Removes what of a worker's five keys is of another type than ours: somebody else wrote there, and each verb would fail
-- for as long as it stays. Returns whether there was any.
local function dropForeign(keys)
  local types = { 'string', 'hash', 'hash', 'zset', 'zset' }
  local found = false
  for i, key in ipairs(keys) do
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' and kind ~= types[i] then
      redis.call('DEL', key)
      found = true
    end
  end
  return found
end
