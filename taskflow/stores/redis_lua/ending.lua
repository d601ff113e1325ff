-- Parts and their counts, and how items, nodes and runs end: `machine.parts` and `machine.ending`.

local BADNESS = {cancelled = 1, skipped = 2, expired = 3, failed = 4, dead = 5}

function M.piece(part, lo, hi)
  return {
    lo = lo, hi = hi, state = part.state, fence = part.fence, worker = part.worker, till = part.till,
    attempts = part.attempts, deliveries = part.deliveries, started_at = part.started_at, cancelled = part.cancelled,
    error = part.error,
  }
end

function M.new_part(lo, hi, state, till)
  return {lo = lo, hi = hi, state = state, fence = 0, till = till, attempts = 0, deliveries = 0}
end

function M.run_of(row)
  local run = R.run(row.run)
  if not run then error('node ' .. row.id .. ' without its run ' .. row.run) end
  return run
end

-- Whether a run keeps its lock though it has ended.
function M.keeps_lock(run)
  return run.state == 'succeeded' and run.lock and string.sub(run.lock, 1, 1) == '+'
end

-- Let go of the lock of a run, if it has one.
function M.unlock(run)
  if run.lock then
    R.unlock(run.lock, run.id)
    run.lock = nil
    R.save_run(run)
  end
end

local function is_bounded_itself(row) return row.max_parallel or row.run_parallel end

function M.is_bounded(row) return is_bounded_itself(row) or row.limits end

function M.tally(row, state, items)
  if state == 'running' then
    row.held = row.held + items
    if row.run_parallel then
      local run = M.run_of(row)
      run.held = run.held + items
      R.save_run(run)
    end
    if row.limits then M.tally_limits(row, items) end
    if items < 0 and is_bounded_itself(row) then R.freed = true end
  elseif state == 'waiting' then
    row.waiting = row.waiting + items
  elseif state == 'queued' then
    row.returned = row.returned + items
  end
  R.save(row)
end

function M.put(row, part)
  R.put_part(row, part)
  M.tally(row, part.state, part.hi - part.lo)
end

function M.forget(row, part)
  R.drop_part(row, part)
  M.tally(row, part.state, part.lo - part.hi)
end

function M.replaced(row)
  return row.array and row.open - row.held - row.waiting - row.returned - R.fresh(row) or 0
end

-- ── how the state of a node follows from its counts ───────────────────────────────────

local function derive(row)
  if row.remaining > 0 or row.final or not row.width then return 'blocked' end
  if row.due_at and row.due_at <= R.now then row.due_at = nil end
  if row.returned > 0 or (R.fresh(row) > 0 and not row.due_at) then return 'queued' end
  return (row.held > 0 or M.replaced(row) > 0) and 'running' or 'waiting'
end

local function earlier(a, b) return (a and b) and math.min(a, b) or a or b end

local function alarm(row)
  local at = row.expires_at
  if row.due_at and row.state ~= 'blocked' then at = earlier(at, row.due_at) end
  if row.held > 0 or row.waiting > 0 then at = earlier(at, R.first_until(row)) end
  return at
end

function M.refresh(row)
  if row.open == 0 and not row.growing and not (row.width == 0 and row.remaining > 0) then
    M.end_node(row, row.worst or 'succeeded')
    return
  end
  local before = row.state
  row.state = derive(row)
  row.alarm_at = alarm(row)
  R.save(row)
  if row.state ~= before and (row.state == 'queued' or row.state == 'waiting') then
    R.emit(row.run, row.id, 0, 0, row.state)
  end
end

local function ready(row)
  if not row.width then
    row.root = row.id
    M.count(row, 'skipped', row.open)
    M.end_node(row, 'skipped')
  elseif row.open == 0 and not row.growing then
    M.end_node(row, row.worst or 'succeeded')
  else
    M.refresh(row)
  end
end

-- `refusal`: {parent, by_choice}
function M.begin(row, refusal)
  if refusal then
    M.skip(row, refusal)
  elseif row.remaining == 0 then
    ready(row)
  end
end

-- ── ends ──────────────────────────────────────────────────────────────────────────────

function M.end_items(row, part, outcome, state)
  if outcome[3] == 'failed' then
    part = M.piece(part, outcome[1], outcome[2])
    part.attempts = part.attempts + 1
  end
  R.finish_items(row, part, outcome, state)
  R.emit(row.run, row.id, outcome[1], outcome[2], state)
  M.count(row, state, outcome[2] - outcome[1])
  M.touch(row, outcome[1], outcome[2])
end

function M.end_range(row, part, state, text)
  part.fence = 0
  M.end_items(row, part, {part.lo, part.hi, 'lost', false, text, 0, 0, 0, false}, state)
end

function M.touch(row, lo, hi)
  if row.ranged then R.ranges_ended[#R.ranges_ended + 1] = {row, lo, hi} end
end

local function worse(one, other)
  return (not one or BADNESS[other] > BADNESS[one]) and other or one
end

function M.count(row, state, items)
  row.open = row.open - items
  R.save(row)
  local run = M.run_of(row)
  run.counts[state] = (run.counts[state] or 0) + items
  R.save_run(run)
  if state == 'succeeded' then return end
  local chosen = state == 'skipped' and not row.root
  if not (chosen and row.array) then row.worst = worse(row.worst, state) end
  if not chosen and not (FAILURES[state] and row.on_failure == 'skip') then run.worst = worse(run.worst, state) end
end

M.STOP = '\2'
local STOPS_PER_STEP = 1000

-- Cancel what has not started, but not what was waiting for just this: of the nodes of its run as many as a step may
-- take, from the one numbered `at` on. The rest comes before anything else that is left to do, so that nothing else
-- becomes of it. Gives how many were looked at.
function M.stop(row, at)
  local reason, handlers = named(row) .. ' failed', {}
  for _, entry in ipairs(R.children(row.id, '', ALL)) do
    if not N.NEED_SUCCESS[entry[3][2]] then handlers[entry[2]] = true end
  end
  local list = R.nodes_of(row.run, at, at + STOPS_PER_STEP - 1)
  for _, other in ipairs(list) do
    if not TERMINAL[other.state] and other.id ~= row.id and not handlers[other.id] then M.cancel_node(other, reason) end
  end
  if #list >= STOPS_PER_STEP then R.push_first(M.STOP .. row.id, string.format('%d', at + STOPS_PER_STEP)) end
  return #list
end

-- What failed first where nothing could be added to an array any more.
local function root_of_feeder(row)
  for _, edge in ipairs(row.array and R.parents(row) or {}) do
    local feeder = edge[2] == 'feeds' and R.node(edge[1])
    if feeder and TERMINAL[feeder.state] and feeder.state ~= 'succeeded' then return feeder.root or feeder.id end
  end
  return nil
end

function M.end_node(row, state)
  row.state, row.ended_at = state, R.now
  row.alarm_at, row.due_at, row.expires_at, row.growing = nil, nil, nil, false
  if state ~= 'succeeded' and state ~= 'skipped' and not row.root then row.root = root_of_feeder(row) or row.id end
  R.save(row)
  if row.array or row.width ~= 1 or state == 'skipped' then R.emit(row.run, row.id, 0, 0, state) end
  R.push(row.id, '')
  local run = M.run_of(row)
  run.open = run.open - 1
  R.save_run(run)
  if row.on_failure == 'stop' and FAILURES[state] then M.stop(row, 0) end
  if run.open == 0 and not run.ended_at and not run.pieces then
    M.end_run(run)
    if run.id ~= row.id then R.emit(run.id, '', 0, 0, run.state) end
  end
end

function M.end_run(run)
  run.state = run.worst == 'skipped' and 'failed' or run.worst or 'succeeded'
  run.ended_at = R.now
  if not M.keeps_lock(run) then M.unlock(run) end
  R.save_run(run)
end

-- ── ends before anything ran ──────────────────────────────────────────────────────────

function M.end_fresh(row, state, text)
  local part = M.new_part(row.cursor, row.width or 0, 'queued')
  row.cursor = part.hi
  M.end_range(row, part, state, text)
end

function M.end_rest(row, state, text)
  local ended = false
  if row.returned > 0 or row.waiting > 0 or M.replaced(row) > 0 then
    for _, part in ipairs(R.list_parts(row)) do
      if part.state ~= 'running' then
        M.forget(row, part)
        M.end_range(row, part, state, text)
        ended = true
      end
    end
  end
  if not row.width or row.final then
    M.count(row, state, row.open)
    return true
  elseif R.fresh(row) > 0 then
    M.end_fresh(row, state, text)
    return true
  end
  return ended
end

-- How badly a node ends whose items have all ended: no better than what has fed it, if that has ended.
local function worst_of_all(row)
  for _, edge in ipairs(row.growing and R.parents(row) or {}) do
    local feeder = edge[2] == 'feeds' and R.node(edge[1])
    if feeder and TERMINAL[feeder.state] and feeder.state ~= 'succeeded' then row.worst = worse(row.worst, feeder.state) end
  end
  return row.worst
end

function M.skip(row, refusal)
  local culprit, by_choice = refusal[1], refusal[2]
  local text
  if by_choice then
    row.root = nil
    text = failure('skipped', 'Skip', 'it needs ' .. named(culprit) .. ', which is ' .. culprit.state, nil, 'TaskSkipped')
  else
    row.root = culprit.root or culprit.id
    text = failure('skipped', 'UpstreamFailed', named(culprit) .. ' ' .. culprit.state, row.root)
  end
  local over = row.width and row.width > 0 and row.open == 0 -- it waited only for more to be added
  M.end_rest(row, 'skipped', text)
  M.end_node(row, over and worst_of_all(row) or 'skipped')
end

function M.cancel_node(row, reason)
  row.cancelled = reason
  R.save(row)
  local ended = M.end_rest(row, 'cancelled', failure('cancelled', 'TaskCancelled', reason))
  if not row.width or row.final then
    M.end_node(row, 'cancelled')
    return true
  end
  if row.growing then
    M.close(row, 'cancelled')
    return true
  end
  if ended or row.held > 0 then M.refresh(row) end
  return ended or row.held > 0
end

-- Nothing is added to a node any more: it ends with what it has, and no better than what fed it.
function M.close(row, state)
  row.growing = false
  if state ~= 'succeeded' then row.worst = worse(row.worst, state) end
  M.refresh(row)
end

local function end_unstarted(row, state, text)
  if row.returned > 0 or row.waiting > 0 then
    for _, part in ipairs(R.list_parts(row)) do
      if part.state ~= 'running' and part.deliveries == 0 then
        M.forget(row, part)
        M.end_range(row, part, state, text)
      end
    end
  end
  if not row.width then
    M.count(row, state, row.open)
  elseif R.fresh(row) > 0 then
    M.end_fresh(row, state, text)
  end
  M.refresh(row)
end

function M.expire(row)
  row.expires_at = nil
  end_unstarted(row, 'expired', failure('expired', 'TaskExpired', 'it was not started in time'))
end

-- A breaker is open: what never started fails, what was tried before waits until it lets something through.
function M.refuse(row, kept)
  if row.returned > 0 then
    for _, part in ipairs(R.list_parts(row)) do
      if part.state == 'queued' and part.deliveries > 0 then
        M.forget(row, part)
        part.state, part.till = 'waiting', kept.till
        M.put(row, part)
        R.emit(row.run, row.id, part.lo, part.hi, 'waiting')
      end
    end
  end
  local name = string.match(kept.name, ':(.*)$')
  local text = 'the circuit breaker ' .. name .. ' is open: what it guards has failed too often'
  end_unstarted(row, 'failed', failure('failed', 'taskflow.errors.CircuitOpen', text, nil, 'CircuitOpen'))
end
