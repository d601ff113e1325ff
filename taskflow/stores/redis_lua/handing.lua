-- Work is handed to whom waits for it, in the step that brings it.

local MOST_HANDED, MOST_BYTES_HANDED = 8, 262144

-- What a worker is told that the claim gave which it left standing. Should that be lost, it is found under the same
-- nonce.
function M.handed(want, leases)
  local values = {}
  local message = R.framed({want[8], M.answer_leases(leases, values)}, values)
  return #message <= MOST_BYTES_HANDED and message or ''
end

-- Whether a worker hears what it is told.
function M.hears(worker) return call('PUBSUB', 'NUMSUB', P .. 'work:' .. worker)[2] > 0 end

-- Carry out the claim that a worker left standing, when its turn has come. Gives whether it was given anything.
local function hand_to(worker, raw, queue)
  if not M.hears(worker) then return false end
  local want = unpacked(raw)
  want.called_from = queue
  local leases = M.claim_noted(want)
  if #leases == 0 then
    M.stand(worker, raw)
    return false
  end
  R.later('PUBLISH', P .. 'work:' .. worker, M.handed(want, leases))
  return true
end

-- Give of a queue to one who found nothing to claim, and left its claim standing; gives whether to try the next.
local function hand_to_one(queue, worker)
  if R.asked[worker] then return true end
  local want = call('GET', P .. 'want:' .. worker)
  return want and hand_to(worker, want, queue)
end

-- Before what was queued is written. Whom it goes to first is chance; the others are asked for only if that was not
-- enough.
function M.hand_over()
  if not R.is_called() then return end
  local queues, calls = R.called()
  local left = MOST_HANDED
  for _, queue in ipairs(queues) do
    local own, key = R.owner(queue), P .. 'idle:' .. queue
    local first = own or left > 0 and call('SRANDMEMBER', key)
    local goes_on = first and hand_to_one(queue, first) and not own
    if goes_on then left = left - 1 end
    if goes_on and calls[queue] > 0 and left > 0 then
      for _, worker in ipairs(call('SRANDMEMBER', key, left)) do
        left = left - 1
        if not hand_to_one(queue, worker) or calls[queue] <= 0 then break end
      end
    end
  end
end
