-- The worker's current epoch and the process that holds it, as texts; nil where none is known.
local function epochHolder(epochKey)
  local held = redis.call('GET', epochKey)
  if not held then
    return nil, nil
  end
  return string.match(held, '^(%d+) (.*)$')
end
