"""What the store counts for limits. It must not know who asks, nor decide what to do without the store.

::

    apo:l:<subject>     one hash for all that counts together. `d`: how many requests the token bucket lacks of being
                        full, at `at`, in seconds of the epoch. For each period `<period>:s`, when the one begins
                        that is counted, and `<period>:n`, how many requests were taken of it.
    apo:lx:<digest>     the same for a subject that is long or holds more than printable ASCII

A counter expires by itself: when its periods are over and its bucket is full. The time is that of the store, so that
hosts whose clocks differ agree on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from apostille.keys.connection import Script, StoreConnection
from apostille.keys.errors import StoreUnavailable
from apostille.model.limits import Limits, Rate

# How many subjects go into one call: the store serves nobody else meanwhile.
BATCH = 64

_PLAIN = re.compile(r"[!-~]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What is to be put right in the counter of a quota: taken already, or given back when it is negative.

    It counts only for the period that begins at `start`, in seconds of the epoch.
    """

    start: float = 0.0
    requests: int = 0


NOTHING = Settled()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """`need` requests wait; up to `ahead` may be taken in advance, as far as there are plenty.

    `taken`: how many requests the bucket lacks besides what the store knows. `settled`: one for each quota.
    """

    name: str
    limits: Limits
    need: int
    ahead: int
    taken: float
    settled: tuple[Settled, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Of a period: when it begins and ends, in seconds of the epoch, and how many requests are taken."""

    start: float
    end: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`granted` requests are charged to the bucket and every quota. `lacking`: what the bucket lacks of being full."""

    granted: int
    lacking: float
    counted: tuple[Counted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """`at`: the time of the store, in seconds of the epoch. None answers for a subject whose counter is damaged."""

    at: float
    answers: tuple[Answer | None, ...]


# First argument: the time, empty for the store's own. Then for each name: need, ahead, per second (0: no bucket),
# burst, taken, the number of quotas, and for each of them period, requests, start and number of what is to be settled.
# Returns the time, and for each name what was granted (-1: the counter is damaged), what its bucket lacks, and for each
# quota its number, beginning and end.
CHARGE = Script(
    """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local next_argument = 1
local function argument()
  next_argument = next_argument + 1
  return ARGV[next_argument]
end
local function number()
  return tonumber(argument())
end

-- The first day of the month of a day, both counted from 1970-01-01. Years begin in March here: the leap day is last.
local function first_of_month(day)
  local shifted = day + 719468
  local era = math.floor(shifted / 146097)
  local of_era = shifted - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * of_year + 2) / 153)
  return day - (of_year - math.floor((153 * month + 2) / 5))
end
local function bounds(period, at)
  if period == 'hour' or period == 'day' then
    local length = period == 'hour' and 3600 or 86400
    local start = math.floor(at / length) * length
    return start, start + length
  end
  local first = first_of_month(math.floor(at / 86400))
  return first * 86400, first_of_month(first + 31) * 86400
end

local function charge(key)
  local need, ahead, per_second, burst, taken = number(), number(), number(), number(), number()
  local quotas, fields = {}, {'d', 'at'}
  for i = 1, number() do
    quotas[i] = {period = argument(), most = number(), start = number(), settled = number()}
    fields[#fields + 1] = quotas[i].period .. ':s'
    fields[#fields + 1] = quotas[i].period .. ':n'
  end
  local found = redis.pcall('HMGET', key, unpack(fields))
  if found.err then return {-1, '0'} end
  local room, lacking, until_empty = math.huge, 0, 0
  if per_second > 0 then
    local passed = math.max(0, now - (tonumber(found[2] or '') or now))
    lacking = math.max(0, (tonumber(found[1] or '') or 0) - passed * per_second)
    lacking = math.max(lacking, math.min(burst, lacking + taken))
    room = math.floor(burst - lacking + 1e-6)
    ahead = math.min(ahead, math.floor(room / 2))
  end
  for i, quota in ipairs(quotas) do
    local start = tonumber(found[2 * i + 1] or '') or 0
    -- A clock that is set back a little, just after a period began, must not begin the one before again.
    local at = (start > now and start - now < 60) and start or now
    quota.first, quota.last = bounds(quota.period, at)
    quota.count = start == quota.first and tonumber(found[2 * i + 2] or '') or 0
    if quota.start == quota.first then quota.count = math.max(0, quota.count + quota.settled) end
    room = math.min(room, quota.most - quota.count)
    ahead = math.min(ahead, math.floor((quota.most - quota.count) / 16))
    until_empty = math.max(until_empty, quota.last - now)
  end
  local granted = math.max(0, math.min(room, math.max(need, ahead)))
  local answer, writes = {granted, '0'}, {}
  if per_second > 0 then
    lacking = lacking + granted
    until_empty = math.max(until_empty, lacking / per_second)
    answer[2] = string.format('%.17g', lacking)
    writes = {'d', answer[2], 'at', string.format('%.6f', now)}
  end
  for _, quota in ipairs(quotas) do
    quota.count = quota.count + granted
    for _, each in ipairs({quota.count, quota.first, quota.last}) do answer[#answer + 1] = each end
    writes[#writes + 1] = quota.period .. ':s'
    writes[#writes + 1] = string.format('%.0f', quota.first)
    writes[#writes + 1] = quota.period .. ':n'
    writes[#writes + 1] = string.format('%.0f', quota.count)
  end
  redis.call('HSET', key, unpack(writes))
  -- Others may count here by other limits: nobody shortens a life. A century is for ever.
  local life = math.ceil(math.min(until_empty, 3155760000) * 1000) + 1
  if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, string.format('%.0f', life)) end
  return answer
end

local answers = {string.format('%.6f', now)}
for i, key in ipairs(KEYS) do answers[i + 1] = charge(key) end
return answers
"""
)


def to_name(subject: str) -> str:
    """What the counter of a subject is called, without the prefix of our names."""
    if _PLAIN.fullmatch(subject):
        return f"l:{subject}"
    return f"lx:{sha256(subject.encode('utf-8', 'surrogatepass')).hexdigest()}"


class Counters:
    """Charges many subjects in one round trip, each of them at once and completely."""

    def __init__(self, connection: StoreConnection, now: Callable[[], float] | None = None) -> None:
        """`now` gives seconds of the epoch in place of the store's own time."""
        self._connection, self._now = connection, now

    async def charge(self, asks: Sequence[Ask]) -> Answers:
        """One answer for each. Raises StoreUnavailable; what was charged then is unknown."""
        words: list[str | bytes | int] = ["" if self._now is None else f"{self._now():.6f}"]
        for ask in asks:
            words += _emit_ask(ask)
        names = [self._connection.name(ask.name) for ask in asks]
        return _parse_answers(await self._connection.run(CHARGE, names, words), asks)


def _emit_ask(ask: Ask) -> list[str | bytes | int]:
    rate = ask.limits.rate or Rate(per_second=1.0, burst=1)
    words: list[str | bytes | int] = [ask.need, ask.ahead]
    words += [0 if ask.limits.rate is None else repr(rate.per_second), rate.burst, repr(ask.taken)]
    words.append(len(ask.limits.quotas))
    for quota, settled in zip(ask.limits.quotas, ask.settled, strict=True):
        words += [quota.period, quota.requests, f"{settled.start:.0f}", settled.requests]
    return words


def _parse_answers(words: Sequence[Any], asks: Sequence[Ask]) -> Answers:
    try:
        return Answers(
            at=float(words[0]),
            answers=tuple(_parse_answer(each, ask) for each, ask in zip(words[1:], asks, strict=True)),
        )
    except (TypeError, ValueError, IndexError):
        raise StoreUnavailable("the answer of a script cannot be read") from None


def _parse_answer(words: Sequence[bytes | int], ask: Ask) -> Answer | None:
    granted, lacking, *rest = words
    if granted == -1:
        return None
    counted = tuple(
        Counted(requests=int(requests), start=float(start), end=float(end))
        for requests, start, end in zip(*[iter(rest)] * 3, strict=True)
    )
    if len(counted) != len(ask.limits.quotas):
        raise ValueError
    return Answer(granted=int(granted), lacking=float(lacking), counted=counted)
