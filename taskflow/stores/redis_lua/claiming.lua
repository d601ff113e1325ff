-- How work is handed out, and held: `machine.claiming`.
--
-- `want`: {worker, queues, slots, lease_s, pace_s, batch_s, share, nonce, turns, standing}. A worker whose slots are
-- not filled is idle: it is called when there is more. One that leaves work behind calls another. With a nonce for
-- `standing` a claim that left slots free is kept, to be carried out under that nonce when the worker would be called;
-- then `called_from` is the queue among whose idle ones it was found.

local RANGE_MAX, RANGE_FLOOR_S, PACE_MIN_S = 65536, 0.001, 1e-6

local ENDED_MAX = 500
M.CLAIM_KEPT_S, M.IDLE_KEPT_S = '120', '600'

local function room(row, want, full)
  local most, lane = math.huge, R.lane(row)
  if row.limits then most = M.limits_room(row, want[1]) end
  if row.run_parallel then most = math.min(most, row.run_parallel - M.run_of(row).held) end
  if most <= 0 and lane then full[lane] = true end
  if row.max_parallel then most = math.min(most, row.max_parallel - row.held) end
  return math.max(0, most)
end

local function is_late(row) return row.expires_at and row.expires_at <= R.now end

-- Whether what was not started of a node is not to be: it is too late, or its breaker is open.
local function ends_unstarted(row)
  if is_late(row) then
    M.expire(row)
    return true
  end
  local breaker = M.opened(row)
  if breaker then M.refuse(row, breaker) end
  return breaker ~= nil
end

-- Queued nodes, one after the other; `goes_on` tells whether there is another behind this one.
local function ready(queues, full, quiet)
  local following, next_row = nil, R.ready(queues, full, quiet)
  local function goes_on()
    if following == nil then
      following = next_row() or false
      R.suspect = nil
    end
    return following ~= false
  end
  return function()
    if following == nil then return next_row() end
    local row = following
    if row then following = nil end
    return row or nil
  end, goes_on
end

-- A fair share of what is left, where nothing else is left to share.
local function range_size(row, want, pace, goes_on)
  local size = 1
  if pace and not M.is_bounded(row) then
    pace = math.max(pace, PACE_MIN_S)
    local fair = math.max(math.ceil((R.fresh(row) + row.returned) / (2 * want[7])), math.floor(RANGE_FLOOR_S / pace))
    size = math.max(1, math.min(math.floor(want[6] / pace), RANGE_MAX))
    if fair < size and not goes_on() then size = fair end
  end
  return math.min(size, row.chunk or size)
end

local function take(row, size)
  if row.returned > 0 then
    local part = R.first_queued(row)
    M.forget(row, part)
    if part.hi - part.lo > size then M.put(row, M.piece(part, part.lo + size, part.hi)) end
    return M.piece(part, part.lo, math.min(part.hi, part.lo + size))
  end
  if R.fresh(row) > 0 and not row.due_at then
    local lo = row.cursor
    row.cursor = math.min(lo + size, row.width or 0)
    return M.new_part(lo, row.cursor, 'queued')
  end
  return nil
end

-- A lease as it is answered, and the arguments.
local function told(row, part)
  if not row.args and not row.inputs then
    local raw = call('HMGET', P .. 'n:' .. row.id, 'a', 'i')
    row.args, row.inputs = raw[1], raw[2] and unpacked(raw[2]) or {}
  end
  return {
    {
      row.id, part.lo, part.hi, part.fence, row.run, row.fn, row.array and 1 or 0, row.width or 0, R.inputs(row),
      row.policy, row.seed or false, row.queue, row.label, part.attempts + 1, part.deliveries, R.now - row.created_at,
      row.priority,
    },
    row.args or call('HGET', P .. 'n:' .. row.id, 'a'),
  }
end

local function lease(row, part, want)
  if not R.run(row.run) then error('a node without a run') end
  row.fence = row.fence + 1
  part.state, part.fence, part.worker, part.till = 'running', row.fence, want[1], R.now + want[4]
  part.deliveries, part.started_at = part.deliveries + 1, R.now
  row.started_at = row.started_at or R.now
  if row.unlocks then M.unlock(M.run_of(row)) end
  M.start(row, want[1], part.hi - part.lo)
  M.tally(row, 'running', part.hi - part.lo)
  R.put_part(row, part)
  M.refresh(row)
  R.emit(row.run, row.id, part.lo, part.hi, 'running')
  R.call(row.queue, part.lo - part.hi)
  return told(row, part)
end

local function lease_call(row, want)
  local part = row.part
  if not part then
    part = M.new_part(0, 1, 'queued')
    row.part, row.cursor = part, 1
  else
    row.returned = row.returned - 1
  end
  return lease(row, part, want)
end

local function lease_ranges(row, want, pace, slots, leases, goes_on)
  local taken = 0
  while taken < slots do
    local part = take(row, range_size(row, want, pace, goes_on))
    if not part then break end
    leases[#leases + 1] = lease(row, part, want)
    taken = taken + 1
  end
  return taken
end

-- What a claim gave whose answer was lost: as far as nobody else has it by now.
local function given_before(want)
  local raw = call('GET', P .. 'c:' .. want[1])
  local well, before = pcall(unpacked, raw or '')
  if not raw or not well or type(before) ~= 'table' or before[1] ~= want[8] then return nil end
  local leases = {}
  for _, key in ipairs(before[2]) do
    local row = R.node(key[1])
    local part = row and R.held(row, key[2], key[3], key[4])
    if part and part.state == 'running' then leases[#leases + 1] = told(row, part) end
  end
  return leases
end

-- What a claim gave, for when its answer is lost.
local function note_given(want, leases)
  local keys = {}
  for i = 1, #leases do
    local told = leases[i][1]
    keys[i] = {told[1], told[2], told[3], told[4]}
  end
  R.later('SET', P .. 'c:' .. want[1], pack({want[8], keys}), 'EX', M.CLAIM_KEPT_S)
end

function M.claim_noted(want)
  local leases = M.claim_anew(want)
  if #leases > 0 then note_given(want, leases) end
  return leases
end

-- A worker that asks again with the same nonce has not heard the answer, and gets it again; also gives whether it did.
function M.claim(want)
  local leases = given_before(want)
  if leases then return leases, true end
  return M.claim_noted(want), false
end

-- Leases as they are answered; the arguments go to `values`.
function M.answer_leases(leases, values)
  local told = {}
  for i = 1, #leases do told[i], values[#values + 1] = leases[i][1], leases[i][2] end
  return told
end

-- Keep a claim, to be carried out when it is the worker's turn.
function M.stand(worker, packed) R.later('SET', P .. 'want:' .. worker, packed, 'EX', M.IDLE_KEPT_S) end

local function note_idle(want, slots)
  R.asked[want[1]] = true
  local is_idle = slots > 0
  for _, queue in ipairs(want[2]) do
    if not R.owner(queue) and not (is_idle and queue == want.called_from) then
      R.later(is_idle and 'SADD' or 'SREM', P .. 'idle:' .. queue, want[1])
      if is_idle then R.later('EXPIRE', P .. 'idle:' .. queue, M.IDLE_KEPT_S) end
    end
  end
  if is_idle and want[10] then
    local kept = {want[1], want[2], slots, want[4], want[5], want[6], want[7], want[10], {}, false}
    M.stand(want[1], pack(kept))
  else
    R.later('DEL', P .. 'want:' .. want[1])
  end
end

-- Lease from these queues; gives the slots that are left, the seconds that are in the last one, and the queue of
-- what was left behind.
local function offer(want, queues, slots, room_s, full, leases, quiet)
  local ended, left = 0, nil
  local next_row, goes_on = ready(queues, full, quiet)
  for row in next_row do
    if slots <= 0 and room_s <= 0 then
      left = row.queue
      break
    end
    -- In a lane a reap ends what is late: some lanes may not be looked at.
    local is_left = R.lane(row) and is_late(row)
    if not is_left and ends_unstarted(row) then ended = ended + 1 end
    if ended == ENDED_MAX then
      R.freed = true
      break
    end
    local most
    if row.state == 'queued' and not is_left and M.is_bounded(row) then most = room(row, want, full) end
    if row.state == 'queued' and not is_left and most ~= 0 then
      local pace = want[5][row.fn]
      if not row.array then
        local cost = pace and math.max(pace, PACE_MIN_S) or want[6]
        if cost > room_s then
          if slots <= 0 then
            left = row.queue
            break
          end
          slots, room_s = slots - 1, want[6]
        end
        room_s = room_s - cost
        leases[#leases + 1] = lease_call(row, want)
      else
        local taken = lease_ranges(row, want, pace, most and math.min(slots, most) or slots, leases, goes_on)
        slots = slots - taken
        if row.state == 'queued' and taken ~= most then
          left = row.queue
          break
        end
      end
    end
  end
  if ended > 0 then M.drain() end
  return slots, room_s, left
end

-- Whether anything is queued there, in a lane or in none.
local function has_some(queue)
  return call('EXISTS', P .. 'q:' .. queue) == 1 or call('EXISTS', P .. 'ql:' .. queue) == 1
end

-- One queue after the other: first each its turn, then what is left; gives the slots that are left.
local function take_turns(want, full, leases)
  local slots, room_s = want[3], 0
  local function turn(queue, most)
    if slots <= 0 and room_s <= 0 then return end
    local own, unused = math.min(most, slots)
    unused, room_s = offer(want, {queue}, own, room_s, full, leases)
    slots = slots - own + unused
  end
  for i, queue in ipairs(want[2]) do
    if want[9][i] > 0 then turn(queue, want[9][i]) end
  end
  for _, queue in ipairs(want[2]) do turn(queue, slots) end
  return slots
end

function M.claim_anew(want)
  local leases, full, slots = {}, {}
  local quiet = R.is_quiet(want[2])
  if not quiet then M.limits_due() end
  if #want[9] == 0 then
    local _, left
    slots, _, left = offer(want, want[2], want[3], 0, full, leases, quiet)
    if left then R.call_more(left) end
  else
    slots = take_turns(want, full, leases)
    for _, queue in ipairs(want[2]) do
      if slots <= 0 and has_some(queue) then R.call_more(queue) end
    end
  end
  note_idle(want, slots)
  return leases
end

-- `held`: {node, lo, hi, fence}; gives the numbers of those that are lost, and {number, reason} of the cancelled.
function M.renew(held, lease_s)
  local lost, cancelled = {}, {}
  for number, key in ipairs(held) do
    local row = R.node(key[1])
    local part = row and R.held(row, key[2], key[3], key[4])
    if not part or part.state ~= 'running' then
      lost[#lost + 1] = number
    else
      part.till = R.now + lease_s
      R.put_part(row, part)
      M.refresh(row)
      local reason = row.cancelled or part.cancelled
      if reason then cancelled[#cancelled + 1] = {number, reason} end
    end
  end
  return {lost, cancelled}
end
