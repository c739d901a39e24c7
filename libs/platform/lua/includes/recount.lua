--- @include read-lease
-- Makes the sums those of the leases, takes out what is no lease, and gives a reserved one without a deadline another.
-- Each verb keeps all that so; but a key can be lost alone, deleted or evicted, or somebody else writes into one, and pages
-- would then stay promised for as long as the epoch lives. Returns the pages of all leases, and the routers that have
-- reserved some, each epoch once as `ID EPOCH`.
local function recount(infoKey, leasesKey, deadlinesKey, deadlineMs)
  local sums = { r = 0, c = 0 }
  local routers, seen = {}, {}
  local leases = redis.call('HGETALL', leasesKey)
  for i = 1, #leases, 2 do
    local state, pages, routerId, routerEpoch = readLease(leases[i + 1])
    if not state then
      redis.call('HDEL', leasesKey, leases[i])
    else
      sums[state] = sums[state] + pages
      if state == 'r' and not redis.call('ZSCORE', deadlinesKey, leases[i]) then
        redis.call('ZADD', deadlinesKey, deadlineMs, leases[i])
      end
      local router = state == 'r' and routerId and string.format('%s %.0f', routerId, routerEpoch)
      if router and not seen[router] then
        seen[router] = true
        routers[#routers + 1] = router
      end
    end
  end
  redis.call('HSET', infoKey, 'reserved', sums.r, 'committed', sums.c)
  return sums.r + sums.c, routers
end
