-- The verbs: functions of the server. Each is given the prefix of the keys, the moment ('' for the server's own
-- clock), its packed arguments, and values. The answer is {what, value, value, ...}, `what` packed: {true, result}
-- or {false, kind, text}.

local SAID_S, MOST_SAID_FIELDS = 7 * 86400, 256

-- Forget what was said under leases of a node that are over.
local function forget_said(row, key)
  local live = {}
  for _, part in ipairs(R.list_parts(row)) do live[string.format('%.0f', part.fence)] = true end
  for _, field in ipairs(call('HKEYS', key)) do
    if not live[string.match(field, '^(.-)%z')] then R.later('HDEL', key, field) end
  end
end

-- Keep what an item has said last: `one` is {key, kind, index, JSON, value}.
local function keep_said(row, one)
  local key, field = P .. 'sd:' .. row.id, string.format('%.0f', one[1][4]) .. '\0' .. one[2]
  if call('HLEN', key) > MOST_SAID_FIELDS then forget_said(row, key) end
  R.later('HSET', key, field, pack({one[3], one[4]}))
  local value = value_of(one[5])
  if value then R.later('HSET', key, field .. '\0v', value) else R.later('HDEL', key, field .. '\0v') end
  R.later('EXPIRE', key, SAID_S)
end

-- Add what was printed meanwhile, and keep what was said last; what a lost lease says is dropped.
local function note(list)
  local said = {}
  for _, one in ipairs(list) do
    local key, kind = one[1], one[2]
    local row = R.node(key[1])
    if row and R.held(row, key[2], key[3], key[4]) then
      if kind == 'log' then
        logs[#logs + 1] = {row.id, one[3], one[4]}
      else
        keep_said(row, one)
        if not said[row.id] then R.emit(row.run, row.id, 0, 0, 'running') end
        said[row.id] = true
      end
    end
  end
  if #list > 0 then call('PUBLISH', K.watch, '') end
end

-- ── forgetting ────────────────────────────────────────────────────────────────────────

local OF_A_NODE = {'n:', 'pt:', 'px:', 'pq:', 'pu:', 'sg:', 'sv:', 'sx:', 'pg:', 'pv:', 'ch:', 'lg:', 'sd:'}
local TOMBSTONE_S = 7 * 86400

-- Whether a run that has not ended depends on this one.
local function is_needed(id)
  for _, other in ipairs(call('SMEMBERS', P .. 'xr:' .. id)) do
    local run = R.run(other)
    if run and not run.ended_at then return true end
  end
  return false
end

local function forget_node(row)
  for _, edge in ipairs(R.parents(row)) do
    local parent = R.node(edge[1])
    if parent and parent.run ~= row.run then R.release(parent, row.id, edge) end
  end
  if not TERMINAL[row.state] then R.pend(row.queue, row.singles and -row.open or -1) end -- of a plan that came in part
  local keys = {}
  for i, kind in ipairs(OF_A_NODE) do keys[i] = P .. kind .. row.id end
  call('UNLINK', unpack(keys))
  call('ZREM', K.alarm, row.id)
  call('ZREMRANGEBYSCORE', K.dead, number(row.seq), number(row.seq))
end

-- Remove up to `limit` nodes of runs that were given up; gives whether some are left.
local function bury(limit)
  while true do
    local id = call('SRANDMEMBER', K.doomed)
    if not id then return false end
    local members = R.members(id, 0, limit - 1)
    for _, name in ipairs(members) do
      local row = R.node(name)
      if row then forget_node(row) end
    end
    call('LTRIM', P .. 'rn:' .. id, #members, -1)
    limit = limit - #members
    if limit <= 0 then return true end
    call('SREM', K.doomed, id)
    call('UNLINK', P .. 'xr:' .. id, P .. 'rn:' .. id, P .. 'cl:' .. id)
  end
end

local UNUSED_S = 3600

-- A blob that a run used and no other does goes: at once when it was made for one place, else when nobody has
-- asked for it for a while.
local function let_go(run)
  for _, name in ipairs(R.used_by(run)) do
    local users = P .. 'bu:' .. name
    call('SREM', users, run)
    if call('EXISTS', users) == 0 then
      if #name == 32 then call('UNLINK', P .. 'b:' .. name) else call('EXPIRE', P .. 'b:' .. name, UNUSED_S) end
    end
  end
  call('UNLINK', P .. 'bl:' .. run)
end

function M.give_up(run)
  M.unlock(run)
  let_go(run.id)
  call('HDEL', P .. 'n:' .. run.id, 'rs', 'rd', 'rb', 'st')
  call('ZREM', K.runs, run.id)
  local memo = R.memo(run)
  if memo then call('ZREM', memo, run.id) end
  call('ZREM', K.ended, run.id)
  call('SREM', K.unaged, run.id)
  call('SADD', K.doomed, run.id)
  if not run.pieces then call('SET', P .. 'gone:' .. run.id, R.now_text, 'EX', TOMBSTONE_S) end
end

local AGED_NODES_PER_STEP = 1000

-- Give what belongs to a run, and to its nodes from the one numbered `at` on, a time to go; a step takes a thousand
-- nodes of it. Gives how many.
local function age_run(id, at, seconds)
  for _, kind in ipairs({'n:', 'rn:', 'xr:', 'cl:', 'bl:'}) do call('EXPIRE', P .. kind .. id, seconds) end
  local run = R.run(id)
  local memo = run and R.memo(run)
  if memo then call('EXPIRE', memo, seconds) end
  local members = R.members(id, at, at + AGED_NODES_PER_STEP - 1)
  for _, name in ipairs(members) do
    for _, kind in ipairs(OF_A_NODE) do call('EXPIRE', P .. kind .. name, seconds) end
  end
  if at == 0 then
    for _, name in ipairs(R.used_by(id)) do
      if #name == 32 then call('EXPIRE', P .. 'b:' .. name, seconds) end
    end
  end
  return #members
end

-- What belongs to runs that have ended goes by itself when nobody sweeps for so long; gives how many were seen, some
-- of up to `limit`. What is left of a run is remembered by its id and the number of a node.
local function age(limit, seconds)
  local nodes = 0
  local members = call('SRANDMEMBER', K.unaged, limit)
  for i, member in ipairs(members) do
    local id, at = string.match(member, '^(.-)%z(%d+)$')
    id, at = id or member, tonumber(at or '0')
    local aged = age_run(id, at, seconds)
    call('SREM', K.unaged, member)
    if aged == AGED_NODES_PER_STEP then call('SADD', K.unaged, id .. '\0' .. string.format('%d', at + aged)) end
    nodes = nodes + aged
    if nodes >= AGED_NODES_PER_STEP then return i end
  end
  return #members
end

local function forget(id)
  local run = R.run(id)
  if not run then fail('missing', id) end
  if not TERMINAL[run.state] then fail('UsageError', 'Run ' .. id .. ' has not ended: cancel it first.') end
  if is_needed(id) then
    fail('UsageError', 'A run that has not ended needs run ' .. id .. ': forget or cancel that first.')
  end
  M.give_up(run)
end

-- Give up runs that ended before an instant, oldest first; gives how many, and from where to go on. Those that are
-- needed stay, and get another time to go.
local function forget_ended(before, at, limit)
  local count = 0
  for _, id in ipairs(call('ZRANGEBYSCORE', K.ended, '-inf', '(' .. number(before), 'LIMIT', at, limit)) do
    local run = R.run(id)
    if not run then
      call('ZREM', K.ended, id)
      call('ZREM', K.runs, id)
    elseif is_needed(id) then
      call('SADD', K.unaged, id)
      at = at + 1
    else
      M.give_up(run)
      count = count + 1
    end
  end
  return {count, at}
end

-- ── answering ─────────────────────────────────────────────────────────────────────────

local MOST_STRIKES = 32

-- `shortcut`: gives the answer, or nil when it is the body that has to be asked.
local function step(prefix, args, body, values, shortcut)
  R.open(prefix, args)
  local asked = unpacked(args[2])
  local answer = shortcut and shortcut(asked)
  if answer then return answer end
  R.begin()
  answer = body(asked, values)
  M.hand_over()
  R.finish()
  return answer
end

-- Run a step; a row that makes no sense is struck off, and the step done anew, for it has written nothing.
local function attempt(prefix, args, body, shortcut)
  local values, well, result
  for _ = 0, MOST_STRIKES do
    values = {''}
    well, result = pcall(step, prefix, args, body, values, shortcut)
    if well or not R.suspect or (type(result) == 'table' and result.kind) then break end
    R.strike(R.suspect)
  end
  return well, result, values
end

local function claim(want, values)
  local leases, again = M.claim(want)
  return {M.answer_leases(leases, values), again}
end

local function register(name, body, flags, shortcut)
  local function callback(keys, args)
    local well, result, values = attempt(keys[1], args, body, shortcut)
    if well then
      if result == nil then result = false end
      values[1] = pack({true, result})
      return values
    elseif type(result) == 'table' and result.kind then
      return {pack({false, result.kind, result.text})}
    end
    error(result)
  end
  redis.register_function{function_name = PREFIX .. name, callback = callback, flags = flags or {'allow-oom'}}
end

local ASKED_AGAIN_S = 120

-- Do what would have another outcome the second time. Who asks again with the same nonce has not heard the answer, and
-- gets it again.
local function once(nonce, body)
  local key = P .. 'once:' .. nonce
  local told = call('GET', key)
  if told then return unpacked(told)[1] end
  local result = body() or false
  R.later('SET', key, pack({result}), 'EX', ASKED_AGAIN_S)
  return result
end

local function settle(a, values)
  if a[2] then R.expect_quiet(a[2][2]) end
  local lost = M.settle(a[1])
  return {lost, unpack(a[2] and claim(a[2], values) or {{}, false})}
end

local function queues_of(nodes)
  local found, seen = {}, {}
  for _, t in ipairs(nodes) do
    if not seen[t[8]] then
      seen[t[8]] = true
      found[#found + 1] = t[8]
    end
  end
  return found
end

-- Only what brings more work may be refused by a server without memory: all else keeps leases alive, or makes room.
register('submit', function(plans)
  local bounded, held = {}, {}
  for i, plan in ipairs(plans) do bounded[i] = {plan[1], plan[7] and queues_of(plan[4]), plan[7]} end
  M.check_room(bounded)
  for number, plan in ipairs(plans) do
    local holder = M.add_plan(plan)
    if holder then held[#held + 1] = {number, holder} end
  end
  return held
end, {}, M.submit_plain)
register('assemble', function(a) return M.assemble(a) end, {})
register('cancel', function(a)
  return once(a[5], function() return M.cancel(a[1], a[2] or nil, a[3], a[4]) end)
end)
register('purge', function(a) return M.purge(a[1], a[2], a[3]) end)
register('rerun', function(a) return M.rerun(a[1], a[2], a[3]) end)
register('clone_piece', function(a) return M.clone_piece(a) end)
register('claim', claim)
register('settle', settle, nil, M.settle_plain)
register('feed', settle, {})
register('renew', function(a) return M.renew(a[1], a[2]) end)
register('reap', function(limit) return M.reap(limit) end)
register('note', function(a) return once(a[2], function() return note(a[1]) end) end)
register('hold', function(a) return M.hold(unpack(a)) end)
register('let_go', function(a)
  return once(a[3], function() return M.let_go(a[1], a[2]) end)
end)
register('tell_breaker', function(a)
  return once(a[4], function() return M.tell_breaker(a[1], a[2], a[3]) end)
end)
-- A function, so that a server without memory takes it too, and for the server's clock: those of workers may differ.
register('announce', function(a) R.later('HSET', K.workers, a[1], R.now_text .. ' ' .. a[2]) end)
register('post', function(a)
  local key, revision = P .. a[1], a[2]
  if tonumber(call('HGET', key, 'r') or '0') ~= revision then return false end
  R.later('HSET', key, 'r', string.format('%.0f', revision + 1), 'b', value_of(a[3]))
  for _, topic in ipairs(a[4]) do R.later('PUBLISH', P .. topic, '') end
  return true
end)
register('forget', function(a) return once(a[2], function() return forget(a[1]) end) end)
register('forget_ended', function(a) return forget_ended(a[1], a[2], a[3]) end)
register('bury', function(limit) return bury(limit) end)
register('age', function(a) return age(a[1], a[2]) end)
