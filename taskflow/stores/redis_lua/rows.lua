-- The rows of a step: what was read is kept, what was changed is written when the step ends. A step that
-- fails has written nothing. Mirrors `machine.rows.Rows`; the layout of the keys is in `stores/redis.py`.

local call, pack, unpacked, unpack_limit -- of the server; not there yet while the library is loaded
local TERMINAL = {succeeded = true, failed = true, cancelled = true, expired = true, skipped = true, dead = true}
local FAILURES = {failed = true, dead = true, expired = true}
local ALL = 2 ^ 52
local R, NONE = {}, {}
local P -- what all keys begin with
local K -- keys by their names, of which there is one
local given, before -- the values that nodes, pages and outcomes name by number, and how many others stand before them
local nodes, runs, changed, changed_runs
local added, removed -- by parent: edges of this step; children that were released
local new_members, logs, crossings, dead, uses, later
local limits, changed_limits, shut
local calls, ended -- how many items of which queues may be claimed now; whether something has ended
local todo, seq, seq_before
local quiet -- the queues of which it is known that they are quiet
local alarms_set, alarms_gone -- for the list of alarms: instants and nodes; nodes
local locks -- by name: {run, until} where this step gave one, false where it took one

local function named_key(known, name)
  local key = P .. name
  known[name] = key
  return key
end

-- An empty table: the same one when nothing was put into it.
local function cleared(t) return t and next(t) == nil and t or {} end

-- A new step: where its keys and its values are, and what time it is.
function R.open(prefix, args)
  call, pack, unpacked, unpack_limit = redis.call, cmsgpack.pack, cmsgpack.unpack, cmsgpack.unpack_limit
  if P ~= prefix then P, K = prefix, setmetatable({}, {__index = named_key}) end
  given, before, R.suspect = args, 2, nil
  R.now_text = args[1]
  if R.now_text == '' then
    local time = call('TIME')
    R.now_text = time[1] .. '.' .. string.sub('00000' .. time[2], -6)
  end
  R.now = tonumber(R.now_text)
end

-- Nothing is known of the step before.
function R.begin()
  nodes, runs, changed, changed_runs, later, R.events = {}, {}, {}, {}, {}, {}
  added, removed, new_members, logs = cleared(added), cleared(removed), cleared(new_members), cleared(logs)
  crossings, dead, uses, locks = cleared(crossings), cleared(dead), cleared(uses), cleared(locks)
  alarms_set, alarms_gone = cleared(alarms_set), cleared(alarms_gone)
  limits, changed_limits, shut, calls = cleared(limits), cleared(changed_limits), cleared(shut), cleared(calls)
  todo = {first = 1, last = 0, read = NONE, at = 1, taken = 0, urgent = cleared(todo and todo.urgent), exhausted = false}
  seq, seq_before, ended, quiet = nil, nil, false, nil
  R.freed, R.ranges_ended = false, cleared(R.ranges_ended)
  R.asked = cleared(R.asked) -- workers that have claimed in this step: they know what they have
  R.begun = cleared(R.begun) -- by run: how many of what was held back for it have begun in this step
end

local MOST_STRUCK = 1000

-- `R.suspect`: the list and the name of the node that a claim or a reap is looking at. Should the step fail there,
-- somebody wrote who does not know how: the node is not listed any more, and stays as it is.
function R.strike(suspect)
  call('ZREM', suspect[1], suspect[2])
  if call('HLEN', K.struck) < MOST_STRUCK then
    call('HSET', K.struck, string.sub(suspect[2], 1, 200), R.now_text)
  end
end

local function fail(kind, text) error({kind = kind, text = text}) end

local function value_of(at) return at and given[before + at] or nil end

function R.values_are(list) given, before = list, 0 end

local function number(n) return string.format('%.17g', n) end

local KEPT_WHOLE, wholes = 2000, {}

-- A whole number as text; to print the small ones anew takes longer than to remember them.
local function whole(n)
  local known = wholes[n]
  if not known then
    known = string.format('%.0f', n)
    if -KEPT_WHOLE <= n and n <= KEPT_WHOLE then wholes[n] = known end
  end
  return known
end

-- ── nodes and runs ────────────────────────────────────────────────────────────────────

local function part_from(lo, hi, t)
  return {
    lo = lo, hi = hi, state = t[1], fence = t[2], worker = t[3] or nil, till = t[4] or nil, attempts = t[5],
    deliveries = t[6], started_at = t[7] or nil, cancelled = t[8] or nil, error = t[9] or nil,
  }
end

local function part_row(p)
  return {
    p.state, p.fence, p.worker or false, p.till or false, p.attempts, p.deliveries, p.started_at or false,
    p.cancelled or false, p.error or false,
  }
end

-- Items of a node that a queue counts: queued, waiting, running; and how much of it is pending, where that is bounded:
-- calls that were gathered count each.
local function tallies(row)
  if TERMINAL[row.state] then return 0, 0, 0, 0 end
  local queued, waiting = row.returned, row.waiting
  local replaced = row.array and math.max(0, row.open - row.held - row.waiting - row.returned - R.fresh(row)) or 0
  local rest = row.open - row.held - row.waiting - row.returned - replaced
  if row.state ~= 'blocked' then
    if row.due_at then waiting = waiting + rest else queued = queued + rest end
  end
  return queued, waiting, row.held, row.singles and row.open or 1
end

local function remember(row)
  row.was_state, row.was_alarm = row.state, row.alarm_at
  row.was_queued, row.was_waiting, row.was_held, row.was_pending = tallies(row)
end

function R.fresh(row) return (row.width or 0) - row.cursor end

local SHORT, LONG = 144, 220 -- how a packed list of up to 15 begins, and one whose length is in two bytes more

-- What is in a packed list, behind a number: as it is, for a list would be built anew each time that it grows.
local function entries(raw)
  local first = string.byte(raw) or 0
  if first ~= LONG and (first < SHORT or SHORT + 15 < first) then error('a row that is no list') end
  return unpack_limit(raw, '99', first == LONG and '3' or '1')
end

local function node_from(id, fixed, changing)
  local _, run, fn, array, queue, priority, policy, label, created_at, source, seq, max_deliveries, chunk, on_failure,
    max_parallel, run_parallel, seed, limits, unlocks, singles = entries(fixed)
  local _, state, width, cursor, open, held, waiting, returned, worst, fence, remaining, due_at, expires_at, alarm_at,
    cancelled, root, final, started_at, ended_at, ranged, part, ended, growing = entries(changing)
  return {
    id = id, run = run, fn = fn, array = array == 1, queue = queue, priority = priority, policy = policy, label = label,
    created_at = created_at, source = source or nil, seq = seq, max_deliveries = max_deliveries, chunk = chunk or nil,
    on_failure = on_failure, max_parallel = max_parallel or nil, run_parallel = run_parallel or nil, seed = seed or nil,
    limits = limits or nil, unlocks = unlocks == 1, singles = singles == 1,
    state = state, width = width or nil, cursor = cursor, open = open, held = held, waiting = waiting,
    returned = returned, worst = worst or nil, fence = fence, remaining = remaining, due_at = due_at or nil,
    expires_at = expires_at or nil, alarm_at = alarm_at or nil, cancelled = cancelled or nil, root = root or nil,
    final = final or nil, started_at = started_at or nil, ended_at = ended_at or nil, ranged = ranged == 1,
    ended = ended, growing = growing == 1, parts = {}, segments = {}, part = part and part_from(0, 1, part) or nil,
  }
end

local function fixed(row)
  return {
    row.run, row.fn, row.array and 1 or 0, row.queue, row.priority, row.policy, row.label, row.created_at,
    row.source or false, row.seq, row.max_deliveries, row.chunk or false, row.on_failure,
    row.max_parallel or false, row.run_parallel or false, row.seed or false, row.limits or false,
    row.unlocks and 1 or 0, row.singles and 1 or 0,
  }
end

local function changing(row)
  return {
    row.state, row.width or false, row.cursor, row.open, row.held, row.waiting, row.returned, row.worst or false,
    row.fence, row.remaining, row.due_at or false, row.expires_at or false, row.alarm_at or false,
    row.cancelled or false, row.root or false, row.final or false, row.started_at or false, row.ended_at or false,
    row.ranged and 1 or 0, row.part and part_row(row.part) or false, row.ended,
    row.growing and 1 or 0,
  }
end

local function run_from(id, fixed, changing)
  local _, name, meta, created_at, seq = entries(fixed)
  local _, total, open, state, counts, ended_at, worst, held, tally, pieces, lock = entries(changing)
  return {
    id = id, name = name, meta = meta, created_at = created_at, seq = seq, total = total, open = open, state = state,
    counts = counts, ended_at = ended_at or nil, worst = worst or nil, held = held, tally = tally,
    pieces = pieces or nil, lock = lock or nil,
  }
end

-- A run of one call has the name of its node, and both are in one hash: they are read at once.
local function read_both(id)
  local raw = call('HMGET', P .. 'n:' .. id, 's', 'd', 'rs', 'rd')
  if nodes[id] == nil then
    local row = raw[1] and node_from(id, raw[1], raw[2]) or false
    if row then remember(row) end
    nodes[id] = row
  end
  if runs[id] == nil then runs[id] = raw[3] and run_from(id, raw[3], raw[4]) or false end
end

function R.node(id)
  if nodes[id] == nil then read_both(id) end
  return nodes[id] or nil
end

function R.run(id)
  if runs[id] == nil then read_both(id) end
  return runs[id] or nil
end

local function next_seq()
  if not seq then
    seq_before = tonumber(call('GET', K.seq) or '0')
    seq = seq_before
  end
  seq = seq + 1
  return seq
end

function R.save(row)
  if not row.dirty then
    row.dirty = true
    changed[#changed + 1] = row
  end
end

function R.save_run(run)
  if not run.dirty then
    run.dirty = true
    changed_runs[#changed_runs + 1] = run
  end
end

-- A new run; `pieces`: how many pieces of it are still to come.
function R.add_run(id, name, meta, pieces)
  local run = {
    id = id, name = name, meta = meta, created_at = R.now, seq = next_seq(), total = 0, open = 0, state = 'running',
    counts = {}, held = 0, tally = {0, 0, 0}, pieces = pieces, new = true,
  }
  runs[id] = run
  new_members[id] = {}
  R.save_run(run)
  return run
end

local function are_new(list)
  for i = 1, #list do
    local id = list[i][1]
    if nodes[id] == nil then nodes[id] = false end
  end
end

-- Ask at once whether a run and its nodes are all new, and nothing is left to do: so it mostly is.
function R.expect_new(run, list)
  local asked = {'EXISTS', K.todo, P .. 'n:' .. run}
  for i = 1, #list do
    if list[i][1] ~= run then asked[#asked + 1] = P .. 'n:' .. list[i][1] end
  end
  if call(unpack(asked)) > 0 then return end
  todo.exhausted = true
  if runs[run] == nil then runs[run] = false end -- else it came in this step
  are_new(list)
end

-- The same for nodes of a run that is there.
function R.expect_nodes(list)
  local asked = {'EXISTS'}
  for i = 1, #list do asked[i + 1] = P .. 'n:' .. list[i][1] end
  if asked[2] and call(unpack(asked)) == 0 then are_new(list) end
end

-- `edges`: {parent, mode, lo, hi}; `pages`: {lo, hi, value}; `ended`: predecessors that release nothing any more.
function R.add_node(row, edges, pages, ended)
  if R.node(row.id) then
    fail('GraphError', "The store has a node '" .. row.id .. "' already: an id is given once.")
  end
  row.seq, row.new, row.edges, row.edges_changed = next_seq(), true, {}, true
  row.parts, row.segments, row.pages = {}, {}, pages
  row.was_state, row.was_queued, row.was_waiting, row.was_held, row.was_pending = 'new', 0, 0, 0, 0
  nodes[row.id] = row
  local members = new_members[row.run] or {}
  new_members[row.run] = members
  members[#members + 1] = row.id
  for i = 1, #edges do
    local edge = edges[i]
    row.edges[i] = edge
    if not ended[edge[1]] then R.hang(row, edge) end
    R.cross(row, edge[1])
  end
  if row.source then R.cross(row, row.source) end
  R.save(row)
end

-- An edge of another run: that run is needed until this one has ended.
function R.cross(row, parent)
  local other = R.node(parent)
  if other and other.run ~= row.run then crossings[#crossings + 1] = {other.run, row.run} end
end

function R.hang(row, edge)
  local list = added[edge[1]] or {}
  added[edge[1]] = list
  list[#list + 1] = {row.seq, row.id, edge}
end

function R.parents(row)
  if not row.edges then
    local raw = call('HGET', P .. 'n:' .. row.id, 'e')
    row.edges = raw and unpacked(raw) or {}
  end
  return row.edges
end

function R.inputs(row)
  if not row.inputs then
    local raw = call('HGET', P .. 'n:' .. row.id, 'i')
    row.inputs = raw and unpacked(raw) or {}
  end
  return row.inputs
end

function R.add_input(row, edge)
  local inputs = R.inputs(row)
  inputs[#inputs + 1] = edge
  row.inputs_changed = true
  R.save(row)
end

function R.add_edge(child, edge)
  local row = R.node(child)
  local edges = R.parents(row)
  edges[#edges + 1] = edge
  row.edges_changed = true
  R.hang(row, edge)
  R.cross(row, edge[1])
  R.save(row)
end

function R.add_pages(row, pages)
  row.pages = row.pages or {}
  for _, page in ipairs(pages) do row.pages[#row.pages + 1] = page end
  R.save(row)
end

-- The names of the nodes that a run had before this step, in order. One whose only node has its name has no list.
function R.members(id, from, to)
  local found = call('LRANGE', P .. 'rn:' .. id, from, to)
  local own = from == 0 and #found == 0 and R.node(id)
  return own and not own.new and {id} or found
end

-- The nodes of a run, in order; those of an earlier step from the one numbered `from` to that numbered `to`.
function R.nodes_of(run, from, to)
  local found = {}
  for _, id in ipairs(R.members(run, from or 0, to or -1)) do found[#found + 1] = R.node(id) end
  for _, id in ipairs(new_members[run] or {}) do found[#found + 1] = R.node(id) end
  return found
end

-- ── edges downwards ───────────────────────────────────────────────────────────────────

local function member(child, edge)
  return table.concat({child, edge[2], whole(edge[3]), edge[4] and whole(edge[4]) or ''}, '\0')
end

local function from_member(parent, text)
  local child, mode, lo, hi = string.match(text, '^(.-)%z(.-)%z(.-)%z(.*)$')
  return child, {parent, mode, tonumber(lo), tonumber(hi) or false}
end

-- Successors that were not released, in the order in which they were added, behind the one named `after`.
function R.children(parent, after, limit)
  local last = 0
  if after ~= '' then
    local row = R.node(after)
    last = row and row.seq or 0
  end
  local gone, own = removed[parent], added[parent]
  local most = (gone or limit >= ALL) and -1 or limit
  local raw = call('ZRANGEBYSCORE', P .. 'ch:' .. parent, '(' .. whole(last), '+inf', 'WITHSCORES', 'LIMIT', '0', whole(most))
  if #raw == 0 and not own then return NONE end
  local found = {}
  for i = 1, #raw, 2 do
    local child, edge = from_member(parent, raw[i])
    if not (gone and gone[child]) then found[#found + 1] = {tonumber(raw[i + 1]), child, edge} end
  end
  if own then
    for _, entry in ipairs(own) do
      if entry[1] > last and not (gone and gone[entry[2]]) then found[#found + 1] = entry end
    end
    table.sort(found, function(a, b) return a[1] < b[1] end)
  end
  for i = #found, limit + 1, -1 do found[i] = nil end
  return found
end

function R.ranged(row, lo, hi)
  local found = {}
  for _, entry in ipairs(R.children(row.id, '', ALL)) do
    local edge = entry[3]
    if edge[4] and edge[3] < hi and lo < edge[4] then found[#found + 1] = entry end
  end
  return found
end

function R.release(row, child, edge)
  local gone = removed[row.id] or {}
  removed[row.id] = gone
  gone[child] = member(child, edge)
end

-- ── what is still to be done: a list of {id, after}, read as far as it is needed ───────

local TODO_PER_LOOK = 200

function R.push(id, after)
  todo.last = todo.last + 1
  todo[todo.last] = {id, after}
end

-- For the next step, before all else.
function R.push_first(id, after) table.insert(todo.urgent, {id, after}) end

function R.is_urgent() return #todo.urgent > 0 end

local function next_stored()
  if todo.at > #todo.read and not todo.exhausted then
    todo.taken = todo.taken + #todo.read
    todo.read, todo.at = call('LRANGE', K.todo, whole(todo.taken), whole(todo.taken + TODO_PER_LOOK - 1)), 1
    todo.exhausted = #todo.read < TODO_PER_LOOK
  end
  local text = todo.read[todo.at]
  if not text then return nil end
  todo.at = todo.at + 1
  return string.match(text, '^(.-)%z(.*)$')
end

function R.pop()
  local id, after = next_stored()
  if id then return id, after end
  local entry = todo[todo.first]
  if not entry then return nil end
  todo[todo.first] = nil
  todo.first = todo.first + 1
  return entry[1], entry[2]
end

-- ── parts: of a call in its row, of an array in `pt` by their lo, with three orders of them ─────────

local function part_at(row, lo)
  local raw = call('HGET', P .. 'pt:' .. row.id, string.format('%.0f', lo))
  if not raw then return nil end
  local t = unpacked(raw)
  return part_from(lo, t[10], t)
end

local function covers(part, lo, hi, fence)
  return part and part.fence == fence and part.lo <= lo and hi <= part.hi
end

function R.held(row, lo, hi, fence)
  if not row.array then return covers(row.part, lo, hi, fence) and row.part or nil end
  for _, part in pairs(row.parts) do
    if covers(part, lo, hi, fence) then return part end
  end
  local at = lo
  while at >= 0 do
    local found = call('ZREVRANGEBYSCORE', P .. 'px:' .. row.id, string.format('%.0f', at), '-inf', 'LIMIT', 0, 1)[1]
    if not found then return nil end
    at = tonumber(found)
    if row.parts[at] == nil then
      local part = part_at(row, at)
      return covers(part, lo, hi, fence) and part or nil
    end
    at = at - 1
  end
  return nil
end

-- The first that is as it is wanted: of those of this step, and of an order of the others.
local function first_of(row, order, wanted, before)
  local best
  for _, part in pairs(row.parts) do
    if part and wanted(part) and (not best or before(part, best)) then best = part end
  end
  local at = 0
  while not row.new do
    local found = call('ZRANGE', P .. order .. row.id, at, at + 15)
    for _, lo in ipairs(found) do
      lo = tonumber(lo)
      if row.parts[lo] == nil then
        local part = part_at(row, lo)
        return (not best or before(part, best)) and part or best
      end
    end
    if #found < 16 then return best end
    at = at + 16
  end
  return best
end

local function lower(a, b) return a.lo < b.lo end
local function sooner(a, b) return a.till < b.till end

-- The first parts of a node that are queued or waiting, as far as they are not fresh.
function R.unstarted(row, limit)
  if not row.array then return row.part and row.part.state ~= 'running' and {row.part} or {} end
  local found = {}
  for _, name in ipairs(call('ZRANGE', P .. 'pq:' .. row.id, 0, limit - 1)) do
    found[#found + 1] = part_at(row, tonumber(name))
  end
  local at = 0
  while #found < limit do
    local names = call('ZRANGE', P .. 'pu:' .. row.id, at, at + limit - 1)
    for _, name in ipairs(names) do
      local part = part_at(row, tonumber(name))
      if part.state == 'waiting' and #found < limit then found[#found + 1] = part end
    end
    if #names < limit then break end
    at = at + limit
  end
  table.sort(found, lower)
  return found
end

function R.first_queued(row)
  return first_of(row, 'pq:', function(part) return part.state == 'queued' end, lower)
end

function R.first_until(row)
  local part = row.part
  if row.array then part = first_of(row, 'pu:', function(p) return p.till end, sooner) end
  return part and part.till
end

function R.list_parts(row)
  if not row.array then return {row.part} end
  local found = {}
  local raw = row.new and {} or call('HGETALL', P .. 'pt:' .. row.id)
  for i = 1, #raw, 2 do
    local lo = tonumber(raw[i])
    if row.parts[lo] == nil then
      local t = unpacked(raw[i + 1])
      found[#found + 1] = part_from(lo, t[10], t)
    end
  end
  for _, part in pairs(row.parts) do
    if part then found[#found + 1] = part end
  end
  table.sort(found, lower)
  return found
end

function R.overdue(row)
  if not row.array then return row.part and row.part.till and row.part.till <= R.now and {row.part} or {} end
  local found = {}
  for _, lo in ipairs(call('ZRANGEBYSCORE', P .. 'pu:' .. row.id, '-inf', R.now_text)) do
    if row.parts[tonumber(lo)] == nil then found[#found + 1] = part_at(row, tonumber(lo)) end
  end
  for _, part in pairs(row.parts) do
    if part and part.till and part.till <= R.now then found[#found + 1] = part end
  end
  table.sort(found, lower)
  return found
end

function R.put_part(row, part)
  if row.array then row.parts[part.lo] = part else row.part = part end
  R.save(row)
end

function R.drop_part(row, part)
  if row.array then row.parts[part.lo] = false else row.part = nil end
  R.save(row)
end

-- ── segments: of a call in its hash, of an array by their lo in `sg` and `sv`, with `sx` as their order ──

local function stored_segment(row, lo)
  if not row.array then
    local raw = call('HMGET', P .. 'n:' .. row.id, 'g', 'v')
    return raw[1], raw[2]
  end
  local name = string.format('%.0f', lo)
  return call('HGET', P .. 'sg:' .. row.id, name), call('HGET', P .. 'sv:' .. row.id, name)
end

local function segment_of(row, lo)
  for _, segment in ipairs(row.segments) do
    if segment.lo == lo then return segment end
  end
  local story, value = stored_segment(row, lo)
  if not story then return nil end
  local t = unpacked(story)
  return {
    lo = t[1], hi = t[2], state = t[3], fence = t[4], single = t[5], origin = t[6] or nil, attempts = t[7],
    deliveries = t[8], worker = t[9] or nil, started_at = t[10] or nil, took_s = t[11] or nil, error = t[12] or nil,
    value = value or nil,
  }
end

local function keep_segment(row, segment)
  row.segments[#row.segments + 1] = segment
  row.ended[segment.state] = (row.ended[segment.state] or 0) + segment.hi - segment.lo
  if segment.state == 'failed' or segment.state == 'dead' then dead[#dead + 1] = {row, segment.lo} end
  R.save(row)
end

-- `outcome`: {lo, hi, kind, value, error, delay_s, started_at, took_s, log}, as `records.Outcome`.
function R.finish_items(row, part, outcome, state)
  local started_at = outcome[7]
  if not started_at or started_at == 0 then started_at = part.started_at end
  keep_segment(row, {
    lo = outcome[1], hi = outcome[2], state = state, fence = part.fence, single = 0, attempts = part.attempts,
    deliveries = part.deliveries, worker = part.worker, started_at = started_at, took_s = outcome[8] or nil,
    error = outcome[5] or nil, value = value_of(outcome[4]),
  })
end

-- What an attempt printed, however it ended.
function R.printed(row, index, text) logs[#logs + 1] = {row.id, index, text} end

function R.end_as(row, part, final, state)
  local given = segment_of(final, 0)
  keep_segment(row, {
    lo = part.lo, hi = part.hi, state = state, fence = given.fence, single = 1, origin = given.origin or final.id,
    attempts = given.attempts, deliveries = given.deliveries, worker = given.worker, started_at = given.started_at,
    took_s = given.took_s, error = given.error, value = given.value,
  })
end

local function span(text)
  local lo, hi, state, fence = string.match(text, '^(%d+):(%d+):(%a+):(%-?%d+)$')
  return tonumber(lo), tonumber(hi), state, tonumber(fence)
end

function R.ended_by(row, index)
  for _, segment in ipairs(row.segments) do
    if segment.lo <= index and index < segment.hi then return segment.fence end
  end
  if not row.array then
    local segment = segment_of(row, 0)
    return segment and index == 0 and segment.fence or nil
  end
  local found = call('ZREVRANGEBYSCORE', P .. 'sx:' .. row.id, string.format('%.0f', index), '-inf', 'LIMIT', 0, 1)[1]
  if not found then return nil end
  local _, hi, _, fence = span(found)
  return index < hi and fence or nil
end

-- How many of the items have ended, and how many of them badly.
function R.ended_in(row, lo, hi)
  local ended, bad = 0, 0
  local function add(from, to, state)
    local items = math.max(0, math.min(hi, to) - math.max(lo, from))
    ended = ended + items
    if state ~= 'succeeded' and state ~= 'skipped' then bad = bad + items end
  end
  for _, segment in ipairs(row.segments) do add(segment.lo, segment.hi, segment.state) end
  if not row.array then
    local segment = #row.segments == 0 and segment_of(row, 0)
    if segment then add(0, 1, segment.state) end
    return ended, bad
  end
  local key = P .. 'sx:' .. row.id
  for _, text in ipairs(call('ZREVRANGEBYSCORE', key, string.format('%.0f', lo), '-inf', 'LIMIT', 0, 1)) do
    local from, to, state = span(text)
    if from < lo then add(from, to, state) end
  end
  for _, text in ipairs(call('ZRANGEBYSCORE', key, string.format('%.0f', lo), '(' .. string.format('%.0f', hi))) do
    local from, to, state = span(text)
    add(from, to, state)
  end
  return ended, bad
end

-- The items of an array that had ended before this step: {lo, hi, state} each.
function R.ended_spans(row)
  local found = {}
  for i, text in ipairs(call('ZRANGE', P .. 'sx:' .. row.id, 0, -1)) do found[i] = {span(text)} end
  return found
end

-- Give `target` what succeeded of `source`, but for the items `anew`; returns the ranges that are missing.
function R.copy_ended(source, target, anew)
  local missing, at = {}, 0
  for _, one in ipairs(R.ended_spans(source)) do
    local lo, hi, state = one[1], one[2], one[3]
    if state == 'succeeded' and not anew[lo] then
      local segment = segment_of(source, lo)
      segment.origin = segment.origin or source.id
      keep_segment(target, segment)
      if lo > at then missing[#missing + 1] = {at, lo} end
      at = hi
    end
  end
  if at < (source.width or 0) then missing[#missing + 1] = {at, source.width} end
  return missing
end

-- ── what a claim and a clock ask for ─────────────────────────────────────────────────

-- Queued nodes that share bounds stand in one lane: when the first finds no room, none of it does.
function R.lane(row)
  if not row.run_parallel and not row.limits then return nil end
  return (row.run_parallel and row.run or '') .. '\0' .. row.policy
end

local function rank(row) return (255 - row.priority) * 2 ^ 44 + row.seq end

local function none_of(asked, queues)
  for _, queue in ipairs(queues) do
    local at = #asked
    asked[at + 1], asked[at + 2] = P .. 'q:' .. queue, P .. 'ql:' .. queue
  end
  return call(unpack(asked)) == 0
end

-- Whether nothing is queued there but by this step, no queue is paused and no limit due: mostly so, and asked at once.
function R.is_quiet(queues)
  return quiet == queues or none_of({'EXISTS', K.paused, K['limits:due']}, queues)
end

-- Ask for a claim from these queues, later in this step, at once with whether anything is left to do.
function R.expect_quiet(queues)
  if none_of({'EXISTS', K.todo, K.paused, K['limits:due']}, queues) then quiet, todo.exhausted = queues, true end
end

-- The lanes of queues from which may be claimed.
local function open_lanes(queues)
  local lanes, wanted, paused = {}, {}, {}
  for _, queue in ipairs(call('SMEMBERS', K.paused)) do paused[queue] = true end
  for _, queue in ipairs(queues) do
    if not wanted[queue] and not paused[queue] then
      wanted[queue] = true
      lanes[#lanes + 1] = {key = P .. 'q:' .. queue, next = 0, at = 1, ids = {}}
      for _, name in ipairs(call('SMEMBERS', P .. 'ql:' .. queue)) do
        lanes[#lanes + 1] = {key = P .. 'q:' .. name, next = 0, at = 1, ids = {}, name = string.match(name, '^.-%z(.*)$')}
      end
    end
  end
  return lanes, wanted
end

-- The rank of the first node of a lane that was not taken yet, or nil.
local function head(lane)
  if lane.at > #lane.ids then
    if lane.done then return nil end
    lane.ids, lane.at = call('ZRANGE', lane.key, whole(lane.next), whole(lane.next + 15), 'WITHSCORES'), 1
    lane.next = lane.next + 16
    lane.done = #lane.ids < 32
    if #lane.ids == 0 then return nil end
  end
  return tonumber(lane.ids[lane.at + 1])
end

-- Puts a lane among others that stand in order of their heads, the first at the end; one without a head is left out.
local function put_in_order(lanes, lane)
  lane.head = head(lane)
  if not lane.head then return end
  local lo, hi = 1, #lanes + 1
  while lo < hi do
    local middle = math.floor((lo + hi) / 2)
    if lanes[middle].head > lane.head then lo = middle + 1 else hi = middle end
  end
  table.insert(lanes, lo, lane)
end

local function set_of(list)
  local set = {}
  for _, one in ipairs(list) do set[one] = true end
  return set
end

local function by_head(a, b) return a.head > b.head end
local function by_rank(a, b) return a[1] < b[1] end

-- What this step has queued there, in order.
local function queued_now(wanted)
  local fresh = {at = 1}
  for i = 1, #changed do
    local row = changed[i]
    if row.state == 'queued' and row.was_state ~= 'queued' and wanted[row.queue] then
      fresh[#fresh + 1] = {rank(row), row}
    end
  end
  if fresh[2] then table.sort(fresh, by_rank) end
  return fresh
end

-- Reads queued nodes in order, over several lanes and those of this step; when it is quiet there are no others.
function R.ready(queues, full, quiet)
  local lanes, found, wanted = {}, NONE, nil
  if quiet then wanted = set_of(queues) else found, wanted = open_lanes(queues) end
  for _, lane in ipairs(found) do
    lane.head = head(lane)
    if lane.head then lanes[#lanes + 1] = lane end
  end
  if lanes[2] then table.sort(lanes, by_head) end
  local fresh = queued_now(wanted)
  local last -- the lane that was read last: its place among the others is found when it is known whether it is full

  return function()
    while true do
      R.suspect = nil
      if last then
        if not (last.name and full[last.name]) then put_in_order(lanes, last) end
        last = nil
      end
      local best, own = lanes[#lanes], fresh[fresh.at]
      if own and (not best or own[1] < best.head) then
        fresh.at = fresh.at + 1
        local row = own[2]
        local name = R.lane(row)
        if not (name and full[name]) then return row end
      elseif best then
        last, lanes[#lanes] = best, nil
        if not (best.name and full[best.name]) then
          best.at = best.at + 2
          R.suspect = {best.key, best.ids[best.at - 2]}
          local row = R.node(best.ids[best.at - 2])
          if row then return row end
        end
      else
        return nil
      end
    end
  end
end

-- Nothing of the lane of a node can be claimed until a limit calls back, or something is queued in it.
function R.shut(row, limit)
  local name = row.queue .. '\0' .. R.lane(row)
  shut[#shut + 1] = {row.queue, name, limit}
end

function R.reopen(limit)
  local key = P .. 'shut:' .. limit
  for _, name in ipairs(call('SMEMBERS', key)) do
    if call('EXISTS', P .. 'q:' .. name) == 1 then call('SADD', P .. 'ql:' .. string.match(name, '^(.-)%z'), name) end
  end
  call('DEL', key)
end

function R.alarms(limit)
  local late = {}
  for _, id in ipairs(call('ZRANGEBYSCORE', K.alarm, '-inf', R.now_text, 'LIMIT', 0, limit)) do
    R.suspect = {K.alarm, id}
    local row = R.node(id)
    if row and not row.dirty then late[#late + 1] = row end
  end
  R.suspect = nil
  for _, row in ipairs(changed) do
    if row.alarm_at and row.alarm_at <= R.now then late[#late + 1] = row end
  end
  table.sort(late, function(a, b)
    if a.alarm_at ~= b.alarm_at then return a.alarm_at < b.alarm_at end
    return a.seq < b.seq
  end)
  for i = #late, limit + 1, -1 do late[i] = nil end
  return late
end

-- The earliest score of a sorted set but for the rows that this step has changed, or nil.
local function first_beside(key, rows)
  local at = 0
  while true do
    local found = call('ZRANGE', key, at, at + 15, 'WITHSCORES')
    for i = 1, #found, 2 do
      local row = rows[found[i]]
      if not (row and row.dirty) then return tonumber(found[i + 1]) end
    end
    if #found < 32 then return nil end
    at = at + 16
  end
end

local function sooner_of(a, b) return (a and b) and math.min(a, b) or a or b end

function R.next_alarm()
  local first = sooner_of(first_beside(K.alarm, nodes), first_beside(K['limits:due'], limits))
  for _, row in ipairs(changed) do first = sooner_of(first, row.alarm_at) end
  for _, kept in ipairs(changed_limits) do
    if not kept.gone then first = sooner_of(first, sooner_of(kept.wake_at, kept.idle_at)) end
  end
  return first
end

-- ── limits ────────────────────────────────────────────────────────────────────────────

-- What is counted under a name; a new row where nothing is.
function R.limit(name)
  local kept = limits[name]
  if not kept or kept.gone then
    local raw = not kept and call('HGET', K.limits, name)
    local t = raw and unpacked(raw) or {0, 0, false, {}, false, 0, 0, false, false, false}
    local again = kept
    kept = again or {}
    kept.name, kept.held, kept.tokens, kept.at, kept.failed = name, t[1], t[2], t[3] or nil, t[4]
    kept.opened_at, kept.till, kept.probes, kept.refused = t[5] or nil, t[6], t[7], t[8]
    kept.wake_at, kept.idle_at, kept.gone = t[9] or nil, t[10] or nil, nil
    kept.fence, kept.holders, kept.line = t[11] or 0, t[12] or {}, t[13] or {}
    limits[name] = kept
  end
  return kept
end

function R.save_limit(kept)
  if not kept.dirty then
    kept.dirty = true
    changed_limits[#changed_limits + 1] = kept
  end
end

-- Those whose alarm has passed, earliest first.
function R.limits_due()
  local late = {}
  for i, name in ipairs(call('ZRANGEBYSCORE', K['limits:due'], '-inf', R.now_text)) do late[i] = R.limit(name) end
  return late
end

local function write_limit(kept)
  local alarm = sooner_of(kept.wake_at, kept.idle_at)
  if kept.gone then
    call('HDEL', K.limits, kept.name)
  else
    local t = {
      kept.held, kept.tokens, kept.at or false, kept.failed, kept.opened_at or false, kept.till, kept.probes,
      kept.refused, kept.wake_at or false, kept.idle_at or false,
    }
    if kept.fence > 0 or #kept.line > 0 then t[11], t[12], t[13] = kept.fence, kept.holders, kept.line end
    call('HSET', K.limits, kept.name, pack(t))
  end
  if alarm and not kept.gone then
    call('ZADD', K['limits:due'], number(alarm), kept.name)
  else
    call('ZREM', K['limits:due'], kept.name)
  end
end

-- A command for when the step has succeeded.
function R.later(...) later[#later + 1] = {...} end

-- Blobs that a run cannot do without.
function R.use(run, names)
  if #names > 0 then uses[#uses + 1] = {run, names} end
end

local function add(fields, name, value, other, its_value)
  local at = #fields
  fields[at + 1], fields[at + 2] = name, value
  if other then fields[at + 3], fields[at + 4] = other, its_value end
end

-- ── what is decided at a submit ───────────────────────────────────────────────────────

local LOCK_SPARE_S = 60

function R.pending(queue) return tonumber(call('HGET', K.pending, queue) or '0') end

-- What is 0 is not kept. To look first costs less than to write twice.
local function count_more(key, name, more)
  if more < 0 and call('HGET', key, name) == whole(-more) then
    call('HDEL', key, name)
  elseif call('HINCRBY', key, name, whole(more)) == 0 then
    call('HDEL', key, name)
  end
end

function R.pend(queue, more)
  if more ~= 0 then count_more(K.pending, queue, more) end
end

-- So many items more of a queue are in that state.
function R.tally(queue, state, more) count_more(K.tally, queue .. '\0' .. state, more) end

local function lock_at(name)
  if locks[name] ~= nil then return locks[name] end
  local raw = call('GET', P .. 'lk:' .. name)
  return raw and unpacked(raw)
end

-- The run that holds a lock whose time is not up.
function R.locked(name)
  local held = lock_at(name)
  return held and held[2] > R.now and held[1] or nil
end

function R.lock(name, run, seconds) locks[name] = {run, R.now + seconds} end

function R.unlock(name, run)
  local held = lock_at(name)
  if held and held[1] == run then locks[name] = false end
end

function R.emit(run, node, lo, hi, state)
  if state == 'waiting' then R.freed = true end
  if state == 'queued' then R.call(R.node(node).queue, lo < hi and hi - lo or nodes[node].array and ALL or 1) end
  if TERMINAL[state] then ended = true end
  R.events[#R.events + 1] = {run == node and '' or run, node, lo, hi, state}
end

-- ── the end of a step: everything is written ──────────────────────────────────────────

local function write_parts(row)
  local keys = {P .. 'pt:' .. row.id, P .. 'px:' .. row.id, P .. 'pq:' .. row.id, P .. 'pu:' .. row.id}
  for lo, part in pairs(row.parts) do
    local name = string.format('%.0f', lo)
    if part then
      local t = part_row(part)
      t[10], t[11] = part.hi, part.lo
      call('HSET', keys[1], name, pack(t))
      call('ZADD', keys[2], name, name)
      if part.state == 'queued' then call('ZADD', keys[3], name, name) else call('ZREM', keys[3], name) end
      if part.till then call('ZADD', keys[4], number(part.till), name) else call('ZREM', keys[4], name) end
    elseif call('HDEL', keys[1], name) == 1 then
      call('ZREM', keys[2], name)
      call('ZREM', keys[3], name)
      call('ZREM', keys[4], name)
    end
  end
end

local function story_of(segment)
  local s = segment
  return pack({
    s.lo, s.hi, s.state, s.fence, s.single, s.origin or false, s.attempts, s.deliveries, s.worker or false,
    s.started_at or false, s.took_s or false, s.error or false,
  })
end

local function write_segments(row)
  for _, s in ipairs(row.segments) do
    local name = string.format('%.0f', s.lo)
    call('HSET', P .. 'sg:' .. row.id, name, story_of(s))
    call('ZADD', P .. 'sx:' .. row.id, name, string.format('%.0f:%.0f:%s:%.0f', s.lo, s.hi, s.state, s.fence))
    if s.value then call('HSET', P .. 'sv:' .. row.id, name, s.value) end
    if s.error then call('HSETNX', P .. 'n:' .. row.id, 'er', s.error) end
  end
end

local function write_pages(row)
  for _, page in ipairs(row.pages) do
    local name = string.format('%.0f', page[1])
    call('HSET', P .. 'pv:' .. row.id, name, value_of(page[3]))
    call('ZADD', P .. 'pg:' .. row.id, name, name .. ':' .. string.format('%.0f', page[2]))
  end
end

local LOOK_S = 10 -- `worker.agenda.REST_S`: so often all look what is due, without being told

local function write_queue(row)
  local is, was = row.state == 'queued', row.was_state == 'queued'
  if is ~= was then
    local lane = R.lane(row)
    local name = lane and row.queue .. '\0' .. lane or row.queue
    local key = P .. 'q:' .. name
    if is then
      call('ZADD', key, number(rank(row)), row.id)
      if lane then call('SADD', P .. 'ql:' .. row.queue, name) end
    else
      call('ZREM', key, row.id)
      if lane and call('EXISTS', key) == 0 then call('SREM', P .. 'ql:' .. row.queue, name) end
    end
  end
  if row.alarm_at ~= row.was_alarm then
    if row.alarm_at then add(alarms_set, number(row.alarm_at), row.id) else alarms_gone[#alarms_gone + 1] = row.id end
    local expires = row.held == 0 and row.alarm_at == row.expires_at and row.alarm_at
    if expires and expires < R.now + LOOK_S then R.freed = true end
  end
end

local function add_run(fields, run)
  add(fields, 'rd', pack({
    run.total, run.open, run.state, run.counts, run.ended_at or false, run.worst or false, run.held, run.tally,
    run.pieces or false, run.lock or false,
  }))
  if run.new then add(fields, 'rs', pack({run.name, run.meta, run.created_at, run.seq}), run.blobs and 'rb', run.blobs) end
  run.is_written = true
end

-- The hash of a node, in one command; with its run, when that has its name.
local function write_hash(row)
  local fields = {'HSET', P .. 'n:' .. row.id, 'd', pack(changing(row))}
  if row.new then add(fields, 's', pack(fixed(row)), 'a', row.args) end
  if row.edges_changed and #row.edges > 0 then add(fields, 'e', pack(row.edges)) end
  if row.inputs and (row.new or row.inputs_changed) and #row.inputs > 0 then add(fields, 'i', pack(row.inputs)) end
  local segment = not row.array and row.segments[1]
  if segment then add(fields, 'g', story_of(segment), segment.value and 'v', segment.value) end
  local run = runs[row.id]
  if run and run.dirty then add_run(fields, run) end
  call(unpack(fields))
end

local function write_node(row)
  write_hash(row)
  if row.array then
    write_parts(row)
    write_segments(row)
    if row.pages then write_pages(row) end
  end
  write_queue(row)
end

-- What has changed in the counts of a queue and of a run.
local function count(row, totals)
  local queued, waiting, held, pending = tallies(row)
  queued, waiting, held = queued - row.was_queued, waiting - row.was_waiting, held - row.was_held
  local total = totals[row.queue] or {0, 0, 0, 0}
  totals[row.queue] = total
  total[4] = total[4] + pending - row.was_pending
  if queued ~= 0 or waiting ~= 0 or held ~= 0 then
    local run = R.run(row.run)
    local own = run.tally
    total[1], total[2], total[3] = total[1] + queued, total[2] + waiting, total[3] + held
    own[1], own[2], own[3] = own[1] + queued, own[2] + waiting, own[3] + held
    R.save_run(run)
  end
end

-- The key of the list in which a run is remembered, or nil.
function R.memo(run)
  if not string.find(run.meta, '"memo"', 1, true) then return nil end
  local memo = cjson.decode(run.meta).memo
  return type(memo) == 'table' and type(memo.name) == 'string' and P .. 'memo:' .. memo.name or nil
end

local function write_run(run)
  if not run.is_written then
    local fields = {'HSET', P .. 'n:' .. run.id}
    add_run(fields, run)
    call(unpack(fields))
  end
  if run.new then
    call('ZADD', K.runs, whole(run.seq), run.id)
    local memo = R.memo(run)
    if memo then
      call('ZADD', memo, whole(run.seq), run.id)
      call('PERSIST', memo)
    end
  end
  if run.ended_at then
    call('ZADD', K.ended, run.ended_at == R.now and R.now_text or number(run.ended_at), run.id)
    call('SADD', K.unaged, run.id)
  end
end

local MOST_UNPACKED = 1000 -- as arguments of one command, an even number: Lua's stack has room for some thousands

-- One command for many arguments, or a few where there are more than Lua can give to one.
local function call_for_all(command, key, list)
  for at = 1, #list, MOST_UNPACKED do
    call(command, key, unpack(list, at, math.min(#list, at + MOST_UNPACKED - 1)))
  end
end

local function write_members(id, members)
  local run, key = R.run(id), P .. 'rn:' .. id
  if run.new and members[1] == id and not members[2] then return end -- see `R.members`
  if not run.new and R.node(id) and call('EXISTS', key) == 0 then call('RPUSH', key, id) end
  call_for_all('RPUSH', key, members)
end

-- Blobs stay as long as that run does.
function R.keep_blobs(run, names)
  for i = 1, #names do
    call('SADD', P .. 'bu:' .. names[i], run)
    call('PERSIST', P .. 'b:' .. names[i])
  end
end

-- What a new run needs from the beginning is written with it.
local function keep_uses()
  for i = 1, #uses do
    local run, names = R.run(uses[i][1]), uses[i][2]
    if run and run.new and not run.blobs then
      run.blobs = pack(names)
    else
      for _, name in ipairs(names) do call('SADD', P .. 'bl:' .. uses[i][1], name) end
    end
    R.keep_blobs(uses[i][1], names)
  end
end

-- The blobs that a run needs.
function R.used_by(id)
  local raw, found = call('HGET', P .. 'n:' .. id, 'rb'), call('SMEMBERS', P .. 'bl:' .. id)
  for _, name in ipairs(raw and unpacked(raw) or NONE) do found[#found + 1] = name end
  return found
end

local function write_edges()
  for parent, list in pairs(added) do
    local members = {}
    for i = 1, #list do add(members, whole(list[i][1]), member(list[i][2], list[i][3])) end
    call_for_all('ZADD', P .. 'ch:' .. parent, members)
  end
  for parent, list in pairs(removed) do
    for _, text in pairs(list) do call('ZREM', P .. 'ch:' .. parent, text) end
  end
  for i = 1, #crossings do call('SADD', P .. 'xr:' .. crossings[i][1], crossings[i][2]) end
end

local function write_todo()
  local key, taken = K.todo, todo.taken + todo.at - 1
  if taken > 0 then call('LTRIM', key, taken, -1) end
  for i = todo.first, todo.last do call('RPUSH', key, todo[i][1] .. '\0' .. todo[i][2]) end
  for i = 1, #todo.urgent do
    local entry = todo.urgent[i]
    call('LPUSH', key, entry[1] .. '\0' .. entry[2])
  end
  if todo.first <= todo.last or #todo.urgent > 0 then R.freed = true end -- somebody has to go on with it
end

local EVENT_ENTRIES_KEPT = '20000'

-- So many items of a queue may be claimed now.
function R.call(queue, items) calls[queue] = (calls[queue] or 0) + items end

-- Work was left behind: two more, who may leave some behind in turn.
function R.call_more(queue) calls[queue] = math.max(0, calls[queue] or 0) + 2 end

-- Whether something may be claimed that nobody was called for.
function R.is_called()
  for _, items in pairs(calls) do
    if items > 0 then return true end
  end
  return false
end

-- Who found nothing to claim waits for its turn; whoever is not there any more is passed over.
local function wake()
  if not R.is_called() then return end
  for queue, items in pairs(calls) do
    local own = R.owner(queue)
    if own and items > 0 then call('PUBLISH', P .. 'work:' .. own, '') end
    while not own and items > 0 do
      local worker = call('SPOP', P .. 'idle:' .. queue)
      if not worker then break end
      items = items - call('PUBLISH', P .. 'work:' .. worker, '')
    end
  end
end

-- The worker that a queue belongs to, and that nobody else claims from.
function R.owner(queue) return string.match(queue, '^worker/(.+)$') end

-- Of which queues something may be claimed that nobody was called for, and how much.
function R.called()
  local found = {}
  for queue, items in pairs(calls) do
    if items > 0 then found[#found + 1] = queue end
  end
  return found, calls
end

-- A message: what was packed, and bytes beside it.
function R.framed(head, blobs)
  local sizes = {}
  for i = 1, #blobs do sizes[i] = #blobs[i] end
  local packed = pack({head, sizes})
  return struct.pack('>I4', #packed) .. packed .. table.concat(blobs)
end

local MOST_SAID, MOST_ENDS_SAID, MOST_BYTES_SAID = 64, 16, 4096

-- What is told of a segment of a node; its value goes to `blobs`.
local function said_of(id, array, segment, blobs)
  if segment.value then blobs[#blobs + 1] = segment.value end
  return {
    id, segment.origin or id, segment.lo, segment.hi, segment.state, segment.error or false, segment.fence, array,
    segment.single, segment.value and #blobs or false,
  }
end

local function calls_of(row) return (not row.array or row.singles) and row.segments or NONE end

-- Whether the calls that ended in this step are few, and what they gave is small.
local function is_little()
  local ends, size = 0, 0
  for i = 1, #changed do
    local segments = calls_of(changed[i])
    ends = ends + #segments
    if ends > MOST_ENDS_SAID or segments[1] and changed[i].final then return false end
    for n = 1, #segments do size = size + #(segments[n].value or '') + #(segments[n].error or '') end
  end
  return size <= MOST_BYTES_SAID
end

-- What calls gave that ended in this step, when that is little; the bytes go to `blobs`.
local function outcomes_said(blobs)
  local found = {}
  for i = 1, is_little() and #changed or 0 do
    local row = changed[i]
    for _, s in ipairs(calls_of(row)) do found[#found + 1] = said_of(row.id, row.array and 1 or 0, s, blobs) end
  end
  return found
end

-- Clients are told what has happened since they were told something, so that they need not ask.
local function tell_ends(last, id, body, count, outcomes_of)
  local said, message = tonumber(call('SET', K.said, whole(last), 'GET') or '0'), ''
  if last - said <= MOST_SAID then
    local steps, blobs = {}, {}
    if last - said > count then
      for i, entry in ipairs(call('XRANGE', K.events, '(' .. whole(said) .. '-0', '(' .. id)) do
        steps[i], blobs[i] = {entry[1], entry[2][2]}, entry[2][4]
      end
    end
    steps[#steps + 1], blobs[#blobs + 1] = {id, R.now_text}, body
    local outcomes = outcomes_of(blobs)
    message = R.framed({said, steps, outcomes}, blobs)
  end
  call('PUBLISH', K.ends, message)
end

-- Keep events, and tell whoever listens; `outcomes_of` when something has ended: it gives what clients are told of that.
local function tell_events(events, outcomes_of)
  local last = call('INCRBY', K.cursor, whole(#events))
  local id, body = whole(last) .. '-0', pack(events)
  call('XADD', K.events, 'MAXLEN', '~', EVENT_ENTRIES_KEPT, id, 'at', R.now_text, 'b', body)
  if outcomes_of then tell_ends(last, id, body, #events, outcomes_of) else call('PUBLISH', K.watch, '') end
end

local function tell()
  if R.events[1] then tell_events(R.events, ended and outcomes_said) end
  if R.freed then call('PUBLISH', K.urgent, '') end
  if R.freed or R.is_called() then call('PUBLISH', K.work, '') end
  wake()
end

local function write_locks()
  for name, held in pairs(locks) do
    local key = P .. 'lk:' .. name
    if held then
      call('SET', key, pack(held), 'EX', string.format('%.0f', math.ceil(held[2] - R.now) + LOCK_SPARE_S))
    else
      call('DEL', key)
    end
  end
end

local TALLIED = {'queued', 'waiting', 'running'}

function R.finish()
  R.suspect = nil
  local totals = {}
  for i = 1, #changed do count(changed[i], totals) end
  keep_uses()
  for i = 1, #changed do write_node(changed[i]) end
  call_for_all('ZADD', K.alarm, alarms_set)
  call_for_all('ZREM', K.alarm, alarms_gone)
  for i = 1, #changed_runs do write_run(changed_runs[i]) end
  for i = 1, #changed_limits do write_limit(changed_limits[i]) end
  for i = 1, #shut do
    local one = shut[i]
    call('SREM', P .. 'ql:' .. one[1], one[2])
    call('SADD', P .. 'shut:' .. one[3], one[2])
  end
  for run, members in pairs(new_members) do write_members(run, members) end
  write_edges()
  for queue, total in pairs(totals) do
    R.pend(queue, total[4])
    for i = 1, #TALLIED do
      if total[i] ~= 0 then R.tally(queue, TALLIED[i], total[i]) end
    end
  end
  for i = 1, #logs do call('RPUSH', P .. 'lg:' .. logs[i][1], pack({logs[i][2], logs[i][3]})) end
  for i = 1, #dead do
    local entry = dead[i]
    call('ZADD', K.dead, number(entry[1].seq), entry[1].id .. '\0' .. string.format('%.0f', entry[2]))
  end
  write_locks()
  for i = 1, #later do call(unpack(later[i])) end
  write_todo()
  if seq and seq ~= seq_before then call('SET', K.seq, whole(seq)) end
  tell()
end

-- ── words that the machine uses everywhere ────────────────────────────────────────────

local ESCAPES = {['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t', ['\b'] = '\\b', ['\f'] = '\\f'}

local function escaped_code(code)
  if code < 0x10000 then return string.format('\\u%04x', code) end
  code = code - 0x10000
  return string.format('\\u%04x\\u%04x', 0xd800 + math.floor(code / 0x400), 0xdc00 + code % 0x400)
end

-- Text as JSON, just as Python writes it.
local function quoted(text)
  text = string.gsub(text, '[%c"\\\127]', function(c) return ESCAPES[c] or string.format('\\u%04x', string.byte(c)) end)
  text = string.gsub(text, '[\194-\244][\128-\191]+', function(c)
    local first = string.byte(c, 1)
    local code = first % (first >= 240 and 8 or first >= 224 and 16 or 32)
    for i = 2, #c do code = code * 64 + string.byte(c, i) % 64 end
    return escaped_code(code)
  end)
  return '"' .. text .. '"'
end

local function failure(kind, type, message, root, known)
  local text = '{"kind":' .. quoted(kind) .. ',"type":' .. quoted(type) .. ',"message":' .. quoted(message)
  if root then text = text .. ',"root":' .. quoted(root) end
  if known then text = text .. ',"data":{"error":' .. quoted(known) .. '}' end
  return text .. '}'
end

local function named(row) return row.label ~= '' and row.label or row.id end

local N, M = {}, {} -- the rules: what a node needs of others; all else
