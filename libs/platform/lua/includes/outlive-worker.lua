-- Lets the ledger's keys vanish by themselves soon after the worker's record does.
local function outliveWorker(infoKey, ...)
  local ttlMs = redis.call('PTTL', infoKey) + 10000
  for _, key in ipairs({ ... }) do
    redis.call('PEXPIRE', key, ttlMs)
  end
end
