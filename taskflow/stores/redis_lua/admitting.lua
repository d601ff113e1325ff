-- Whether there is room for a plan, and none like it: `machine.admitting`.

-- `plans`: {run, queues, the bound or false}
function M.check_room(plans)
  local pending = {}
  for _, plan in ipairs(plans) do
    for _, queue in ipairs(plan[3] and plan[2] or {}) do
      pending[queue] = pending[queue] or R.pending(queue)
      if pending[queue] > plan[3] and not R.run(plan[1]) then
        fail('QueueFull', table.concat({queue, number(pending[queue]), number(plan[3])}, '\0'))
      end
    end
  end
end

-- Cancel a run of one node that has not started.
local function made_way(holder)
  if holder.open ~= 1 or next(holder.counts) then return false end
  local row = R.nodes_of(holder.id)[1]
  return not row.started_at and M.cancel_node(row, 'replaced by a newer one')
end

-- The run that holds a lock and does not make way. `lock`: {name, seconds, what becomes of a duplicate}
function M.in_the_way(lock)
  local name = R.locked(lock[1])
  local holder = name and R.run(name)
  if not holder or (TERMINAL[holder.state] and not M.keeps_lock(holder)) then return nil end
  if lock[3] == 'replace' and made_way(holder) then return nil end
  return holder.id
end

function M.take(run, lock)
  run.lock = lock[1]
  R.lock(lock[1], run.id, lock[2])
end

function M.skip_all(rows, holder)
  local text = failure('skipped', 'Skip', 'it is unique, and run ' .. holder .. ' is there already', nil, 'TaskSkipped')
  for _, row in ipairs(rows) do
    if not TERMINAL[row.state] then
      M.end_rest(row, 'skipped', text)
      M.end_node(row, 'skipped')
    end
  end
end
