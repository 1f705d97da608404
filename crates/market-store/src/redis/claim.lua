-- Raises the epoch of each partition by one and reads its position.
-- KEYS: positions, state. ARGV: the server's run id, then a field for each partition.
restarted(ARGV[1])
local found = {}
for i = 2, #ARGV do
  local epoch, position = string.match(redis.call('HGET', KEYS[1], ARGV[i]) or '0 -', '^(%d+) (.*)$')
  local claim = string.format('%.0f %s', tonumber(epoch) + 1, position)
  redis.call('HSET', KEYS[1], ARGV[i], claim)
  found[i - 1] = claim
end
return found
