-- A router's record is `EPOCH RENEWED INSTANCE`: its epoch, when it said so last, ms, and the process that did.
-- Nothing where there is none.
local function routerRecord(routersKey, routerId)
  local record = redis.call('HGET', routersKey, routerId) or ''
  local epoch, renewedMs, instance = string.match(record, '^(%d+) (%d+) (.*)$')
  if not epoch or #epoch > 15 or #renewedMs > 15 then
    return nil
  end
  return tonumber(epoch), tonumber(renewedMs), instance
end
