"""What happens in sessions.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from typing import Any

from .transport import Group, Model


class Event(Model):
    """Something that happened in a session."""

    id: str
    kind: str
    session: str
    channel: str
    seq: int
    """Rises by one within the session."""
    at: str
    """RFC 3339, UTC, with milliseconds."""
    data: dict[str, Any]
    """What the kind says; see docs/events.md."""


class Events(Model):
    """A page of the history, oldest first."""

    events: list[Event]
    next: str | None
    """`after` of the next page; also when it has nothing as yet."""
    has_more: bool


class HistoryQuery(Model):
    """Which events, and how many."""

    session: str | None = None
    """Of one session, by any form of its id."""
    channel: str | None = None
    """Of all sessions of a channel."""
    kind: str | None = None
    """Kinds, separated by commas; `leg.*` stands for all that begin so."""
    after: str | None = None
    """Only what came after this event."""
    limit: int = 100


class Ticket(Model):
    """Stands for the token in the address of a stream."""

    ticket: str
    expires_in_s: int
    """Seconds until a stream must have begun with it, and again after the last one ended."""


class EventsApi(Group):
    """What happens in sessions."""

    async def ticket(self) -> Ticket:
        """Get a ticket to listen without a header. For a browser's `EventSource`: `GET /events?ticket=…` is heard as
        this token is, and nothing else is opened. It ends with the token. A stream that broke off is taken up again
        with the same ticket.
        """
        return await self.transport.ask(Ticket, "POST", "/events/tickets", {})

    async def history(self, query: HistoryQuery | None = None) -> Events:
        """Read what has happened. Events as they are kept, oldest first, of the sessions that the token may see. A
        page may be short while `has_more` is true, when few of very many events are wanted.
        """
        return await self.transport.ask(Events, "GET", "/events/history", {}, query=query)
