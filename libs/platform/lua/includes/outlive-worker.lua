-- Lets the ledger's keys vanish by themselves soon after the worker's record does.
local function outliveWorker(infoKey, leasesKey, deadlinesKey)
  local ttlMs = redis.call('PTTL', infoKey) + 10000
  redis.call('PEXPIRE', leasesKey, ttlMs)
  redis.call('PEXPIRE', deadlinesKey, ttlMs)
end
