"""Whose turn it is in the outbox: lanes that wait, deliver or rest after a failure. No I/O, no clock of its own.

Lanes of one group (what goes to the same target) share a bound, so that a target that answers slowly holds up
nobody else. A lane is known by its name alone; what is in it stays in the database until it is picked.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

MAX_LANES = 20_000  # known at a time, half a kilobyte each; the others wait in the database
AT_ONCE_A_GROUP = 16  # lanes of one target that deliver at the same time


class Place(Enum):
    """Where a lane stands."""

    WAITING = auto()
    BUSY = auto()
    RESTING = auto()


@dataclass(slots=True, eq=False)
class Lane:
    """One line of deliveries."""

    name: str
    group: str
    place: Place = Place.WAITING
    stirred: bool = True
    "Whether something was put in since it was last read."
    until: float = 0.0
    "End of its rest, seconds since the epoch."


@dataclass(slots=True, eq=False)
class Group:
    """The lanes of one target."""

    name: str
    waiting: deque[Lane] = field(default_factory=deque)
    busy: int = 0
    in_turn: bool = False


class Lanes:
    """Picks the next lanes, at most `at_once` busy ones, the groups in turn."""

    def __init__(self, *, at_once: int, at_once_a_group: int = AT_ONCE_A_GROUP, limit: int = MAX_LANES) -> None:
        self.at_once = at_once
        self.at_once_a_group = at_once_a_group
        self.limit = limit
        self.busy = 0
        self._lanes: dict[str, Lane] = {}
        self._groups: dict[str, Group] = {}
        self._turn: deque[Group] = deque()
        self._resting: list[tuple[float, int, Lane]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def stir(self, name: str, group: str, *, now: bool = False) -> bool:
        """Something is in lane `name`; `now` ends its rest. False when there is no room to remember it."""
        lane = self._lanes.get(name)
        if lane is not None:
            lane.stirred = True
            if now and lane.place is Place.RESTING:
                self._wait(lane)
            return True
        room = len(self._lanes) < self.limit or self._forget_a_resting_one()
        if room:
            lane = self._lanes[name] = Lane(name, group)
            self._wait(lane)
        return room and len(self._lanes) < self.limit

    def pick(self) -> list[Lane]:
        """Those that deliver next; they are busy until `requeue`, `rest` or `drop`."""
        picked: list[Lane] = []
        while self._turn and self.busy < self.at_once:
            group = self._turn.popleft()
            group.in_turn = False
            lane = group.waiting.popleft()
            lane.place = Place.BUSY
            lane.stirred = False
            group.busy += 1
            self.busy += 1
            picked.append(lane)
            self._give_turn(group)
        return picked

    def requeue(self, lane: Lane) -> None:
        """A busy lane has more: it waits behind the others."""
        self._leave(lane)
        self._wait(lane)

    def drop(self, lane: Lane) -> None:
        """A busy lane is empty, unless it was stirred meanwhile."""
        self._leave(lane)
        if lane.stirred:
            self._wait(lane)
        else:
            del self._lanes[lane.name]

    def rest(self, lane: Lane, until: float) -> None:
        """A busy lane must not be tried before `until`."""
        self._leave(lane)
        lane.place = Place.RESTING
        lane.until = until
        self._count += 1
        heapq.heappush(self._resting, (until, self._count, lane))

    def wake(self, now: float) -> None:
        """Lanes whose rest is over wait again."""
        while self._resting and self._resting[0][0] <= now:
            until, _, lane = heapq.heappop(self._resting)
            if lane.place is Place.RESTING and lane.until == until:
                self._wait(lane)

    @property
    def deadline(self) -> float | None:
        """When the next rest ends."""
        return self._resting[0][0] if self._resting else None

    def _wait(self, lane: Lane) -> None:
        lane.place = Place.WAITING
        group = self._groups.get(lane.group)
        if group is None:
            group = self._groups[lane.group] = Group(lane.group)
        group.waiting.append(lane)
        self._give_turn(group)

    def _leave(self, lane: Lane) -> None:
        group = self._groups[lane.group]
        group.busy -= 1
        self.busy -= 1
        self._give_turn(group)
        if not group.busy and not group.waiting:
            del self._groups[lane.group]

    def _give_turn(self, group: Group) -> None:
        if group.waiting and not group.in_turn and group.busy < self.at_once_a_group:
            group.in_turn = True
            self._turn.append(group)

    def _forget_a_resting_one(self) -> bool:
        """Make room: one that rests long is found again in the database. False when none rests."""
        while self._resting:
            until, _, lane = self._resting.pop()  # a leaf of the heap: not the next one
            if lane.place is Place.RESTING and lane.until == until:
                del self._lanes[lane.name]
                return True
        return False
