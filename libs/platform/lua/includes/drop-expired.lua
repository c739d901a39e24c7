-- Drops reserved leases past their deadline. Only reserved leases have one. Returns how many.
local function dropExpired(infoKey, leasesKey, deadlinesKey, nowMs)
  local expired = redis.call('ZRANGEBYSCORE', deadlinesKey, '-inf', nowMs)
  for _, leaseId in ipairs(expired) do
    local lease = redis.call('HGET', leasesKey, leaseId)
    -- Deletions first: at its memory limit Redis refuses a script that begins with a write that may grow.
    redis.call('ZREM', deadlinesKey, leaseId)
    if lease then
      redis.call('HDEL', leasesKey, leaseId)
      redis.call('HINCRBY', infoKey, 'reserved', 0 - tonumber(string.sub(lease, 3)))
    end
  end
  return #expired
end
