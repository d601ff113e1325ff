-- Limits of the whole store, by name: `machine.limiting`.
--
-- A limit of a node: {name, most, per_s, burst, failures, window_s, reset_s, probes, holds, alone}

local MANY, DUST, UNUSED_KEPT_S, OPEN_KEPT_S = 2 ^ 52, 1e-6, 60, 86400
local ANSWERED = {succeeded = true, skipped = true, replaced = true}
local FAILED = {failed = true, retry = true}

local function kept_of(limit, worker) return R.limit(limit[10] and limit[1] .. '@' .. worker or limit[1]) end

local function tokens_of(limit, kept)
  if not kept.at then return limit[4] end
  return math.min(limit[4], kept.tokens + math.max(0, R.now - kept.at) * limit[3])
end

local function free_of(limit, kept)
  if limit[2] then return limit[2] - kept.held end
  if limit[3] then return math.floor(tokens_of(limit, kept) + DUST) end
  if not kept.opened_at then return MANY end
  return kept.till <= R.now and limit[8] or kept.probes
end

local function leave_word(limit, kept)
  local is_first = not kept.wake_at
  kept.refused = true
  if limit[3] then
    kept.wake_at = R.now + (1 - tokens_of(limit, kept)) / limit[3]
  elseif limit[5] then
    kept.wake_at = kept.till
  end
  if is_first and kept.wake_at then R.freed = true end -- somebody looks when it is due
  R.save_limit(kept)
end

local function call_back(kept)
  kept.refused, kept.wake_at = false, nil
  R.reopen(kept.name)
  R.freed = true
end

local function save(limit, kept)
  kept.idle_at = nil
  if limit[3] then
    kept.idle_at = R.now + (limit[4] - kept.tokens) / limit[3] + UNUSED_KEPT_S
  elseif limit[5] and kept.opened_at then
    kept.idle_at = kept.till + OPEN_KEPT_S
  elseif limit[5] then
    kept.idle_at = R.now + limit[6] + UNUSED_KEPT_S
  elseif kept.held == 0 then
    kept.idle_at = R.now + UNUSED_KEPT_S
  end
  R.save_limit(kept)
end

-- Whether there is a breaker for whose sake nodes have to be looked at, though there may be no room.
local function any_fails_at_once(row)
  for _, limit in ipairs(row.limits) do
    if limit[5] and not limit[9] then return true end
  end
  return false
end

-- How many more items of a node its limits let start now.
function M.limits_room(row, worker)
  local least = MANY
  for _, limit in ipairs(row.limits) do
    local kept = kept_of(limit, worker)
    local free = free_of(limit, kept)
    if free <= 0 then
      leave_word(limit, kept)
      if not limit[10] and not any_fails_at_once(row) then R.shut(row, limit[1]) end
    end
    least = math.min(least, math.max(0, free))
  end
  return least
end

-- The open breaker for whose sake a node's new items fail at once.
function M.opened(row)
  for _, limit in ipairs(row.limits or {}) do
    if limit[5] and not limit[9] then
      local kept = R.limit(limit[1])
      if kept.opened_at and free_of(limit, kept) <= 0 then return kept end
    end
  end
  return nil
end

local function start(limit, kept, items)
  if limit[3] then
    kept.tokens, kept.at = tokens_of(limit, kept) - items, R.now
  elseif kept.opened_at then
    if kept.till <= R.now then kept.probes, kept.till = limit[8], R.now + limit[7] end
    kept.probes = kept.probes - items
  end
  save(limit, kept)
end

-- Items of a node were handed out.
function M.start(row, worker, items)
  for _, limit in ipairs(row.limits or {}) do start(limit, kept_of(limit, worker), items) end
end

-- So many items more, or fewer, of a node run.
function M.tally_limits(row, items)
  for _, limit in ipairs(row.limits or {}) do
    if limit[2] then
      local kept = R.limit(limit[1])
      kept.held = kept.held + items
      if items < 0 and kept.refused then call_back(kept) end
      save(limit, kept)
    end
  end
end

local function open(limit, kept)
  kept.failed, kept.opened_at, kept.probes = {}, R.now, 0
  kept.till = R.now + limit[7]
end

local function close(limit, kept)
  kept.opened_at, kept.failed = nil, {}
  if kept.refused then call_back(kept) end
  save(limit, kept)
end

local function failed(limit, kept, started_at)
  if kept.opened_at then
    if started_at <= kept.opened_at then return end
    open(limit, kept)
  else
    local recent = {}
    for _, at in ipairs(kept.failed) do
      if at > R.now - limit[6] then recent[#recent + 1] = at end
    end
    recent[#recent + 1] = R.now
    kept.failed = recent
    if #recent >= limit[5] then open(limit, kept) end
  end
  save(limit, kept)
end

local function answered(limit, kept, started_at)
  if kept.opened_at and started_at > kept.opened_at then close(limit, kept) end
end

-- Whether a breaker lets one through that is no item; it counts as a start.
function M.enters(limit)
  local kept = R.limit(limit[1])
  if free_of(limit, kept) <= 0 then return false end
  start(limit, kept, 1)
  return true
end

-- Tell a breaker how one fared that is no item and started then, or what to be; whether that changed it.
function M.breaks(limit, word, started_at)
  local kept = R.limit(limit[1])
  local opened_at = kept.opened_at
  if word == 'failed' then
    failed(limit, kept, started_at)
  elseif word == 'open' then
    open(limit, kept)
    save(limit, kept)
  elseif word == 'close' then
    close(limit, kept)
  else
    answered(limit, kept, started_at)
  end
  return kept.opened_at ~= opened_at
end

-- An attempt has ended: its breakers learn how the service is.
function M.heard(row, part, outcome)
  for _, limit in ipairs(row.limits or {}) do
    if limit[5] then
      local kept, kind = R.limit(limit[1]), outcome[3]
      if ANSWERED[kind] or (FAILED[kind] and outcome[10]) then
        answered(limit, kept, part.started_at or 0)
      elseif FAILED[kind] then
        failed(limit, kept, part.started_at or 0)
      end
    end
  end
end

-- Wake who was refused, and let go of what is as good as new.
function M.limits_due()
  for _, kept in ipairs(R.limits_due()) do
    if kept.wake_at and kept.wake_at <= R.now then call_back(kept) end
    if kept.idle_at and kept.idle_at <= R.now then kept.gone = true end
    R.save_limit(kept)
  end
end
