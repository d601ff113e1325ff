-- Nobody wants it any more: `machine.cancelling`.

local function cut_out(row, part, index)
  if part.hi - part.lo == 1 then return part end
  if part.state == 'running' then return nil end
  M.forget(row, part)
  if part.lo < index then M.put(row, M.piece(part, part.lo, index)) end
  if index + 1 < part.hi then M.put(row, M.piece(part, index + 1, part.hi)) end
  local alone = M.piece(part, index, index + 1)
  M.put(row, alone)
  return alone
end

-- A live part of its own for one item; nil when it has ended, or runs within a range.
local function isolate(row, index)
  if row.width and row.cursor <= index and index < row.width then
    local till = row.due_at and row.due_at > R.now and row.due_at or nil
    local state = till and 'waiting' or 'queued'
    if index > row.cursor then M.put(row, M.new_part(row.cursor, index, state, till)) end
    row.cursor = index + 1
    local part = M.new_part(index, index + 1, state, till)
    M.put(row, part)
    return part
  end
  for _, part in ipairs(R.list_parts(row)) do
    if part.lo <= index and index < part.hi then return cut_out(row, part, index) end
  end
  return nil
end

local function cancel_item(row, index, reason)
  if not row.array then return M.cancel_node(row, reason) end
  local part = isolate(row, index)
  if not part then return false end
  if part.state == 'running' then
    part.cancelled = reason
    R.put_part(row, part)
    return true
  end
  M.forget(row, part)
  M.end_range(row, part, 'cancelled', failure('cancelled', 'TaskCancelled', reason))
  M.refresh(row)
  return true
end

local NODES_PER_STEP = 1000

-- Of a run, as many nodes as one step may take, from the one numbered `at` on; what their ends set free comes after the
-- last of them, which it might be. Gives whether anything changed, and
-- where to go on, or false.
function M.cancel(target, index, reason, at)
  local row, run, ended = R.node(target), R.run(target), false
  if not row and not run then
    fail('NoSuchRun', "The store knows no run or node '" .. target .. "'; `taskflow runs` lists what it knows.")
  end
  local more = false
  if index then
    ended = row ~= nil and not TERMINAL[row.state] and cancel_item(row, index, reason)
  else
    local list = run and R.nodes_of(target, at, at + NODES_PER_STEP - 1) or {row}
    more = run and #list == NODES_PER_STEP and at + NODES_PER_STEP
    for _, node in ipairs(list) do
      if not TERMINAL[node.state] then ended = M.cancel_node(node, reason) or ended end
    end
  end
  M.drain(more)
  return {ended, more or false}
end
