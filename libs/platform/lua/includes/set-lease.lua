-- Writes one lease ('r' reserved or 'c' committed) and moves the account by the difference.
-- Returns false, with nothing changed, when the capacity would be passed.
local function setLease(infoKey, leasesKey, leaseId, kind, pages)
  local account = redis.call('HMGET', infoKey, 'capacity', 'reserved', 'committed')
  local held = { r = 0, c = 0 }
  local lease = redis.call('HGET', leasesKey, leaseId)
  if lease then
    held[string.sub(lease, 1, 1)] = tonumber(string.sub(lease, 3))
  end
  local growth = pages - held.r - held.c
  if growth > 0 and tonumber(account[2]) + tonumber(account[3]) + growth > tonumber(account[1]) then
    return false
  end
  held[kind] = held[kind] - pages
  redis.call('HINCRBY', infoKey, 'reserved', 0 - held.r)
  redis.call('HINCRBY', infoKey, 'committed', 0 - held.c)
  redis.call('HSET', leasesKey, leaseId, string.format('%s:%d', kind, pages))
  return true
end
