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
      if TERMINAL[row.state] and not again[row.id] and not feeders[row.id] then
        again[row.id] = true
        open[#open + 1] = row.id
      end
    end
  end
  return again
end

-- Of those again, the ones that wait for each other and what is below them, as a set; nil when there are none.
local function in_rings(list, again)
  local waits, below, free, left = {}, {}, {}, #list
  for _, row in ipairs(list) do
    local before = {}
    waits[row.id] = 0
    for _, edge in ipairs(R.parents(row)) do
      if again[edge[1]] and not before[edge[1]] then
        before[edge[1]] = true
        waits[row.id] = waits[row.id] + 1
        below[edge[1]] = below[edge[1]] or {}
        table.insert(below[edge[1]], row.id)
      end
    end
    if waits[row.id] == 0 then free[#free + 1] = row.id end
  end
  while #free > 0 do
    local done = table.remove(free)
    waits[done], left = nil, left - 1
    for _, child in ipairs(below[done] or {}) do
      waits[child] = waits[child] - 1
      if waits[child] == 0 then free[#free + 1] = child end
    end
  end
  return left > 0 and waits or nil
end

local function waits_for(below, id, other)
  local seen, open = {[id] = true}, {id}
  while #open > 0 and not seen[other] do
    for child in pairs(below[table.remove(open)]) do
      if not seen[child] then
        seen[child] = true
        open[#open + 1] = child
      end
    end
  end
  return seen[other]
end

-- Edges that stay on the old node, by node and predecessor: `edges_kept`.
local function edges_kept(list, again)
  local ring, below, kept = in_rings(list, again), {}, {}
  if not ring then return kept end
  for id in pairs(ring) do
    below[id] = {}
    for _, entry in ipairs(R.children(id, '', ALL)) do
      if ring[entry[2]] then below[id][entry[2]] = true end
    end
  end
  for _, row in ipairs(list) do
    for _, edge in ipairs(ring[row.id] and R.parents(row) or {}) do
      if ring[edge[1]] and edge[4] then below[edge[1]][row.id] = true end
    end
  end
  for i = #list, 1, -1 do
    local row = list[i]
    for _, edge in ipairs(ring[row.id] and R.parents(row) or {}) do
      local stands_for_it = edge[1] == row.final or edge[2] == 'item'
      if ring[edge[1]] and not stands_for_it and waits_for(below, row.id, edge[1]) then
        kept[row.id] = kept[row.id] or {}
        kept[row.id][edge[1]] = true
        below[edge[1]][row.id] = nil
      end
    end
  end
  return kept
end

local function first_source(row)
  local first = row.source and R.node(row.source)
  return (first and first.width) and first.id or row.id
end

-- The node that an edge of a clone leads to.
local function parent_of(row, edge, names, kept)
  local stays = kept[row.id] and kept[row.id][edge[1]]
  return not stays and names[edge[1]] or edge[1]
end

local function clone(run, row, names, kept, new)
  local edges = {}
  for _, edge in ipairs(R.parents(row)) do
    if edge[1] ~= row.final and edge[2] ~= 'item' and edge[2] ~= 'feeds' then
      edges[#edges + 1] = {parent_of(row, edge, names, kept), edge[2], edge[3], edge[4]}
    end
  end
  local twin = M.clone_row(names[row.id], run.id, row, edges)
  twin.source, twin.ranged = first_source(row), row.ranged
  local refusal, ended = N.wait_for(twin, edges, new, run.pieces)
  R.add_node(twin, edges, nil, ended)
  M.know_clone(twin)
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

-- `names`: of clones by their old nodes, of these and of all those that they wait for.
local function add_clones(run, list, names, kept)
  local clones, new = {}, {}
  for _, row in ipairs(list) do new[names[row.id]] = true end
  for i, row in ipairs(list) do clones[i] = clone(run, row, names, kept, new) end
  for i, row in ipairs(list) do
    local twin, finals, only_items = clones[i][1], {}, true
    for _, edge in ipairs(R.parents(row)) do
      if parent_of(row, edge, names, kept) ~= edge[1] then
        if edge[2] == 'item' then finals[edge[3]] = names[edge[1]] else only_items = false end
      end
    end
    if row.array and row.width and row.width > 0 and only_items then keep_successes(row, twin, finals) end
    if row.final and names[row.final] then
      twin.final = names[row.final]
      R.add_edge(twin.id, {twin.final, 'ended', 0, false})
    end
  end
  return clones
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
  if #list == 0 then return given end
  local run = R.add_run(new, old.name, meta)
  local clones = add_clones(run, list, names, edges_kept(list, again))
  for _, one in ipairs(clones) do M.begin(one[1], one[2]) end
  M.drain()
  return given
end

-- What took the place of a node, or of its items, and has ended before all pieces were there.
local function adopt_early(twin)
  local final = twin.final and R.node(twin.final)
  if final and TERMINAL[final.state] then return M.adopt(twin, final) end
  for _, edge in ipairs(R.parents(twin)) do
    local last = edge[2] == 'item' and not TERMINAL[twin.state] and R.node(edge[1])
    if last and TERMINAL[last.state] then M.adopt_item(twin, last, edge[3]) end
  end
end

-- The same for a large run that has ended: who asks says what is cloned, a piece at a time, and nothing begins before
-- the last is there. `a`: {old run, new run, meta, all pieces, pieces left, {node, clone} of this piece, {node, clone}
-- that these wait for, {node, predecessor} that stay}. Gives how many pieces are left, or false when it has begun.
function M.clone_piece(a)
  local old, run, left = R.run(a[1]), R.run(a[2]), a[5]
  if run and not run.pieces then return false end
  if not run then
    if not old or left < a[4] then
      fail('UsageError', 'Run ' .. a[2] .. ' was copied in part, and that part was forgotten: do it again.')
    end
    run = R.add_run(a[2], old.name, a[3], left)
  end
  if run.pieces ~= left then return run.pieces end
  M.await_pieces(run)
  if left == 0 then
    M.begin_whole(run)
    return false
  end
  local list, names, kept = {}, {}, {}
  for _, pair in ipairs(a[7]) do names[pair[1]] = pair[2] end
  for _, pair in ipairs(a[6]) do
    names[pair[1]] = pair[2]
    list[#list + 1] = R.node(pair[1])
  end
  for _, edge in ipairs(a[8]) do
    kept[edge[1]] = kept[edge[1]] or {}
    kept[edge[1]][edge[2]] = true
  end
  run.pieces = left - 1
  for _, one in ipairs(add_clones(run, list, names, kept)) do
    one[1].remaining = one[1].remaining + 1
    R.later('RPUSH', P .. 'hold:' .. run.id, one[1].id)
    if one[2] then M.begin(one[1], one[2]) else adopt_early(one[1]) end
  end
  R.save_run(run)
  M.drain()
  return run.pieces
end
