--- @include epoch-holder
-- nil when `epoch` is the worker's current one and the worker is alive, else the code to return.
local function checkEpoch(epochKey, infoKey, epoch)
  local current = epochHolder(epochKey)
  if current and current ~= epoch then
    return -2
  end
  if not current or redis.call('HGET', infoKey, 'epoch') ~= epoch then
    return -1
  end
  return nil
end
