-- A run again, without what had gone well: `machine.rerunning`.

local LIVE_OR_WELL = {succeeded = true, blocked = true, waiting = true, queued = true, running = true}

local function to_rerun(rows)
  local again, open, below, feeders = {}, {}, {}, {}
  for _, row in ipairs(rows) do
    for _, edge in ipairs(R.parents(row)) do
      if edge[2] == 'feeds' then feeders[edge[1]] = true end
    end
  end
  for _, row in ipairs(rows) do
    if not feeders[row.id] and not LIVE_OR_WELL[row.state] and not N.is_by_choice(row) then
      again[row.id] = true
      open[#open + 1] = row.id
    end
  end
  if #open == 0 then return again end
  for _, row in ipairs(rows) do
    for _, edge in ipairs(R.parents(row)) do
      below[edge[1]] = below[edge[1]] or {}
      table.insert(below[edge[1]], row)
    end
  end
  while #open > 0 do
    for _, row in ipairs(below[table.remove(open)] or {}) do
      if TERMINAL[row.state] and not again[row.id] then
        again[row.id] = true
        open[#open + 1] = row.id
      end
    end
  end
  return again
end

local function first_source(row)
  local first = row.source and R.node(row.source)
  return (first and first.width) and first.id or row.id
end

local function clone(run, row, names, new)
  local edges = {}
  for _, edge in ipairs(R.parents(row)) do
    if edge[1] ~= row.final and edge[2] ~= 'item' and edge[2] ~= 'feeds' then
      edges[#edges + 1] = {names[edge[1]] or edge[1], edge[2], edge[3], edge[4]}
    end
  end
  local twin = M.clone_row(names[row.id], run.id, row, edges)
  twin.source, twin.ranged = first_source(row), row.ranged
  local refusal, ended = N.wait_for(twin, edges, new)
  R.add_node(twin, edges, nil, ended)
  run.open, run.total = run.open + 1, run.total + twin.open
  return {twin, refusal}
end

-- Keep what succeeded; an item that was replaced waits for the clone of what took its place.
local function keep_successes(row, twin, finals)
  local missing = R.copy_ended(row, twin, finals)
  local kept = twin.open
  for _, gap in ipairs(missing) do kept = kept - (gap[2] - gap[1]) end
  if kept == 0 and not next(finals) then return end
  twin.cursor = twin.width or 0
  local indexes = {}
  for index in pairs(finals) do indexes[#indexes + 1] = index end
  table.sort(indexes)
  for _, gap in ipairs(missing) do
    local lo, hi = gap[1], gap[2]
    for _, index in ipairs(indexes) do
      if lo <= index and index < hi then
        if lo < index then M.put(twin, M.new_part(lo, index, 'queued')) end
        M.put(twin, M.new_part(index, index + 1, 'blocked'))
        lo = index + 1
      end
    end
    if lo < hi then M.put(twin, M.new_part(lo, hi, 'queued')) end
  end
  for _, index in ipairs(indexes) do R.add_edge(twin.id, {finals[index], 'item', index, index + 1}) end
  if kept > 0 then
    M.count(twin, 'succeeded', kept)
    M.touch(twin, 0, twin.cursor)
  end
  R.save(twin)
end

local function add_clones(run, list, names)
  R.add_run(run)
  local clones, new = {}, {}
  for _, name in pairs(names) do new[name] = true end
  for i, row in ipairs(list) do clones[i] = clone(run, row, names, new) end
  for i, row in ipairs(list) do
    local twin, finals, only_items = clones[i][1], {}, true
    for _, edge in ipairs(R.parents(row)) do
      if names[edge[1]] then
        if edge[2] == 'item' then finals[edge[3]] = names[edge[1]] else only_items = false end
      end
    end
    if row.array and row.width and row.width > 0 and only_items then keep_successes(row, twin, finals) end
    if row.final and names[row.final] then
      twin.final = names[row.final]
      R.add_edge(twin.id, {twin.final, 'ended', 0, false})
    end
  end
  for _, one in ipairs(clones) do M.begin(one[1], one[2]) end
  M.drain()
end

-- Gives {old, new} for every node without a value. Names are made from `new`, so that a call that is repeated
-- finds what the first one did. `meta` is that of the new run.
function M.rerun(id, new, meta)
  local old = R.run(id)
  if not old then fail('NoSuchRun', "The store knows no run '" .. id .. "'; `taskflow runs` lists what it knows.") end
  local rows, given, list, names = R.nodes_of(id), {}, {}, {}
  if R.run(new) then
    for i, row in ipairs(rows) do
      local name = new .. '.' .. string.format('%d', i - 1)
      if R.node(name) then given[#given + 1] = {row.id, name} end
    end
    return given
  end
  local again = to_rerun(rows)
  for i, row in ipairs(rows) do
    if again[row.id] then
      names[row.id] = new .. '.' .. string.format('%d', i - 1)
      list[#list + 1] = row
      given[#given + 1] = {row.id, names[row.id]}
    end
  end
  if #list > 0 then add_clones({id = new, name = old.name, meta = meta, created_at = R.now}, list, names) end
  return given
end
