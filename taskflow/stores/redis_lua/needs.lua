-- What a node needs of those before it: `machine.needs`. An edge is {parent, mode, lo, hi or false}.

N.NEED_SUCCESS = {all = true, join = true, taken = true, after = true}
N.GIVES_NOTHING = {after = true, ended = true, item = true, feeds = true}

function N.unknown(name, parent)
  fail('UnknownNode', 'Node ' .. name .. ' depends on ' .. parent .. ', which this store does not know.'
    .. ' Submit both to the same store, and within the retention of the first.')
end

function N.has_ended(parent, edge)
  if TERMINAL[parent.state] or not edge[4] then return TERMINAL[parent.state] end
  return R.ended_in(parent, edge[3], edge[4]) == edge[4] - edge[3]
end

function N.is_by_choice(row)
  if row.state == 'skipped' then return not row.root end
  return FAILURES[row.state] and row.on_failure == 'skip' or false
end

local function was_cancelled(row)
  local culprit = row.root and R.node(row.root)
  return row.state == 'cancelled' or (culprit and culprit.state == 'cancelled')
end

local function is_broken(row)
  return row.state ~= 'succeeded' and not N.is_by_choice(row) and not was_cancelled(row)
end

local function has_failed(row)
  return FAILURES[row.state] or (row.final and is_broken(row))
end

-- {parent, by_choice} when the edge refuses, else nil.
function N.refusal_of(parent, edge)
  local mode = edge[2]
  if edge[4] and parent.state ~= 'skipped' then
    if not N.NEED_SUCCESS[mode] then return nil end
    local _, bad = R.ended_in(parent, edge[3], edge[4])
    return bad > 0 and {parent, parent.on_failure == 'skip'} or nil
  end
  if mode == 'failed' or mode == 'broken' then
    local asked = mode == 'failed' and has_failed or is_broken
    return not asked(parent) and {parent, true} or nil
  end
  local by_choice = N.is_by_choice(parent)
  if parent.state == 'succeeded' or not N.NEED_SUCCESS[mode] or (by_choice and mode == 'taken') then return nil end
  return {parent, by_choice}
end

local function wait(row, edge)
  if edge[2] == 'feeds' then row.growing = true else row.remaining = row.remaining + 1 end
end

-- Count the predecessors that have not ended; gives what makes the row impossible, and those that have ended.
-- `others_come`: what is not there yet comes with a later piece of the plan. `asleep`: the run in which nothing has
-- ended as yet, whatever items were given their results.
function N.wait_for(row, edges, new, others_come, asleep)
  local refusal, ended = nil, {}
  for i = 1, #edges do
    local edge = edges[i]
    local parent = not new[edge[1]] and R.node(edge[1])
    if new[edge[1]] or (others_come and not parent) then
      wait(row, edge)
    elseif not parent then
      N.unknown(named(row), edge[1])
    elseif parent.run == asleep or not N.has_ended(parent, edge) then
      wait(row, edge)
    else
      ended[parent.id] = true
      local found = N.refusal_of(parent, edge)
      if found and (not refusal or refusal[2]) then refusal = found end
    end
  end
  return refusal, ended
end
