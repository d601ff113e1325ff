-- What an end sets free: `machine.releasing`.

local RELEASES_PER_STEP = 2000

function M.adopt(row, final)
  row.root = final.root
  M.count(row, final.state, row.open)
  R.emit(row.run, row.id, 0, row.width or 0, final.state)
  M.end_node(row, final.state)
end

local function last_of(final)
  while final.final do
    local found = R.node(final.final)
    if not found then break end
    final = found
  end
  return final
end

function M.adopt_item(row, final, index)
  local part
  for _, one in ipairs(R.list_parts(row)) do
    if one.lo == index and one.state == 'blocked' then part = one end
  end
  if not part then return end
  local state = final.state
  if state == 'skipped' and final.root then state = 'failed' end
  M.forget(row, part)
  local last = last_of(final)
  if last.state ~= final.state then
    M.end_range(row, part, state, failure('cancelled', 'TaskCancelled', final.cancelled or 'cancelled'))
  elseif last.array then
    local text = 'item ' .. string.format('%.0f', index) .. ' was replaced by a map, ' .. named(last)
      .. ': gather its results in a call'
    M.end_range(row, part, state == 'succeeded' and 'failed' or state, failure('failed', 'GraphError', text))
  else
    R.end_as(row, part, last, state)
    R.emit(row.run, row.id, index, index + 1, state)
    M.count(row, state, 1)
    M.touch(row, index, index + 1)
  end
  M.refresh(row)
end

local function release(parent, child, edge)
  local row = R.node(child)
  if not row or TERMINAL[row.state] then return end
  if edge[2] == 'item' then
    M.adopt_item(row, parent, edge[3])
  elseif edge[2] == 'feeds' then
    if row.growing then -- else it was cancelled, and closed by that
      if parent.state ~= 'succeeded' and not row.root and row.open == 0 then row.root = parent.root or parent.id end
      M.close(row, parent.state)
    end
  elseif row.final == parent.id then
    M.adopt(row, parent)
  else
    local refusal = N.refusal_of(parent, edge)
    if not refusal then
      row.remaining = row.remaining - 1
      R.save(row)
    end
    M.begin(row, refusal)
  end
end

local function release_ranges(row, lo, hi)
  for _, entry in ipairs(R.ranged(row, lo, hi)) do
    local child, edge = entry[2], entry[3]
    if R.ended_in(row, edge[3], edge[4]) == edge[4] - edge[3] then
      R.release(row, child, edge)
      release(row, child, edge)
    end
  end
end

-- Gives how many more may be released in this step.
local function release_children(id, after, limit)
  local children = R.children(id, after, limit)
  local parent = R.node(id)
  for i = 1, parent and #children or 0 do release(parent, children[i][2], children[i][3]) end
  if limit <= #children then R.push(id, children[#children][2]) end
  return limit - #children
end

M.GIVEN = '\3' -- before a node of which some items were given their results: who waits for just these is told at last

-- What was held back until all pieces of a plan are there.
local function begin_one(name)
  if string.sub(name, 1, 1) == M.GIVEN then
    local given = R.node(string.sub(name, 2))
    for _, ended in ipairs(given and R.ended_spans(given) or {}) do M.touch(given, ended[1], ended[2]) end
    return
  end
  local row = R.node(name)
  if row and not TERMINAL[row.state] then
    row.remaining = row.remaining - 1
    R.save(row)
    M.begin(row, nil)
  end
end

-- Gives how many nodes were looked at.
local function begin_held(id, limit)
  local run = string.sub(id, 2)
  local at = R.begun[run] or 0
  local held = call('LRANGE', P .. 'hold:' .. run, at, at + limit - 1)
  R.begun[run] = at + #held
  for _, name in ipairs(held) do begin_one(name) end
  R.later('LTRIM', P .. 'hold:' .. run, #held, -1)
  if #held >= limit then R.push(id, '') end
  return #held
end

-- Release successors of what has ended; true when some are left for the next step: also when a run is to be stopped,
-- which goes before. With `later`, all but what waits for some items is left.
function M.drain(later)
  local limit = RELEASES_PER_STEP
  while true do
    while #R.ranges_ended > 0 do
      local last = table.remove(R.ranges_ended)
      release_ranges(last[1], last[2], last[3])
    end
    if later or R.is_urgent() then return true end
    local id, after = R.pop()
    if not id then return false end
    local kind = string.sub(id, 1, 1)
    if kind == '\1' then
      limit = limit - begin_held(id, limit)
    elseif kind == M.STOP then
      local row = R.node(string.sub(id, 2))
      if row then limit = limit - M.stop(row, tonumber(after)) end
    else
      limit = release_children(id, after, limit)
    end
    if limit <= 0 then return true end
  end
end
