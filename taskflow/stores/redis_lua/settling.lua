-- What becomes of a lease, and what time demands: `machine.settling` and `machine.reaping`.
--
-- A settlement: {{node, lo, hi, fence}, outcomes, growth or false, names of blobs};
-- an outcome: {lo, hi, kind, value, error, delay_s, started_at, took_s, log, spared}

local ENDS = {succeeded = 'succeeded', failed = 'failed', skipped = 'skipped', rejected = 'dead'}

local function is_cancelled(row, part) return row.cancelled or part.cancelled end

-- Items go back: after a failure that is retried, after a crash, or as if never claimed.
local function give_back(row, part, outcome)
  local back = M.piece(part, outcome[1], outcome[2])
  if outcome[3] == 'released' then
    back.deliveries = back.deliveries - 1
  else
    back.error = outcome[5] or nil
    if outcome[3] == 'retry' then back.attempts = back.attempts + 1 end
    if back.deliveries >= row.max_deliveries then
      M.end_items(row, back, outcome, 'dead')
      return
    end
  end
  -- A negative fence can settle nothing, but tells a repeated settlement from a stale one.
  back.fence, back.worker, back.till, back.state = -part.fence, nil, nil, 'queued'
  if outcome[6] > 0 then back.state, back.till = 'waiting', R.now + outcome[6] end
  M.put(row, back)
  R.emit(row.run, row.id, back.lo, back.hi, back.state)
end

local function apply(row, part, outcome)
  local kind = outcome[3]
  if row.limits then M.heard(row, part, outcome) end
  if ENDS[kind] then
    M.end_items(row, part, outcome, ENDS[kind])
  elseif kind == 'replaced' then
    if not row.final and not row.array then fail('AssertionError', 'node ' .. row.id .. ' was replaced by nothing') end
  elseif kind == 'cancelled' or is_cancelled(row, part) then
    local reason = row.cancelled or part.cancelled or 'the worker stopped it'
    outcome[4], outcome[5] = false, failure('cancelled', 'TaskCancelled', reason)
    M.end_items(row, part, outcome, 'cancelled')
  else
    give_back(row, part, outcome)
  end
end

local function replace_item(row, part, outcome, growth)
  if not growth or not growth[3] or outcome[2] - outcome[1] ~= 1 then
    fail('AssertionError', 'an item of ' .. row.id .. ' was replaced by nothing')
  end
  local blocked = M.piece(part, outcome[1], outcome[2])
  blocked.state, blocked.fence, blocked.till = 'blocked', -part.fence, nil
  M.put(row, blocked)
  R.emit(row.run, row.id, blocked.lo, blocked.hi, 'blocked')
  M.replace_item(row, outcome[1], growth[3])
end

local settle_rest

local function settle_one(row, key, outcomes, growth)
  local part = R.held(row, key[2], key[3], key[4])
  if not part then return settle_rest(row, key, outcomes) end
  M.forget(row, part)
  if growth then M.grow(row, growth) end
  local at = part.lo
  for i = 1, #outcomes do
    local outcome = outcomes[i]
    if outcome[1] > at then M.put(row, M.piece(part, at, outcome[1])) end
    if outcome[9] and outcome[9] ~= '' then R.printed(row, outcome[1], outcome[9]) end
    apply(row, part, outcome)
    if outcome[3] == 'replaced' and row.array then replace_item(row, part, outcome, growth) end
    at = outcome[2]
  end
  if at < part.hi then M.put(row, M.piece(part, at, part.hi)) end
  if not TERMINAL[row.state] then M.refresh(row) end
  return true
end

-- Whether that fence ended or replaced the item, or gave it back and nobody took it since.
local function was_applied(row, index, fence)
  if row.final and row.fence == fence then return true end
  return R.ended_by(row, index) == fence or R.held(row, index, index + 1, -fence) ~= nil
end

settle_rest = function(row, key, outcomes)
  if #outcomes == 0 then return false end
  local held = {}
  for _, outcome in ipairs(outcomes) do
    if R.held(row, outcome[1], outcome[2], key[4]) then
      held[#held + 1] = outcome
    elseif not was_applied(row, outcome[1], key[4]) then
      return false
    end
  end
  for _, outcome in ipairs(held) do settle_one(row, {key[1], outcome[1], outcome[2], key[4]}, {outcome}, nil) end
  return true
end

-- Gives the numbers of those whose lease was lost.
function M.settle(done)
  local lost = {}
  for number, settlement in ipairs(done) do
    local row = R.node(settlement[1][1])
    if not row or not settle_one(row, settlement[1], settlement[2], settlement[3] or nil) then
      lost[#lost + 1] = number
    else
      R.use(row.run, settlement[4])
    end
  end
  M.drain()
  return lost
end

-- ── time ──────────────────────────────────────────────────────────────────────────────

local function lease_expired(row, part)
  M.forget(row, part)
  local text = failure('lost', 'WorkerLost', 'worker ' .. (part.worker or 'None')
    .. ' stopped renewing its lease: it was killed, paused, or lost the store', nil, 'WorkerLost')
  local outcome = {part.lo, part.hi, 'lost', false, text, 0, 0, 0, false}
  if is_cancelled(row, part) then
    part.fence = 0
    apply(row, part, outcome)
  elseif part.deliveries >= row.max_deliveries then
    part.fence = 0
    M.end_items(row, part, outcome, 'dead')
  else
    part.state, part.till, part.error = 'queued', nil, text
    M.put(row, part)
    R.emit(row.run, row.id, part.lo, part.hi, 'queued')
  end
end

local function alarmed(row)
  for _, part in ipairs(R.overdue(row)) do
    if part.state == 'waiting' then
      M.forget(row, part)
      part.state, part.till = 'queued', nil
      M.put(row, part)
    elseif part.state == 'running' then
      lease_expired(row, part)
    end
  end
  if row.expires_at and row.expires_at <= R.now then
    M.expire(row)
  elseif not TERMINAL[row.state] then
    M.refresh(row)
  end
end

-- Gives the seconds until there is more to do, or false.
function M.reap(limit)
  M.drop_orphans()
  local left = M.drain()
  M.limits_due()
  local late = R.alarms(limit)
  for _, row in ipairs(late) do
    if R.is_urgent() then break end -- what is being stopped is cancelled, and not late
    alarmed(row)
  end
  left = M.drain() or left or #late >= limit
  if left then return 0 end
  local alarm = R.next_alarm()
  return alarm and math.max(0, alarm - R.now) or false
end
