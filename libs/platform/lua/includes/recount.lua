-- Makes the sums those of the leases, takes out what is no lease, and gives a reserved one without a deadline another.
-- Each verb keeps all that so; but a key can be lost alone, deleted or evicted, or somebody else writes into one, and pages
-- would then stay promised for as long as the epoch lives. Returns the pages of all leases.
local function recount(infoKey, leasesKey, deadlinesKey, deadlineMs)
  local sums = { r = 0, c = 0 }
  local leases = redis.call('HGETALL', leasesKey)
  for i = 1, #leases, 2 do
    local kind, pages = string.match(leases[i + 1], '^([rc]):(%d+)$')
    if not kind or #pages > 15 then
      redis.call('HDEL', leasesKey, leases[i])
    else
      sums[kind] = sums[kind] + tonumber(pages)
      if kind == 'r' and not redis.call('ZSCORE', deadlinesKey, leases[i]) then
        redis.call('ZADD', deadlinesKey, deadlineMs, leases[i])
      end
    end
  end
  redis.call('HSET', infoKey, 'reserved', sums.r, 'committed', sums.c)
  return sums.r + sums.c
end
