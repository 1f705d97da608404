-- Whether this server is another run than the one that the group was claimed in. A Redis that was restarted, or that was a replica,
-- may have lost its last writes, claims among them: then an epoch of theirs would be given twice, and whoever was fenced by such a
-- claim would be the owner again. So all epochs of the group jump to where none has been, and everybody claims anew.
local function restarted(run)
  if redis.call('HGET', KEYS[2], 'run') == run then return end
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local epoch, position = string.match(all[i + 1], '^(%d+) (.*)$')
    redis.call('HSET', KEYS[1], all[i], string.format('%.0f %s', tonumber(epoch) + 1048576, position))
  end
  redis.call('HSET', KEYS[2], 'run', run)
end

