"""Places for connections: the limits, in all and for each address, and which connection is evicted for a newcomer.

A newcomer beyond the limit is let in, and room is made for it:

1. Connections that have waited for a second without a whole request are closed, the longest first; then those that take
   in hardly anything of their answer, the slowest first.
2. If there are none of these, a connection that is being answered, or was within the last second, is closed after its
   next answer. Until then there is one too many, and there may be a tenth more than the limit.
3. Beyond that tenth, the slowest of those that take in their answer is cut off. If there are none, the oldest of those
   that came, or were answered, within the last second is refused.
4. If there are none of these, all are being answered: the newcomer may ask for health, and is refused all else. Beyond
   a second tenth it is refused at once.

A newcomer of an address beyond its own limit takes the place of another connection of that address. If it has all its
places and opens many more connections in a moment, it floods: these are turned away with 503, because newcomers of
other addresses wait behind them.
"""

import logging
from enum import IntEnum
from time import monotonic
from typing import Protocol

JUST_CAME_SECONDS = 1.0  # a request may be on its way
STALE_SECONDS = 1.0
FLOOD_SECONDS = 0.1
FLOOD = 100  # newcomers within FLOOD_SECONDS, beyond the limit of their address
NEWCOMERS_A_SEARCH = 0.05  # a share of all connections; a search ranks every one of them
LOG_AGAIN_SECONDS = 10.0

_log = logging.getLogger("service.server.places")
_said: dict[str, float] = {}


class Standing(IntEnum):
    """How much use a connection makes of its place, the least first."""

    WAITING = 0  # for a second or more there has been no request, or a part of one
    STALLED = 1  # hardly anything of its answer is taken in
    READING = 2  # some of its answer is not taken in yet
    JUST_CAME = 3  # as WAITING, for less than a second
    ANSWERED = 4


class Occupant(Protocol):
    """A connection, as far as places are concerned."""

    address: str | None  # None: of no address with a limit
    is_ending: bool

    @property
    def is_answering(self) -> bool:
        """Whether a request is being handled, or its answer sent."""

    def standing(self, now: float) -> tuple[Standing, float]:
        """And its rank: among connections of one standing the lowest rank is evicted first."""

    def give_way(self) -> None: ...

    def end_with_answer(self) -> None: ...

    def answer_health_only(self) -> None: ...

    def refuse(self) -> None: ...


class ConnectionGroup:
    """Connections that share a limit."""

    def __init__(self, limit: int, setting: str) -> None:
        self.members: set[Occupant] = set()
        self._limit, self._setting = limit, setting
        self._found: dict[Standing, list[Occupant]] = {}
        self._looked = 0.0
        self._newcomers = 0  # since the last search
        self._beyond = (0.0, 0)  # since when newcomers beyond the limit are counted for a flood, and how many came

    def is_flooded(self, now: float) -> bool:
        """Counts a newcomer. True if it is one too many."""
        if self._over < 0:
            return False
        since, count = self._beyond
        self._beyond = since, count = (since, count + 1) if now < since + FLOOD_SECONDS else (now, 1)
        if count <= FLOOD:
            return False
        say(f"{self._setting} (%d) is reached, and many more come at once: some get 503 unread", self._limit)
        return True

    def make_room(self, newcomer: Occupant, now: float) -> None:
        if self._over <= 0:
            self._found = {}  # releases connections that are gone
            return
        self._newcomers += 1
        say(f"{self._setting} (%d) is reached: connections that make the least progress are closed", self._limit)
        for standing in (Standing.WAITING, Standing.STALLED):
            while self._over > 0 and (slow := self._next(standing, newcomer, now)):
                slow.give_way()
        if self._over <= 0:
            return
        if self._over <= spare_of(self._limit):
            if ending := self._next_to_end(newcomer, now):
                ending.end_with_answer()
        elif slowest := self._next(Standing.READING, newcomer, now):
            slowest.give_way()
        elif oldest := self._next(Standing.JUST_CAME, newcomer, now):
            oldest.refuse()
        elif self._over <= 2 * spare_of(self._limit):
            newcomer.answer_health_only()
        else:
            newcomer.refuse()

    @property
    def _over(self) -> int:
        return len(self.members) - self._limit

    def _next_to_end(self, newcomer: Occupant, now: float) -> Occupant | None:
        for standing in (Standing.ANSWERED, Standing.JUST_CAME):
            while each := self._next(standing, newcomer, now, place=0):
                if not each.is_ending:
                    return each
        return None

    def _next(self, standing: Standing, newcomer: Occupant, now: float, place: int = -1) -> Occupant | None:
        """The next to be evicted: the last one that the search found whose standing is still the same."""
        is_due = not self._found.get(standing) and self._newcomers > int(len(self.members) * NEWCOMERS_A_SEARCH)
        if is_due or now >= self._looked + STALE_SECONDS:
            self._search(now)
        found = self._found.get(standing, [])
        while found:
            each = found.pop(place)
            if each is not newcomer and each in self.members and each.standing(now)[0] is standing:
                return each
        return None

    def _search(self, now: float) -> None:
        ranked: dict[Standing, list[tuple[float, int, Occupant]]] = {}
        for each in self.members:
            standing, rank = each.standing(now)
            ranked.setdefault(standing, []).append((-rank, id(each), each))
        self._found = {standing: [each for _, _, each in sorted(ranks)] for standing, ranks in ranked.items()}
        self._looked, self._newcomers = now, 0


class Places:
    """The places of a process: a limit for all connections, and one for each address; 0: none."""

    def __init__(self, most: int, per_address: int) -> None:
        self.evicted = self.refused = 0  # connections, since the start; they count themselves
        self._all = ConnectionGroup(most, "MAX_CONNECTIONS")
        self._per_address = per_address
        self._addresses: dict[str, ConnectionGroup] = {}

    def is_flooded_by(self, address: str | None) -> bool:
        own = self._addresses.get(address or "")
        return own is not None and own.is_flooded(monotonic())

    def enter(self, newcomer: Occupant) -> None:
        now = monotonic()
        crowds = [self._all]
        if self._per_address and newcomer.address is not None:
            own = self._addresses.get(newcomer.address)
            if own is None:
                own = self._addresses[newcomer.address] = ConnectionGroup(self._per_address, "CONNECTIONS_PER_ADDRESS")
            crowds.insert(0, own)
        for crowd in crowds:
            crowd.members.add(newcomer)
        for crowd in crowds:
            if newcomer in crowd.members:  # else it was refused
                crowd.make_room(newcomer, now)

    @property
    def taken(self) -> int:
        return len(self._all.members)

    @property
    def answering(self) -> int:
        """Looks at each connection: for metrics, not for each request."""
        return sum(each.is_answering for each in self._all.members)

    def leave(self, occupant: Occupant) -> None:
        self._all.members.discard(occupant)
        own = self._addresses.get(occupant.address or "")
        if own is not None:
            own.members.discard(occupant)
            if not own.members:
                del self._addresses[occupant.address or ""]


def spare_of(limit: int) -> int:
    return max(1, limit // 10)


def say(message: str, number: int) -> None:
    """Logs a warning at most every LOG_AGAIN_SECONDS: its cause may go on for as long as a client likes."""
    now = monotonic()
    if now >= _said.get(message, 0.0) + LOG_AGAIN_SECONDS:
        _said[message] = now
        _log.warning(message, number)
