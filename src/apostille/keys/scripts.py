"""What the store does at once: a change, its version and its message. Written for Valkey and Redis from 6 on.

The last twelve letters of a record's name are its id. The first name is always that of the version; the first argument
is the channel. A script must not write before it knows that it will write everything.
"""

from __future__ import annotations

from apostille.keys.connection import Script

_TELL = """
local function tell(what)
  redis.call('PUBLISH', ARGV[1], redis.call('INCR', KEYS[1]) .. ' ' .. what)
end
"""

# Arguments: for each record the revision it must have now, 0 for none, and what to write. Returns 0, or the number of
# the first record that is missing, negative, or another one, positive.
CHANGE = Script(
    _TELL
    + """
for i = 2, #KEYS do
  local expected, found = ARGV[2 * i - 2], redis.call('GET', KEYS[i])
  if expected == '0' then
    if found then return i - 1 end
  elseif not found then
    return 1 - i
  elseif string.match(found, '^%d+%.(%d+)%.') ~= expected then
    return i - 1
  end
end
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], ARGV[2 * i - 1])
  tell(string.sub(KEYS[i], -12))
end
return 0
"""
)

# Arguments: what to write under each name, unless there is something already. Returns the numbers of the names where
# there is. Told as one change: a million of them would only drown the others.
LOAD = Script(
    _TELL
    + """
local present = {}
for i = 2, #KEYS do
  if not redis.call('SET', KEYS[i], ARGV[i], 'NX') then present[#present + 1] = i - 1 end
end
if #present < #KEYS - 1 then tell('*') end
return present
"""
)

# Names: the record, and when it was last used. Returns how many records there were.
DELETE = Script(
    _TELL
    + """
local id = string.sub(KEYS[2], -12)
redis.call('HDEL', KEYS[3], string.sub(id, 3))
local gone = redis.call('DEL', KEYS[2])
if gone == 1 then tell(id) end
return gone
"""
)

# Names: pairs of a record and where its last use is noted. Arguments: the seconds, one for each pair. No change is
# told: nobody decides by it. A key that was deleted meanwhile leaves nothing behind.
TOUCH = Script(
    """
for i = 1, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('HSET', KEYS[i + 1], string.sub(KEYS[i], -10), ARGV[(i + 1) / 2])
  end
end
return 0
"""
)
