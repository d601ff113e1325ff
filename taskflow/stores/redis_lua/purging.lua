-- A queue is emptied: `machine.purging`. The client names the nodes: those of its lanes, and those with an alarm.

local function purge_node(row, parts, whole)
  local text, items = failure('cancelled', 'TaskCancelled', 'its queue was purged'), 0
  for _, part in ipairs(parts) do
    M.forget(row, part)
    M.end_range(row, part, 'cancelled', text)
    items = items + part.hi - part.lo
  end
  if whole and R.fresh(row) > 0 and row.state ~= 'blocked' then
    items = items + R.fresh(row)
    M.end_fresh(row, 'cancelled', text)
  end
  if items > 0 and not TERMINAL[row.state] then M.refresh(row) end
  return items
end

local function rows_in(queue, ids)
  local rows = {}
  for _, id in ipairs(ids) do
    local row = R.node(id)
    if row and row.queue == queue and not TERMINAL[row.state] and row.state ~= 'blocked' then rows[#rows + 1] = row end
  end
  table.sort(rows, function(a, b) return a.seq < b.seq end)
  return rows
end

-- Gives how many items were cancelled, and which of the nodes are left for the next step.
function M.purge(queue, ids, limit)
  local items, left = 0, {}
  for _, row in ipairs(rows_in(queue, ids)) do
    local parts = limit > 0 and R.unstarted(row, limit) or {}
    if limit > 0 then items = items + purge_node(row, parts, #parts < limit) end
    if #parts >= limit then left[#left + 1] = row.id end
    limit = limit - #parts - 1
  end
  M.drain()
  return {items, left}
end
