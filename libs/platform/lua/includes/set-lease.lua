--- @include read-lease
-- Writes one lease ('r' reserved or 'c' committed) and moves the account by the difference. It names the router that
-- reserved it: `owner`, `:ID:EPOCH` or empty; the one that it named so far where that is nil.
-- Returns false, with nothing changed, when the capacity would be passed.
local function setLease(infoKey, leasesKey, leaseId, state, pages, owner)
  local account = redis.call('HMGET', infoKey, 'capacity', 'reserved', 'committed')
  local held = { r = 0, c = 0 }
  local lease = redis.call('HGET', leasesKey, leaseId)
  if lease then
    local heldState, heldPages = readLease(lease)
    if heldState then
      held[heldState] = heldPages
      owner = owner or string.match(lease, '^.:%d+(.*)$')
    end
  end
  local growth = pages - held.r - held.c
  if growth > 0 and tonumber(account[2]) + tonumber(account[3]) + growth > tonumber(account[1]) then
    return false
  end
  held[state] = held[state] - pages
  redis.call('HINCRBY', infoKey, 'reserved', 0 - held.r)
  redis.call('HINCRBY', infoKey, 'committed', 0 - held.c)
  redis.call('HSET', leasesKey, leaseId, string.format('%s:%d%s', state, pages, owner or ''))
  return true
end
