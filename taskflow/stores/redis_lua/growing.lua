-- How a graph comes to be: `machine.growing`.
--
-- A node of a request: {id, fn, args, edges, width, array, pages, queue, priority, policy, delay_s, expires_s,
-- label, max_deliveries, chunk, on_failure, max_parallel, run_parallel, seed, whether some wait for a range of its
-- items, whether it has no predecessor in its plan, limits, whether it unlocks its run, whether its items are single
-- calls, items that have succeeded already: {lo, hi, value}}

local function gives_value(edge) return not N.GIVES_NOTHING[edge[2]] end

local function inputs_of(edges)
  local inputs = {}
  for i = 1, #edges do
    local edge = edges[i]
    if gives_value(edge) then inputs[#inputs + 1] = edge end
  end
  return inputs
end

-- In one piece, with room for what is added: a table that grows is built anew each time.
local function row_of(run, t)
  local now, expires_at = R.now, t[12] and R.now + t[12] or nil
  return {
    id = t[1], run = run, fn = t[2], args = value_of(t[3]), width = t[5] or nil, array = t[6] == 1, queue = t[8],
    priority = t[9], policy = t[10], label = t[13], max_deliveries = t[14], chunk = t[15] or nil, on_failure = t[16],
    max_parallel = t[17] or nil, run_parallel = t[18] or nil, seed = t[19] or nil, ranged = t[20] == 1,
    limits = t[22] or nil, unlocks = t[23] == 1, singles = t[24] == 1, due_at = t[11] and now + t[11] or nil,
    expires_at = expires_at, alarm_at = expires_at, created_at = now, state = 'blocked', open = t[5] or 1,
    cursor = 0, held = 0, waiting = 0, returned = 0, fence = 0, remaining = 0, ended = {}, inputs = inputs_of(t[4]),
    growing = false,
  }
end

function M.clone_row(id, run, like, edges)
  return {
    id = id, run = run, fn = like.fn, args = call('HGET', P .. 'n:' .. like.id, 'a'), width = like.width,
    array = like.array, queue = like.queue, priority = like.priority, policy = like.policy, label = like.label,
    max_deliveries = like.max_deliveries, chunk = like.chunk, on_failure = like.on_failure,
    max_parallel = like.max_parallel, run_parallel = like.run_parallel, seed = like.seed or like.id, ranged = false,
    limits = like.limits, unlocks = like.unlocks, singles = like.singles, created_at = R.now, state = 'blocked',
    open = like.width or 1, cursor = 0, held = 0, waiting = 0, returned = 0, fence = 0, remaining = 0, ended = {},
    inputs = inputs_of(edges), growing = false,
  }
end

local function mark_ranged(id)
  local row = R.node(id)
  if row and not row.ranged then
    row.ranged = true
    R.save(row)
  end
end

-- Items that have their results end at once; those between them are handed out before those behind.
local function give(row, given, waits)
  local at, ready = 0, row.array and not waits and not row.due_at
  for _, one in ipairs(given) do
    local lo, hi = one[1], one[2]
    if not ready or lo < at or hi <= lo or (row.width or 0) < hi then
      fail('GraphError', named(row) .. ' cannot be given the results of its items ' .. string.format('%.0f to %.0f.', lo, hi))
    end
    if at < lo then M.put(row, M.new_part(at, lo, 'queued')) end
    local part = M.new_part(lo, hi, 'queued')
    row.cursor, at = hi, hi
    M.end_items(row, part, {lo, hi, 'succeeded', one[3], false, 0, 0, 0, false}, 'succeeded')
  end
  R.save(row)
end

local function add_nodes(run, list)
  local new, ranged, beginners, known = {}, {}, {}, {}
  for i = 1, #list do new[list[i][1]] = true end
  for i = 1, #list do
    local t = list[i]
    local row = row_of(run.id, t)
    local refusal, ended = N.wait_for(row, t[4], new, run.pieces, run.pieces and run.id)
    if t[25] and #t[25] > 0 then known[#known + 1] = {row, t[25], row.remaining > 0} end
    if run.pieces and t[21] == 1 then
      row.remaining = row.remaining + 1
      R.later('RPUSH', P .. 'hold:' .. run.id, row.id)
    end
    R.add_node(row, t[4], t[7], ended)
    local edges = t[4]
    for n = 1, #edges do
      local edge = edges[n]
      if edge[4] then ranged[#ranged + 1] = edge[1] end
    end
    run.total, run.open = run.total + row.open, run.open + 1
    if row.remaining == 0 or refusal then beginners[#beginners + 1] = {row, refusal} end
  end
  R.save_run(run)
  for i = 1, #ranged do mark_ranged(ranged[i]) end
  for i = 1, #known do -- only now, so that who waits for just these items is told
    give(known[i][1], known[i][2], known[i][3])
    if run.pieces then R.later('RPUSH', P .. 'hold:' .. run.id, M.GIVEN .. known[i][1].id) end
  end
  return beginners
end

local function begin(beginners)
  for _, one in ipairs(beginners) do M.begin(one[1], one[2]) end
end

-- `plan`: {run, name, meta, nodes, names of blobs, lock, bound of what is pending}; gives the run that holds the lock
-- of this one, which then was not added.
function M.add_plan(plan)
  R.expect_new(plan[1], plan[4])
  if R.run(plan[1]) then return nil end
  local lock = plan[6] or nil
  local holder = lock and M.in_the_way(lock)
  if holder and lock[3] ~= 'skip' then return holder end
  local run = R.add_run(plan[1], plan[2], plan[3])
  if lock and not holder then M.take(run, lock) end
  R.use(run.id, plan[5])
  local beginners = add_nodes(run, plan[4])
  if holder then M.skip_all(R.nodes_of(run.id), holder) else begin(beginners) end
  if #plan[4] == 0 then M.end_run(run) end
  M.drain()
  return nil
end

-- ── plans that come in pieces: nothing begins before the last is there ──────────────────

local ORPHAN_S = 120

function M.await_pieces(run) R.later('ZADD', K.assembling, number(R.now + ORPHAN_S), run.id) end

function M.begin_whole(run)
  run.pieces = nil
  R.save_run(run)
  R.later('ZREM', K.assembling, run.id)
  R.later('HDEL', P .. 'n:' .. run.id, 'st')
  R.push('\1' .. run.id, '')
  M.drain()
  if run.open == 0 and not run.ended_at then M.end_run(run) end
end

-- A run that gets its pieces from that stage; or the one that holds its lock. `a` is what `M.assemble` is given.
local function open_run(a)
  local holder = a[6] and M.in_the_way(a[6])
  if holder then return nil, holder end
  if a[4] == 0 then
    fail('UsageError', 'Run ' .. a[1] .. ' was handed over in part, and that was forgotten. Submit it anew.')
  end
  M.check_room({{a[1], a[7], a[8]}})
  for _, need in ipairs(a[5]) do
    if not R.node(need[2]) then N.unknown(need[1], need[2]) end
  end
  local run = R.add_run(a[1], a[2], a[3], a[4])
  if a[6] then M.take(run, a[6]) end
  R.later('HSET', P .. 'n:' .. run.id, 'st', a[9])
  return run
end

-- Where the pieces of a run are: those of one drawing, whoever else has drawn it.
local function stage_of(id) return P .. 'stage:' .. (call('HGET', P .. 'n:' .. id, 'st') or '') end

-- `a`: {run, name, meta, pieces, {label, predecessor} of other runs, lock, queues, bound of what is pending, stage}. The
-- pieces lie in a stage, each {nodes, names of blobs, values}. Takes the next one, or lets the plan begin when there is
-- none; gives whether it has begun, and the run that holds the lock of this one, which then is not added.
function M.assemble(a)
  local run, own, holder = R.run(a[1]), P .. 'stage:' .. a[9], nil
  local stage = run and stage_of(run.id) or own
  if not run then run, holder = open_run(a) end
  if not run or stage ~= own then R.later('UNLINK', own) end
  if not run or not run.pieces then
    M.drain()
    return {true, holder or false}
  end
  local raw = call('LINDEX', stage, 0)
  if raw then
    local piece = unpacked(raw)
    R.values_are(piece[3])
    R.use(run.id, piece[2])
    R.expect_nodes(piece[1])
    begin(add_nodes(run, piece[1]))
    run.pieces = run.pieces - 1
    R.later('LPOP', stage)
  elseif run.pieces > 0 then
    fail('UsageError', 'Run ' .. run.id .. ' was handed over in part, and the rest of it is gone: it will be forgotten'
      .. ' within two minutes. Submit it anew then.')
  end
  R.save_run(run)
  M.await_pieces(run)
  if raw then return {false, false} end -- what waits in `hold` is written when this step ends
  M.begin_whole(run)
  return {true, false}
end

-- A client that died in the middle: what it had begun to hand over was never there.
function M.drop_orphans()
  for _, id in ipairs(call('ZRANGEBYSCORE', K.assembling, '-inf', R.now_text, 'LIMIT', 0, 1)) do
    local run = R.run(id)
    call('UNLINK', stage_of(id), P .. 'hold:' .. id)
    if run and run.pieces then M.give_up(run) end
    call('ZREM', K.assembling, id)
  end
end

-- ── growth ────────────────────────────────────────────────────────────────────────────

-- Remember whose clone a node is, at whatever distance.
function M.know_clone(twin)
  local source = twin.source
  while source do
    R.later('HSETNX', P .. 'cl:' .. twin.run, source, twin.id)
    local row = R.node(source)
    source = row and row.source
  end
end

-- The clone of a node in a rerun; the node itself where there is none.
local function clone_of(run, id)
  local known = R.node(id)
  if not known or known.run == run then return id end
  return call('HGET', P .. 'cl:' .. run, id) or id
end

local function is_below(id, other)
  local seen, open = {[id] = true}, {id}
  while #open > 0 and not seen[other] do
    for _, entry in ipairs(R.children(table.remove(open), '', ALL)) do
      if not seen[entry[2]] then
        seen[entry[2]] = true
        open[#open + 1] = entry[2]
      end
    end
  end
  return seen[other] or false
end

local function bring_home(row, t)
  for _, edge in ipairs(t[4]) do
    local clone = clone_of(row.run, edge[1])
    if clone ~= edge[1] and not is_below(row.id, clone) then edge[1] = clone end
  end
  return t
end

local function widen(run, id, width, pages)
  local target = R.node(clone_of(run.id, id))
  if not target or target.run ~= run.id or TERMINAL[target.state] then return end
  if not target.width then
    run.total = run.total + width - target.open
    target.width, target.open = width, width
  elseif target.growing and pages[1] and pages[1][1] == target.width then
    local more = width - target.width
    run.total = run.total + more
    target.width, target.open = width, target.open + more
  else
    return
  end
  R.add_pages(target, pages)
  R.save_run(run)
  if target.growing then M.refresh(target) end
end

local function join(row, id, grown)
  if not grown[id] then
    fail('UnknownNode', named(row) .. ' is to be joined by ' .. id .. ', which is not there. Let the growth bring it.')
  end
  for _, entry in ipairs(R.children(row.id, '', ALL)) do
    local waiting, mode = R.node(entry[2]), entry[3][2]
    if waiting and not TERMINAL[waiting.state] and N.NEED_SUCCESS[mode] and not grown[entry[2]] then
      local edge = {id, gives_value(entry[3]) and 'join' or 'after', 0, false}
      waiting.remaining = waiting.remaining + 1
      if gives_value(edge) then R.add_input(waiting, edge) end
      R.add_edge(waiting.id, edge)
    end
  end
end

-- `growth`: {nodes, widths: {id, width, pages}, final, joins}
function M.grow(row, growth)
  local run, fresh, grown = M.run_of(row), {}, {}
  for _, t in ipairs(growth[1]) do
    grown[t[1]] = true
    if not R.node(t[1]) then fresh[#fresh + 1] = bring_home(row, t) end
  end
  if #fresh > 0 then begin(add_nodes(run, fresh)) end
  local final = growth[3] or nil
  if final and (final == row.id or not R.node(final)) then
    fail('UnknownNode', named(row) .. ' is to be replaced by ' .. final .. ', which is not there.'
      .. ' Let the growth bring that node with it.')
  end
  for _, w in ipairs(growth[2]) do widen(run, w[1], w[2], w[3]) end
  if final and not row.final and not row.array then
    row.final = final
    R.add_edge(row.id, {final, 'ended', 0, false})
    local known = R.node(final)
    if TERMINAL[known.state] then M.adopt(row, known) end
  end
  for _, id in ipairs(growth[4]) do join(row, id, grown) end
  if row.cancelled then
    for _, t in ipairs(fresh) do
      local new = R.node(t[1])
      if new and not TERMINAL[new.state] then M.cancel_node(new, row.cancelled) end
    end
  end
end

function M.replace_item(row, index, final)
  R.add_edge(row.id, {final, 'item', index, index + 1})
  local last = R.node(final)
  if not last or last.array then
    fail('GraphError', 'Item ' .. string.format('%.0f', index) .. ' of ' .. named(row) .. ' can be replaced by a call only.')
  end
  if TERMINAL[last.state] then M.adopt_item(row, last, index) end
end
