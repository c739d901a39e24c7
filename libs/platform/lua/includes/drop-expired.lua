-- Drops reserved leases past their deadline. Only reserved leases have one. Returns how many.
local function dropExpired(infoKey, leasesKey, deadlinesKey, nowMs)
  local expired = redis.call('ZRANGEBYSCORE', deadlinesKey, '-inf', nowMs)
  for _, leaseId in ipairs(expired) do
    local lease = redis.call('HGET', leasesKey, leaseId)
    if lease then
      redis.call('HINCRBY', infoKey, 'reserved', 0 - tonumber(string.sub(lease, 3)))
      redis.call('HDEL', leasesKey, leaseId)
    end
    redis.call('ZREM', deadlinesKey, leaseId)
  end
  return #expired
end
