-- Makes the sums those of the leases. Each verb keeps them so; but the leases' key can be lost alone, deleted or evicted,
-- and the pages of leases that nobody knows would then stay promised for as long as the epoch lives. Returns both sums
-- together.
local function recount(infoKey, leasesKey)
  local sums = { r = 0, c = 0 }
  for _, lease in ipairs(redis.call('HVALS', leasesKey)) do
    local kind = string.sub(lease, 1, 1)
    sums[kind] = sums[kind] + tonumber(string.sub(lease, 3))
  end
  redis.call('HSET', infoKey, 'reserved', sums.r, 'committed', sums.c)
  return sums.r + sums.c
end
