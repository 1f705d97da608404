-- Moves positions and candles, all or nothing. What a script has written is not taken back when it fails, so everything is checked
-- ahead of the first write: fences, that nobody wrote since the candles were read, and that each key is what it should be. Redis itself
-- checks at the first write whether it may write at all (memory, disk, replica).
--
-- KEYS: positions, state, series, then a sorted set for each series and interval that changes.
-- ARGV, read from front to back:
--   run id, version that was read, version to leave, start of our members, seconds to live
--   number of partitions; for each: field, what it must be, what it becomes
--   newest trade
--   number of series; for each: field, record
--   for each sorted set: '' or the scores from and below which ours are too old (two), '1' to renew its time to live or '',
--     number of members that go, these, number of members that come, for each its score and itself
local CHUNK = 2000 -- arguments of one call, even: Lua's stack ends at 8,000
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local function write(command, key, count)
  while count > 0 do
    local part = math.min(count, CHUNK)
    redis.call(command, key, unpack(ARGV, at + 1, at + part))
    at = at + part
    count = count - part
  end
end

local run, version, next_version, ours, ttl = take(), take(), take(), take(), take()
restarted(run)
local moves = {}
for i = 1, tonumber(take()) do
  local field, stated, moved = take(), take(), take()
  local found = redis.call('HGET', KEYS[1], field) or '0 -'
  if found ~= stated then return {'fenced', tostring(i - 1), found} end
  moves[i] = {field, moved}
end
if (redis.call('HGET', KEYS[2], 'version') or '') ~= version then return {'moved'} end
redis.call('HLEN', KEYS[3])
for i = 4, #KEYS do redis.call('ZCARD', KEYS[i]) end

for _, move in ipairs(moves) do redis.call('HSET', KEYS[1], move[1], move[2]) end
redis.call('HSET', KEYS[2], 'version', next_version, 'newest', take())
write('HSET', KEYS[3], 2 * tonumber(take()))
for i = 4, #KEYS do
  local key = KEYS[i]
  local from = take()
  if from ~= '' then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, from, '(' .. take())) do
      if string.sub(member, 1, #ours) == ours then redis.call('ZREM', key, member) end
    end
  end
  local renew = take()
  write('ZREM', key, tonumber(take()))
  write('ZADD', key, 2 * tonumber(take()))
  if renew ~= '' then redis.call('EXPIRE', key, ttl) end
end
return {'done'}
