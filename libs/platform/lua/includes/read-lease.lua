-- What stands in a lease: its state ('r' reserved, 'c' committed), its pages, and the router that reserved it with its
-- epoch, where one is named. Nothing for what is no lease.
local function readLease(text)
  local state, pages, owner = string.match(text, '^([rc]):(%d+)(.*)$')
  if not state or #pages > 15 then
    return nil
  end
  if owner == '' then
    return state, tonumber(pages)
  end
  local routerId, routerEpoch = string.match(owner, '^:([%w._-]+):(%d+)$')
  if not routerId or #routerEpoch > 15 then
    return nil
  end
  return state, tonumber(pages), routerId, tonumber(routerEpoch)
end
