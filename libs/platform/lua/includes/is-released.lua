-- Whether a lease was given back in this epoch: what comes late for it must not bring it back.
local function isReleased(releasedKey, leaseId, nowMs)
  local untilMs = redis.call('ZSCORE', releasedKey, leaseId)
  return untilMs and tonumber(untilMs) > nowMs
end
