-- Removes a group's members that are too old from a sorted set, where others may have members of the same time.
-- KEYS: the sorted set. ARGV: from which score, below which score, start of our members.
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '(' .. ARGV[2])) do
  if string.sub(member, 1, #ARGV[3]) == ARGV[3] then redis.call('ZREM', KEYS[1], member) end
end
