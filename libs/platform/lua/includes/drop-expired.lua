-- Drops reserved leases past their deadline. Only reserved leases have one. Returns how many pages they had.
local function dropExpired(infoKey, leasesKey, deadlinesKey, nowMs)
  local dropped = 0
  for _, leaseId in ipairs(redis.call('ZRANGEBYSCORE', deadlinesKey, '-inf', nowMs)) do
    local lease = redis.call('HGET', leasesKey, leaseId)
    local pages = lease and tonumber(string.match(lease, '^r:(%d+)$'))
    redis.call('ZREM', deadlinesKey, leaseId)
    if pages then
      redis.call('HDEL', leasesKey, leaseId)
      redis.call('HINCRBY', infoKey, 'reserved', 0 - pages)
      dropped = dropped + pages
    end
  end
  return dropped
end
