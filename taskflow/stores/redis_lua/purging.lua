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

-- Gives how many items were cancelled, and how many of the nodes are done with.
function M.purge(queue, ids, limit)
  local items, done = 0, 0
  for _, id in ipairs(ids) do
    if limit <= 0 then break end
    local row, parts = R.node(id), {}
    if row and row.queue == queue and not TERMINAL[row.state] and row.state ~= 'blocked' then
      parts = R.unstarted(row, limit)
      items = items + purge_node(row, parts, #parts < limit)
    end
    if #parts < limit then done = done + 1 end
    limit = limit - #parts - 1
  end
  M.drain()
  return {items, done}
end
