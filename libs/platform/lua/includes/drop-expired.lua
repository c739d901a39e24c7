--- @include drop-reserved
-- Drops reserved leases past their deadline. Only reserved leases have one. Returns how many pages they had.
local function dropExpired(infoKey, leasesKey, deadlinesKey, nowMs)
  local dropped = 0
  for _, leaseId in ipairs(redis.call('ZRANGEBYSCORE', deadlinesKey, '-inf', nowMs)) do
    dropped = dropped + dropReserved(infoKey, leasesKey, deadlinesKey, leaseId)
  end
  return dropped
end
