"""How many sessions two users have shared: read from the database once, and again when one of them joins another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from signalling import EventBus, Happening, ParticipantJoined

MAX_KNOWN = 10_000  # relationships; each takes about half a kilobyte
FRESH_S = 60.0  # what is deleted for its age is no event, so look again after this time


class Pair(NamedTuple):
    """Whose sessions are counted: those of both users, and those that invitations of this relationship made."""

    tenant: str
    user: str
    other: str | None
    relationship_id: str

    def users(self) -> list[tuple[str, str]]:
        """Those whose joining changes the count."""
        return [(self.tenant, user) for user in (self.user, self.other) if user is not None]


Shared = tuple[int, int | None]
"Count of sessions, and the id of the first."


class SharedSessions:
    """Counts by pair. Raises what `read` raises."""

    def __init__(self, read: Callable[[Pair], Awaitable[Shared]], clock: Callable[[], float]) -> None:
        """`clock`: seconds, monotonic."""
        self._read = read
        self._clock = clock
        self._known: OrderedDict[Pair, tuple[float, Shared]] = OrderedDict()
        self._asked: dict[tuple[str, str], set[Pair]] = {}
        "User -> pairs that are known, or are being read."

    def __len__(self) -> int:
        return len(self._known)

    def follow(self, bus: EventBus) -> None:
        """Notice who joins sessions from now on."""
        bus.follow(self._on_joined, ParticipantJoined)

    async def of(self, pair: Pair) -> Shared:
        """The count as it is now."""
        found = self._known.get(pair)
        now = self._clock()
        if found is not None and now < found[0]:
            self._known.move_to_end(pair)
            return found[1]
        for user in pair.users():
            self._asked.setdefault(user, set()).add(pair)
        shared = await self._read(pair)
        if all(pair in self._asked.get(user, ()) for user in pair.users()):  # nobody joined meanwhile
            self._known[pair] = (now + FRESH_S, shared)
            self._known.move_to_end(pair)
            if len(self._known) > MAX_KNOWN:
                self._forget(next(iter(self._known)))
        return shared

    def _on_joined(self, happening: Happening) -> None:
        for pair in list(self._asked.get((happening.session.tenant, happening.fields["user"]), ())):
            self._forget(pair)

    def _forget(self, pair: Pair) -> None:
        self._known.pop(pair, None)
        for user in pair.users():
            asked = self._asked.get(user)
            if asked is not None:
                asked.discard(pair)
                if not asked:
                    del self._asked[user]
