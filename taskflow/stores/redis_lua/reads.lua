-- What readers ask that takes more than one look: functions that are given the prefix of the keys and their packed
-- arguments. The answer is {packed, value, value, ...}.

local call, P, values

local function text(n) return string.format('%.0f', n) end

-- The members of an order by lo that reach into [lo, hi): {lo, hi, rest} each.
local function touching(key, lo, hi)
  local found = {}
  local function add(member)
    local from, to = string.match(member, '^(%d+):(%d+)')
    if tonumber(to) > lo then found[#found + 1] = from end
  end
  for _, member in ipairs(call('ZREVRANGEBYSCORE', key, '(' .. text(lo), '-inf', 'LIMIT', 0, 1)) do add(member) end
  local upto = hi and '(' .. text(hi) or '+inf'
  for _, member in ipairs(call('ZRANGEBYSCORE', key, text(lo), upto)) do add(member) end
  return found
end

local function many(key, names)
  local found = {}
  for at = 1, #names, 1000 do
    local part = {unpack(names, at, math.min(at + 999, #names))}
    for _, value in ipairs(call('HMGET', key, unpack(part))) do found[#found + 1] = value end
  end
  return found
end

-- A segment: {node, lo, hi, state, error, fence, array, single, number of its value or false}
local function segment(node, story, value, array)
  local t = cmsgpack.unpack(story)
  if value then values[#values + 1] = value end
  return {t[6] or node, t[1], t[2], t[3], t[12], t[4], array and 1 or 0, t[5], value and #values - 1 or false}
end

local function segments_of(id, lo, hi)
  local key = P .. 'n:' .. id
  local raw = call('HMGET', key, 's', 'd')
  if not raw[1] then return false end
  local seen = 0
  while true do
    local final = cmsgpack.unpack(raw[2])[16]
    local next = final and call('HMGET', P .. 'n:' .. final, 's', 'd')
    if not (next and next[1]) or seen > 10000 then break end
    id, raw, seen = final, next, seen + 1
  end
  local found = {}
  if cmsgpack.unpack(raw[1])[3] ~= 1 then
    local end_ = call('HMGET', P .. 'n:' .. id, 'g', 'v')
    if end_[1] and lo == 0 and hi ~= 0 then found[1] = segment(id, end_[1], end_[2], false) end
    return found
  end
  local names = touching(P .. 'sx:' .. id, lo, hi)
  local stories, given = many(P .. 'sg:' .. id, names), many(P .. 'sv:' .. id, names)
  for i, story in ipairs(stories) do found[i] = segment(id, story, given[i], true) end
  return found
end

-- A page: {lo, hi, number of its value}
local function pages_of(id, lo, hi)
  local found = {}
  local key = P .. 'pg:' .. id
  if call('EXISTS', key) == 0 then
    local raw = call('HGET', P .. 'n:' .. id, 's')
    local source = raw and cmsgpack.unpack(raw)[9]
    if source then id, key = source, P .. 'pg:' .. source end
  end
  for _, member in ipairs(call('ZREVRANGEBYSCORE', key, '(' .. text(hi), '-inf')) do
    local from, to = string.match(member, '^(%d+):(%d+)')
    if tonumber(to) <= lo then break end
    values[#values + 1] = call('HGET', P .. 'pv:' .. id, from)
    table.insert(found, 1, {tonumber(from), tonumber(to), #values - 1})
  end
  return found
end

-- When what would be claimed first from one of these queues was added: the earliest of them, or false.
local function first_of(queues)
  local earliest = false
  for _, queue in ipairs(queues) do
    local lanes = {}
    if call('SISMEMBER', P .. 'paused', queue) == 0 then
      lanes = call('SMEMBERS', P .. 'ql:' .. queue)
      lanes[#lanes + 1] = queue
    end
    for _, lane in ipairs(lanes) do
      local id = call('ZRANGE', P .. 'q:' .. lane, 0, 0)[1]
      local raw = id and call('HGET', P .. 'n:' .. id, 's')
      local at = raw and cmsgpack.unpack(raw)[8]
      if at and (not earliest or at < earliest) then earliest = at end
    end
  end
  return earliest
end

local function register(name, body)
  local function callback(keys, args)
    call, P, values = redis.call, keys[1], {''}
    values[1] = cmsgpack.pack(body(cmsgpack.unpack(args[1])))
    return values
  end
  redis.register_function{
    function_name = PREFIX .. name, callback = callback, flags = {'no-writes', 'allow-oom'},
  }
end

register('values', function(a)
  local found = {}
  for i, id in ipairs(a[1]) do found[i] = segments_of(id, a[2], a[3] or nil) end
  return found
end)
register('first_of', first_of)
register('pages', function(a) return pages_of(a[1], a[2], a[3]) end)
