-- Which of a worker's six keys are of another type than ours: somebody else has written there, and each verb fails for
-- as long as they stay.
local function foreignKeys(keys)
  local types = { 'string', 'hash', 'hash', 'zset', 'zset', 'hash' }
  local foreign = {}
  for i, key in ipairs(keys) do
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' and kind ~= types[i] then
      foreign[#foreign + 1] = key
    end
  end
  return foreign
end
