-- Places under a name, in the order in which they were asked for: `machine.sharing`.
--
-- Of a row of a limit: `fence`; `holders`, {name, fence, till} each; `line`, {name, till} each.

local HOLDS_KEPT_S, FENCES_PER_S = 60, 1e6

local function at(list, name)
  for i, one in ipairs(list) do
    if one[1] == name then return i end
  end
  return nil
end

-- Those of a list whose time, at that place, is not over.
local function in_time(list, place)
  local found = {}
  for _, one in ipairs(list) do
    if one[place] > R.now then found[#found + 1] = one end
  end
  return found
end

local function forget_late(kept) kept.holders, kept.line = in_time(kept.holders, 3), in_time(kept.line, 2) end

local function next_fence(kept)
  kept.fence = math.max(kept.fence + 1, math.floor(R.now * FENCES_PER_S))
  return kept.fence
end

local function admit_all(kept, most, ttl_s)
  if most <= 0 or #kept.line < most then return end
  local fence = next_fence(kept)
  for _ = 1, most do
    local waiter = table.remove(kept.line, 1)
    kept.holders[#kept.holders + 1] = {waiter[1], fence, R.now + ttl_s}
  end
end

local function rest_s(kept, holder)
  local first
  for _, one in ipairs(kept.holders) do first = math.min(first or one[3], one[3]) end
  for _, one in ipairs(kept.line) do
    if one[1] ~= holder then first = math.min(first or one[2], one[2]) end
  end
  return first and first - R.now or 0
end

local function save(kept)
  local last = R.now
  for _, one in ipairs(kept.holders) do last = math.max(last, one[3]) end
  for _, one in ipairs(kept.line) do last = math.max(last, one[2]) end
  kept.refused, kept.idle_at = #kept.line > 0, last + HOLDS_KEPT_S
  R.save_limit(kept)
end

-- Gives its fence, 0 where there is no place; and after how long there may be one though nobody lets go.
function M.hold(name, holder, most, ttl_s, wait_s, together)
  local kept = R.limit(name)
  forget_late(kept)
  local place = at(kept.holders, holder)
  if place then
    kept.holders[place][3] = R.now + ttl_s
  else
    local turn = at(kept.line, holder) or #kept.line + 1
    kept.line[turn] = {holder, R.now + wait_s}
    if together then
      admit_all(kept, most, ttl_s)
    elseif turn <= most - #kept.holders then
      table.remove(kept.line, turn)
      kept.holders[#kept.holders + 1] = {holder, next_fence(kept), R.now + ttl_s}
    end
  end
  local turn = wait_s <= 0 and at(kept.line, holder)
  if turn then table.remove(kept.line, turn) end
  save(kept)
  place = at(kept.holders, holder)
  if not place then return {0, rest_s(kept, holder)} end
  if together then R.later('PUBLISH', K.holds, '') end
  return {kept.holders[place][2], 0}
end

-- Whether it had a place.
function M.let_go(name, holder)
  local kept = R.limit(name)
  forget_late(kept)
  local place, turn = at(kept.holders, holder), at(kept.line, holder)
  if place then table.remove(kept.holders, place) end
  if turn then table.remove(kept.line, turn) end
  save(kept)
  if #kept.line > 0 then R.later('PUBLISH', K.holds, '') end
  return place ~= nil
end

function M.tell_breaker(limit, word, took_s)
  if word == 'enter' then return M.enters(limit) end
  return M.breaks(limit, word, R.now - took_s)
end
