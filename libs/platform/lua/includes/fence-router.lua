--- @include drop-reserved
-- Which routers reserve pages here is remembered as ID → `EPOCH UNTIL`: what comes from an earlier epoch of a router is
-- refused for so long, five minutes after which nothing travels.

-- The least epoch with which a router may reserve, nil where nothing is known.
local function leastRouterEpoch(routersKey, routerId, nowMs)
  local epoch, untilMs = string.match(redis.call('HGET', routersKey, routerId) or '', '^(%d+) (%d+)$')
  return epoch and tonumber(untilMs) > nowMs and tonumber(epoch) or nil
end

-- Refuses a router's epochs before `leastEpoch` from here on, and drops what they have reserved. A lease that its worker
-- has committed stays: its request runs there. Returns how many pages were dropped.
local function fenceRouter(keys, routerId, leastEpoch, untilMs)
  local dropped = 0
  for _, leaseId in ipairs(redis.call('ZRANGEBYSCORE', keys.deadlines, '-inf', '+inf')) do
    local lease = redis.call('HGET', keys.leases, leaseId)
    if lease then
      local _, _, holder, epoch = readLease(lease)
      if holder == routerId and epoch < leastEpoch then
        dropped = dropped + dropReserved(keys.info, keys.leases, keys.deadlines, leaseId)
      end
    end
  end
  redis.call('HSET', keys.routers, routerId, string.format('%.0f %.0f', leastEpoch, untilMs))
  return dropped
end
