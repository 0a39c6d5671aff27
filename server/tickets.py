"""[io] Tickets: each stands for a token in the address of an event stream, as a browser's EventSource sends no header.

It opens streams of events and nothing else, as the token that it was given for would, as long as that is valid.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .tokens import digest_of

LIFETIME_S = 60.0  # after it was given, and after its last stream ended: a browser that lost one comes back by itself
SECRET_BYTES = 24
MAX_TICKETS = 10_000  # then the oldest that has no stream is forgotten; about a kilobyte each


@dataclass(slots=True)
class _Ticket:
    authorization: str
    ends_at: float
    streams: int = 0


class Tickets:
    """Those that are good now, in the order of their giving; known by their digests, and kept nowhere else."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._clock = clock
        self._given: dict[bytes, _Ticket] = {}

    def give(self, authorization: str) -> str:
        """A new ticket for who sends this header."""
        now = self._clock()
        if len(self._given) >= MAX_TICKETS:
            idle = [digest for digest, ticket in self._given.items() if not ticket.streams]
            over = [digest for digest in idle if self._given[digest].ends_at <= now] or idle[:1]
            for digest in over:
                del self._given[digest]
        text = secrets.token_urlsafe(SECRET_BYTES)
        self._given[digest_of(text)] = _Ticket(authorization, now + LIFETIME_S)
        return text

    def authorization(self, text: str) -> str | None:
        """The header that a ticket stands for; None when it is none, or no longer."""
        ticket = self._given.get(digest_of(text))
        if ticket is None or not (ticket.streams or self._clock() < ticket.ends_at):
            return None
        return ticket.authorization

    @contextmanager
    def streaming(self, text: str) -> Iterator[None]:
        """A ticket does not end meanwhile."""
        ticket = self._given.get(digest_of(text))
        if ticket is None:
            yield
            return
        ticket.streams += 1
        try:
            yield
        finally:
            ticket.streams -= 1
            ticket.ends_at = self._clock() + LIFETIME_S
