-- One quota for all members (processes) that share it. Two operations on one bucket:
--
--   reserve  grant up to `want` dated slots: a first time, an interval, a number. An unused slot lapses.
--   report   take in what responses showed: the limit, what is left, a refusal.
--
-- KEYS[1] the bucket's hash, KEYS[2] the hash of the members. Times are microseconds of this server's clock; a member
-- sends and receives durations only. Slots are `interval` apart, so that never more than `limit` of them lie in any
-- `per` microseconds, also when each is used up to `late` microseconds after its time.

local MEMBER_TTL = 15e6  -- a member that is silent for longer is gone
local LEASE = 0.5e6      -- a member may send without slots for so long
local LEARN_BLIND = 5e6  -- others wait so long for a member that learns from a server without quota headers
local HUNGRY = 1e6       -- a member counts as waiting for so long after it was to ask again
local LONGEST_PAUSE = 3600e6
local RETURN = 0.5e6     -- all members notice within this time that we can be asked again
local HORIZON = 0.1e6    -- slots that were granted before the data were lost lie no further ahead

local op, member, salt = ARGV[1], ARGV[2], ARGV[3]
local sent, share = tonumber(ARGV[4]), tonumber(ARGV[5])
local told_limit, told_per, told_source = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local returned = ARGV[9] == '1'  -- this member sent without slots while we could not be asked

local clock = redis.call('TIME')
local now = clock[1] * 1e6 + clock[2]

-- What is stored

local function read(key)
    local kind = redis.call('TYPE', key).ok
    local fields, flat = {}, kind == 'hash' and redis.call('HGETALL', key) or {}
    for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
    if kind ~= 'none' and fields.format ~= '1' then return nil end
    return fields, kind == 'none'
end

local bucket, new = read(KEYS[1])
local meta, first = read(KEYS[2])
if not bucket or not meta then return redis.error_reply('AELYSTKEY not a hash of this library') end
if not first and meta.salt ~= salt then return redis.error_reply('AELYSTSALT another salt') end

-- Windows that APIs use: a measured one is the nearest of these, if it is near.
local USUAL = {0.05e6, 0.1e6, 0.2e6, 0.25e6, 0.5e6, 1e6, 2e6, 3e6, 5e6, 10e6, 15e6, 20e6, 30e6, 60e6}
local function usual(length)
    for _, one in ipairs(USUAL) do
        if math.abs(length - one) < 0.1 * one then return one end
    end
    return length
end

local function longer(length)
    for _, one in ipairs(USUAL) do
        if one > 1.2 * length then return one end
    end
    return 2 * length
end

local function get(name) return tonumber(bucket[name]) or 0 end

local writes = {'format', '1'}
local function put(name, value)
    writes[#writes + 1] = name
    writes[#writes + 1] = type(value) == 'number' and string.format('%.17g', value) or value
end

-- Members

local members = 1
for name, seen in pairs(meta) do
    if name:sub(1, 2) == 'm:' and name ~= 'm:' .. member then
        if math.abs(now - tonumber(seen)) > MEMBER_TTL then redis.call('HDEL', KEYS[2], name) else members = members + 1 end
    end
end
local born, several_at = tonumber(meta.born) or now, tonumber(meta.several_at) or now
if members > 1 then several_at = now end
redis.call('HSET', KEYS[2], 'format', '1', 'salt', salt, 'm:' .. member, string.format('%.0f', now),
           'born', string.format('%.0f', born), 'several_at', string.format('%.0f', several_at))
redis.call('EXPIRE', KEYS[2], 86400)

-- The quota: told (3) before the server's headers (2) before learned (1). Only the member that learns may change what
-- was learned.

local limit, per, source = get('limit'), get('per'), get('source')
local settled_at = get('settled_at')  -- one member learns until then, after every change of what it has learned
local function settle(from)
    settled_at = from + math.max(2e6, math.min(2 * per, per + 5e6))
    put('settled_at', settled_at)
end
if told_per > 0 and (told_source > source or (told_source == source and (source > 1 or bucket.learner == member))) then
    if told_source == 3 or limit == 0 then limit = told_limit end
    local changed = math.abs(told_per - per) > 0.02 * per
    per, source = told_per, told_source
    if source == 1 and changed and bucket.learner == member then settle(now) end
end
if source < 3 and limit == 0 then limit = told_limit end
if op == 'report' and source < 3 and tonumber(ARGV[10]) > 0 then limit = tonumber(ARGV[10]) end
put('limit', limit)
put('per', per)
put('source', source)
local known = limit > 0 and per > 0
local ready, slow_until = get('ready'), get('slow_until')  -- the next free slot; half the rate until then
if known and (new and now < born + per + HORIZON or returned) then
    -- The data are lost, or members went on without us: nobody knows what was sent in the last window. (A bucket that
    -- is new while the members are old is new indeed.)
    ready, slow_until = math.max(ready, now + (returned and RETURN or HORIZON)), now + per
    put('ready', ready)
    put('slow_until', slow_until)
end

-- Requests that members sent: in this window and in the one before

local index = per > 0 and math.floor(now / per) or 0
local current, before = get('current'), get('before')
if index ~= get('index') then
    local next_one = index == get('index') + 1 or get('index') == 0
    current, before = 0, next_one and current or 0
end
current = current + sent
put('index', index)
put('current', current)
put('before', before)
put('in_window', get('in_window') + sent)

local function reply(mode, granted, wait, every, late, paused)
    redis.call('HSET', KEYS[1], unpack(writes))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(3600e3, 4 * per / 1e3)))
    return {mode, granted, math.ceil(wait), math.ceil(every), math.floor(late), math.ceil(paused), now, limit,
            math.floor(per), source, members}
end

local alone = (bucket.learner or '') ~= ''  -- a member sends without slots
local blocked = math.min(get('blocked'), now + LONGEST_PAUSE)
local trim = bucket.trim and get('trim') or 1

if op == 'report' then
    local of, remaining, pause = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
    if pause >= 0 then
        blocked = math.max(blocked, now + math.min(pause, LONGEST_PAUSE))
        put('blocked', blocked)
        if not alone and now >= get('cut') + math.max(per, pause) then
            trim = math.max(0.1, 0.9 * trim)
            if source == 1 and trim < 0.75 then  -- what was learned is too short
                per, trim = longer(per), 1
                put('per', per)
                put('index', 0)
            end
        end
        put('cut', now)
        if known and source == 1 and bucket.learner == member then settle(blocked) end
    end
    if known and remaining >= 0 and of > 0 then
        -- Outsiders sent what the server counts beyond the members' requests. Some of those are not reported yet.
        local ours = current + before * (1 - (now / per - index))
        local slip = 1 + of * (0.05 + math.min(1, 0.15e6 / per))
        local outside = get('outside') * 0.5 ^ ((now - get('outside_at')) / per)
        put('outside', math.max(0, outside, of - remaining - ours - slip))
        put('outside_at', now)
        put('least', math.min(bucket.least and get('least') or of, remaining))
    end
    if known and now - get('began') >= math.max(per, 1e6) then
        local slack = not bucket.least or get('least') >= math.max(1, 0.03 * limit)
        if slack and get('cut') < get('began') and pause < 0 then trim = math.min(1, 1.02 * trim) end
        if source == 1 and bucket.least and not alone then
            -- Slots are evenly spaced, so the most that the server counts shows how long it counts. (A token bucket
            -- counts next to nothing, or less from window to window.) Believed if five windows agree.
            local used, ours = limit - get('least'), (get('in_window') + sent) * per / (now - get('began'))
            local ratio, agree = used / ours, 0
            if get('hungry_until') > get('began') and used >= math.max(3, 0.1 * limit) and ratio < 0.88 then
                agree = math.abs(ratio - get('ratio')) < 0.08 and get('agree') + 1 or 1
            end
            if agree == 1 then put('ratio', ratio) end
            if agree == 5 then
                per, agree, trim = usual(per * ratio), 0, 1
                put('per', per)
                put('index', 0)
            end
            put('agree', agree)
        end
        put('in_window', 0)
        put('began', now)
        put('least', remaining >= 0 and remaining or limit)
    end
    put('trim', trim)
    return reply('reported', 0, 0, 0, 0, math.max(0, blocked - now))
end

local want, lead, horizon = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
if want == 0 then return reply('slots', 0, 0, 0, 0, math.max(0, blocked - now)) end

-- Without slots: one member at a time, while the window is not known; and a member that has long been the only one

local learner_until = get('learner_until')
if learner_until > now + LEASE then learner_until = now end  -- the clock was set back
local learns = not known or source == 1 and now < settled_at and settled_at < now + 3600e6
if learns or now - several_at > math.max(MEMBER_TTL, per) then
    if not bucket.since then put('since', now) end
    if bucket.learner == member or learner_until <= now then
        put('learner', member)
        put('ending', '0')
        put('learner_until', now + LEASE)
        return reply('alone', 0, LEASE, 0, 0, math.max(0, blocked - now))
    elseif limit == 0 and now - get('since') > LEARN_BLIND then
        return reply('unknown', 0, LEASE, 0, 0, math.max(0, blocked - now))
    end
    return reply('slots', 0, learner_until - now, 0, 0, math.max(0, blocked - now))
end
if blocked > now then return reply('slots', 0, blocked - now, 0, 0, blocked - now) end

local late = math.min(math.max(0.03 * per, 5e3), 1e6)
local usable = math.max(1, limit * share)
local outside = get('outside') * 0.5 ^ ((now - get('outside_at')) / per)
local interval = (per + late) / (math.max(usable - outside, 0.1 * usable) * trim)

if bucket.learner and bucket.learner ~= '' then
    if bucket.learner ~= member and learner_until > now then return reply('slots', 0, learner_until - now, 0, 0, 0) end
    if bucket.learner == member and bucket.ending ~= '1' then
        -- It may send until it has this reply; its next call tells of all that it sent.
        put('ending', '1')
        put('learner_until', now + LEASE)
        return reply('slots', 0, 0, 0, 0, 0)
    end
    -- What was sent without slots fills the beginning of the first window.
    ready = math.max(ready, now + math.min(usable, current + before) * interval)
    put('ready', ready)
    put('learner', '')
end
if ready > now + 4 * per + 1e6 then ready = now + horizon end  -- the clock was set back
if slow_until > now then interval = 2 * interval end

-- Members that wait: each gets at most its part of the rate

local waiting, own = 1, 0
for name, value in pairs(bucket) do
    if name:sub(1, 2) == 'w:' then
        local hungry_until, turn = value:match('^([^:]+):(.+)$')
        if name == 'w:' .. member then
            own = tonumber(turn)
        elseif tonumber(hungry_until) > now and tonumber(hungry_until) < now + per + 2 * HUNGRY then
            waiting = waiting + 1
        elseif tonumber(turn) <= now then
            redis.call('HDEL', KEYS[1], name)
        end
    end
end

-- A slot that nobody asked for in time is granted all the same while it is usable for long enough.
local start, granted, wait, every = math.max(ready, now + lead - late / 2), 0, 0, interval
if ready + per <= now and slow_until <= now then
    granted = math.min(want, math.max(1, math.floor(usable / members)))  -- unused for a whole window: at once
    every = 0
elseif waiting > 1 and math.min(own, start + per) > start + interval / 2 then
    wait = math.min(own, start + per) - interval / 2 - start
elseif start > now + horizon then
    wait = start - horizon - now
else
    granted = math.min(want, math.floor((now + horizon - start) / interval) + 1)
    if waiting > 1 then granted = math.min(granted, math.max(1, math.floor(horizon / interval / waiting))) end
end
if granted > 0 then
    wait = start - now
    put('ready', start + granted * interval)
    own = math.max(math.min(own, start + per), start) + granted * interval * waiting
end
local hungry_until = granted < want and now + wait + HUNGRY or 0
if granted < want then put('hungry_until', hungry_until) end
put('w:' .. member, string.format('%.0f:%.0f', hungry_until, own))
return reply('slots', granted, wait, every, late, 0)
