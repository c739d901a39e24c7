-- A router's record is `EPOCH RENEWED INSTANCE ADDRESS`: its epoch, when it said so last, ms, the process that did, and
-- the host:port that it listens at, which may be missing.
-- Nothing where there is none.
local function routerRecord(routersKey, routerId)
  local record = redis.call('HGET', routersKey, routerId) or ''
  local epoch, renewedMs, instance, address = string.match(record, '^(%d+) (%d+) (%S*) ?(%S*)$')
  if not epoch or #epoch > 15 or #renewedMs > 15 then
    return nil
  end
  return tonumber(epoch), tonumber(renewedMs), instance, address
end
