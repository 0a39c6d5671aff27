"""Durations of RFC 3261 Table 4, and a queue of instants at which something is due."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Final, Generic, TypeVar

__all__ = ["TimerQueue", "Timers"]

Owner = TypeVar("Owner", bound=Hashable)

# An entry is a list [instant, sequence number, owner]; the owner is None once the entry is dead. Lists compare
# by instant, then by number, which is unique: owners are never compared.
_OWNER: Final = 2
_COMPACT_ABOVE: Final = 64  # dead entries; fewer are not worth a pass over the heap


@dataclass(frozen=True, slots=True)
class Timers:
    """The base durations of RFC 3261 §17.1.1.1, in seconds; all other timers follow from them."""

    t1: float = 0.5
    "Estimated round trip; first interval of a retransmission."
    t2: float = 4.0
    "Longest interval between retransmissions of a response or of a request other than INVITE."
    t4: float = 5.0
    "How long a message may live in the network (timers I and K)."
    ringing_s: float = 60.0
    "How often a provisional response is sent again while an INVITE is unanswered (RFC 3261 §13.3.1.1)."

    @property
    def transaction_s(self) -> float:
        """64*T1: timers B, D, F, H, J, L and M."""
        return 64 * self.t1


class TimerQueue(Generic[Owner]):
    """At most one instant for each owner. A cancelled entry lets go of its owner at once.

    Setting, cancelling and popping cost O(log n) at worst; of more than 64 dead entries there are three live ones each.
    """

    __slots__ = ("_dead", "_entries", "_heap", "_number", "deadline")

    def __init__(self) -> None:
        self._heap: list[list[Any]] = []
        self._entries: dict[Owner, list[Any]] = {}
        self._number = 0
        self._dead = 0
        self.deadline: float | None = None
        "The earliest instant, or None when nobody waits. Read far more often than it changes."

    def __len__(self) -> int:
        """Owners that wait for an instant."""
        return len(self._entries)

    def set(self, owner: Owner, at: float) -> None:
        """Make `owner` due at the instant `at` instead of any earlier wish."""
        self._number += 1
        entry = [at, self._number, owner]
        old = self._entries.get(owner)
        self._entries[owner] = entry
        heappush(self._heap, entry)
        if old is not None:
            self._bury(old)
        if self.deadline is None or at < self.deadline:
            self.deadline = at

    def hand_over(self, owner: Owner, heir: Owner) -> None:
        """Make `heir` due in the place of `owner`. KeyError when `owner` does not wait."""
        entry = self._entries.pop(owner)
        entry[_OWNER] = heir
        self._entries[heir] = entry

    def cancel(self, owner: Owner) -> None:
        """Forget `owner`, which need not be known."""
        old = self._entries.pop(owner, None)
        if old is not None:
            self._bury(old)

    def pop_due(self, now: float) -> Iterator[Owner]:
        """Remove and yield every owner due at `now` or before, earliest first.

        The queue may be changed between two steps. What is set meanwhile comes too if it is due.
        """
        heap = self._heap
        while heap and heap[0][0] <= now:
            owner = heappop(heap)[_OWNER]
            self._uncover()
            del self._entries[owner]
            yield owner

    def _bury(self, entry: list[Any]) -> None:
        entry[_OWNER] = None
        self._dead += 1
        if self._dead > _COMPACT_ABOVE and self._dead * 4 > len(self._heap):
            self._heap[:] = self._entries.values()  # in place: pop_due holds on to the list
            heapify(self._heap)
            self._dead = 0
            self._uncover()
        elif self._heap[0] is entry:
            self._uncover()

    def _uncover(self) -> None:
        """Bring a live entry to the top: its instant is the deadline."""
        heap = self._heap
        while heap and heap[0][_OWNER] is None:
            heappop(heap)
            self._dead -= 1
        self.deadline = heap[0][0] if heap else None
