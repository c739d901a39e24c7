-- The worker's current epoch and the process that holds it, as texts; nil where none is known, or where one stands that
-- is no time: an epoch after it could not be counted exactly.
local function epochHolder(epochKey)
  local held = redis.call('GET', epochKey)
  if not held then
    return nil, nil
  end
  local epoch, holder = string.match(held, '^(%d+) (.*)$')
  if not epoch or #epoch > 15 then
    return nil, nil
  end
  return epoch, holder
end
