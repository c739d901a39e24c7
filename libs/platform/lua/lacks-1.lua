#!lua flags=no-writes
--[[
  Asks which commands this user may not run on our keys.

  KEYS[1] one of the registry's

  ARGV[1] one of a worker's, which is not touched
  ARGV[2] a command, in small letters; and so on

  Returns those that it may not, in their order; none where the store knows no such question.
]]
local lacking = {}
if not redis.acl_check_cmd then
  return lacking
end
for i = 2, #ARGV do
  for _, key in ipairs({ KEYS[1], ARGV[1] }) do
    local known, may = pcall(redis.acl_check_cmd, ARGV[i], key)
    if not (known and may) and lacking[#lacking] ~= ARGV[i] then
      lacking[#lacking + 1] = ARGV[i]
    end
  end
end
return lacking
