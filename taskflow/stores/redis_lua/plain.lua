-- The short way of what is done most: a plain call goes to a worker that waits for it, and succeeds there.
--
-- A plain call is a run of its own, waits for nothing, and nothing bounds it. Where nothing else is queued or due, what
-- the rules would make of it is known, and is written here without the rows of a step: the same keys, the same events,
-- the same answer, for two thirds of the instructions. Where anything is not as usual, nothing is written, and the
-- rules are asked. Each list below has the order that it has in `rows` or `claiming`.

local begun -- a run as it is kept from the beginning of its only call to its end

local function run_begun()
  begun = begun or pack({1, 1, 'running', NONE, false, false, 0, {0, 0, 1}, false, false})
  return begun
end

-- Whether nothing is queued for these, nothing is paused, due or left to do, and that key is not there.
local function is_calm(queues, key) return none_of({'EXISTS', key, K.todo, K.paused, K['limits:due']}, queues) end

-- ── it begins ─────────────────────────────────────────────────────────────────────────

local function is_plain(plan)
  local t = plan[4][1]
  return t and not plan[4][2] and t[1] == plan[1] and t[5] == 1 and t[6] == 0 and t[23] == 0 and t[24] == 0
    and not (plan[6] or t[11] or t[12] or t[17] or t[18] or t[22] or t[4][1] or t[7][1] or t[25][1])
    and not string.find(plan[3], '"memo"', 1, true)
end

-- Whether who waits for these queues waits for that one, and for what is its own.
local function waits_only(queues, queue)
  for i = 1, #queues do
    if queues[i] ~= queue and not R.owner(queues[i]) then return false end
  end
  return true
end

-- The claim that a worker left standing which waits for that queue, when it would be given a new node and no other.
local function standing(queue, id)
  local worker = not R.owner(queue) and call('SRANDMEMBER', P .. 'idle:' .. queue)
  local raw = worker and call('GET', P .. 'want:' .. worker)
  local want = raw and unpacked(raw)
  if not want or want[9][1] or not waits_only(want[2], queue) then return nil end
  return is_calm(want[2], P .. 'n:' .. id) and want or nil
end

-- Tell a worker what it is given; whether it hears that.
local function tells(id, t, want)
  local told = {id, 0, 1, 1, id, t[2], 0, 1, NONE, t[10], t[19], t[8], t[13], 1, 1, 0, t[9]}
  return call('PUBLISH', P .. 'work:' .. want[1], M.handed(want, {{told, value_of(t[3])}})) > 0
end

local function write_begin(plan, t, want, seq)
  local id, now, till = plan[1], R.now, R.now + want[4]
  R.keep_blobs(id, plan[5])
  local fields = {
    'HSET', P .. 'n:' .. id,
    'd', pack({
      'running', 1, 1, 1, 1, 0, 0, false, 1, 0, false, false, till, false, false, false, now, false, 0,
      {'running', 1, want[1], till, 0, 1, now, false, false}, NONE, 0,
    }),
    's', pack({
      id, t[2], 0, t[8], t[9], t[10], t[13], now, false, seq + 2, t[14], t[15], t[16], false, false, t[19], false, 0, 0,
    }),
    'a', value_of(t[3]),
    'rd', run_begun(),
    'rs', pack({plan[2], plan[3], now, seq + 1}),
  }
  if plan[5][1] then add(fields, 'rb', pack(plan[5])) end
  call(unpack(fields))
  call('ZADD', K.alarm, number(till), id)
  call('ZADD', K.runs, whole(seq + 1), id)
  R.pend(t[8], 1)
  R.tally(t[8], 'running', 1)
end

local function write_handed(id, t, want)
  local worker = want[1]
  if want[3] == 1 then call('SREM', P .. 'idle:' .. t[8], worker) end
  call('DEL', P .. 'want:' .. worker)
  call('SET', P .. 'c:' .. worker, pack({want[8], {{id, 0, 1, 1}}}), 'EX', M.CLAIM_KEPT_S)
end

-- Gives what `submit` answers, or nil.
function M.submit_plain(plans)
  local plan = plans[1]
  if plans[2] or not plan or not is_plain(plan) then return nil end
  local id, t = plan[1], plan[4][1]
  local want = standing(t[8], id)
  if not want or plan[7] and R.pending(t[8]) > plan[7] or not tells(id, t, want) then return nil end
  write_begin(plan, t, want, call('INCRBY', K.seq, 2) - 2)
  write_handed(id, t, want)
  tell_events({{'', id, 0, 0, 'queued'}, {'', id, 0, 1, 'running'}})
  return NONE
end

-- ── it ends ───────────────────────────────────────────────────────────────────────────

-- What is settled, when that is nothing but one success, and its worker waits for more.
local function success(a)
  local done, want = a[1], a[2]
  local first = done[1]
  local outcome = first and first[2][1]
  if not want or want[9][1] or done[2] or not outcome or first[2][2] or first[3] or first[4][1] then return nil end
  return outcome[3] == 'succeeded' and not outcome[9] and outcome
end

-- Whether there is nothing of a node but a call that is held by that lease.
local function is_held(d, s, key)
  local part = d[20]
  return part and part[1] == 'running' and part[2] == key[4] and key[2] == 0 and key[3] == 1 and s[1] == key[1]
    and s[19] == 0 and not (d[16] or s[14] or s[15] or s[17])
end

local function write_end(id, d, segment)
  d[1], d[4], d[5], d[11], d[12], d[13] = 'succeeded', 0, 0, false, false, false
  d[18], d[20], d[21] = R.now, false, {succeeded = 1}
  local rd = {1, 0, 'succeeded', d[21], R.now, false, 0, {0, 0, 0}, false, false}
  local fields = {'HSET', P .. 'n:' .. id, 'd', pack(d), 'rd', pack(rd), 'g', story_of(segment)}
  if segment.value then add(fields, 'v', segment.value) end
  call(unpack(fields))
  call('ZREM', K.alarm, id)
  call('ZADD', K.ended, R.now_text, id)
  call('SADD', K.unaged, id)
end

-- The worker waits for more. Who was idle all the time is called to mind by its next look, long before it is forgotten.
local function write_waits(want)
  local worker, queues = want[1], want[2]
  for i = 1, #queues do
    local key = P .. 'idle:' .. queues[i]
    if not R.owner(queues[i]) and call('SADD', key, worker) == 1 then call('EXPIRE', key, M.IDLE_KEPT_S) end
  end
  if want[10] then
    want[8], want[10] = want[10], false
    call('SET', P .. 'want:' .. worker, pack(want), 'EX', M.IDLE_KEPT_S)
  else
    call('DEL', P .. 'want:' .. worker)
  end
end

-- Whether a worker was given something under the name of this claim already, and may not have heard of it.
local function was_given(want)
  local raw = call('GET', P .. 'c:' .. want[1])
  return raw and string.find(raw, want[8], 1, true)
end

-- Gives what `settle` answers, or nil.
function M.settle_plain(a)
  local outcome = success(a)
  if not outcome then return nil end
  local key, want = a[1][1][1], a[2]
  local id = key[1]
  if not is_calm(want[2], P .. 'ch:' .. id) or was_given(want) then return nil end
  local raw = call('HMGET', P .. 'n:' .. id, 'd', 's', 'rd')
  if raw[3] ~= run_begun() then return nil end
  local d, s = unpacked(raw[1]), unpacked(raw[2])
  if not is_held(d, s, key) then return nil end
  local part, started_at = d[20], outcome[7]
  local segment = {
    lo = 0, hi = 1, state = 'succeeded', fence = key[4], single = 0, attempts = part[5], deliveries = part[6],
    worker = part[3], started_at = started_at and started_at ~= 0 and started_at or part[7], took_s = outcome[8],
    error = outcome[5], value = value_of(outcome[4]),
  }
  write_end(id, d, segment)
  R.pend(s[4], -1)
  R.tally(s[4], 'running', -1)
  write_waits(want)
  tell_events({{'', id, 0, 1, 'succeeded'}}, function(blobs)
    return #(segment.value or '') <= MOST_BYTES_SAID and {said_of(id, 0, segment, blobs)} or NONE
  end)
  return {NONE, NONE, false}
end
