--- @include read-lease
-- Drops a reserved lease, and its deadline; one that is committed is its worker's. Returns how many pages it had.
local function dropReserved(infoKey, leasesKey, deadlinesKey, leaseId)
  local lease = redis.call('HGET', leasesKey, leaseId)
  local state, pages
  if lease then
    state, pages = readLease(lease)
  end
  redis.call('ZREM', deadlinesKey, leaseId)
  if state ~= 'r' then
    return 0
  end
  redis.call('HDEL', leasesKey, leaseId)
  redis.call('HINCRBY', infoKey, 'reserved', 0 - pages)
  return pages
end
