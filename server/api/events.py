"""[io] Events over HTTP: a stream of server-sent events, and the history of what happened."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from aiohttp import hdrs, web
from pydantic import Field

from signalling import SignallingError, session_id_of

from ..auth import Authenticator, forbidden
from ..errors import ApiError, bad_request
from ..events import BEHIND, HEARTBEAT_S, STALL_S, Feed, Filter, Listener, encode, kinds_of, position_of
from ..store.database import Database
from ..store.history import History
from ..store.queries.events import Viewer, Wanted, events_after
from ..store.writer import Writer
from ..tickets import LIFETIME_S
from .health import PlainError, plain_error
from .model import Model
from .openapi import Call, Dialect, Header, operation, operations_of

TAG = "Events"

RECONNECT_MS = 2000  # what a client is told to wait before it comes back
PAGE = 500  # events read from the database at a time, and most of one page of the history
SCANS = 20  # queries for one page of the history; a rarer event is found by the next page
EVENT_ID = r"^(evt_)?[0-9]{1,16}$"
MAX_KINDS = 512  # characters of `kind`

LAST_EVENT_ID = Header("Last-Event-ID", "The last event that was seen; what came after it is sent first.", 32)


class StreamQuery(Model):
    """Which events; all conditions must hold."""

    session: Annotated[str | None, Field(max_length=64, description="Of one session, by any form of its id.")] = None
    channel: Annotated[str | None, Field(max_length=64, description="Of all sessions of a channel.")] = None
    kind: Annotated[
        str | None,
        Field(max_length=MAX_KINDS, description="Kinds, separated by commas; `leg.*` stands for all that begin so."),
    ] = None
    after: Annotated[
        str | None,
        Field(max_length=32, pattern=EVENT_ID, description="As Last-Event-ID, for clients that cannot send a header."),
    ] = None


class ListenQuery(StreamQuery):
    """Which events, and a ticket in the place of a token."""

    ticket: Annotated[
        str | None, Field(max_length=64, description="From `POST /events/tickets`, where no token can be sent.")
    ] = None


class HistoryQuery(StreamQuery):
    """Which events, and how many."""

    after: Annotated[
        str | None, Field(max_length=32, pattern=EVENT_ID, description="Only what came after this event.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 100


class Event(Model):
    """Something that happened in a session."""

    id: str
    kind: str
    session: str
    channel: str
    seq: Annotated[int, Field(description="Rises by one within the session.")]
    at: Annotated[str, Field(description="RFC 3339, UTC, with milliseconds.")]
    data: Annotated[dict[str, Any], Field(description="What the kind says; see docs/events.md.")]


class Events(Model):
    """A page of the history, oldest first."""

    events: list[Event]
    next: Annotated[str | None, Field(description="`after` of the next page; also when it has nothing as yet.")]
    has_more: bool


class Ticket(Model):
    """Stands for the token in the address of a stream."""

    ticket: str
    expires_in_s: Annotated[
        int, Field(description="Seconds until a stream must have begun with it, and again after the last one ended.")
    ]


EXAMPLE = {
    "id": "evt_1790000000123456",
    "kind": "participant.joined",
    "session": "1876946944000000001",
    "channel": "8a3f2c1e-5b6d-8e7f-a0b1-c2d3e4f5a6b7",
    "seq": 2,
    "at": "2026-09-21T14:13:20.123Z",
    "data": {"participant": 0, "user": "alice", "display_name": None},
}


class EventsApi:
    """What happens, as it happens and afterwards."""

    def __init__(
        self, feed: Feed, history: History, database: Database, writer: Writer, authenticator: Authenticator
    ) -> None:
        self._feed = feed
        self._history = history
        self._database = database
        self._writer = writer
        self._authenticator = authenticator

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(
            TAG,
            "What happens in sessions.",
            operations_of(self),
            plain_error,
            PlainError,
            on_shutdown=self._feed.close,
        )

    @operation(
        "GET",
        "/events",
        summary="Listen to events as they happen",
        tag=TAG,
        permission="events.stream",
        errors=(404, 503),
        headers=(LAST_EVENT_ID,),
        media_type="text/event-stream",
        ticketed=True,
    )
    async def stream(self, call: Call, query: ListenQuery) -> web.StreamResponse:
        """Server-sent events of the sessions that the token may see.

        Each has the event's id, its kind as name, and its JSON as data. With Last-Event-ID nothing is missed.
        """
        wanted = await self._filter(call, query)
        last = call.headers.get(LAST_EVENT_ID.name, query.after)
        after = self._feed.newest if last is None else _position(last)
        chunked = call.request.version >= (1, 1)
        listener = self._feed.admit(call.principal, wanted, sees_all=call.sees_all, chunked=chunked)
        try:
            if after < self._feed.lost_to:
                await self._writer.settled()  # a database that is down is told by a status, while there is one to tell
            with self._authenticator.tickets.streaming(query.ticket or ""):
                return await self._serve(call, listener, after)
        finally:
            self._feed.leave(listener)

    @operation(
        "POST",
        "/events/tickets",
        summary="Get a ticket to listen without a header",
        tag=TAG,
        permission="events.ticket",
        status=201,
    )
    async def ticket(self, call: Call) -> Ticket:
        """For a browser's `EventSource`: `GET /events?ticket=…` is heard as this token is, and nothing else is opened.

        It ends with the token. A stream that broke off is taken up again with the same ticket.
        """
        ticket = self._authenticator.tickets.give(call.headers[hdrs.AUTHORIZATION])
        return Ticket(ticket=ticket, expires_in_s=int(LIFETIME_S))

    @operation(
        "GET",
        "/events/history",
        summary="Read what has happened",
        tag=TAG,
        permission="events.history",
        errors=(404, 503),
        examples={"200": {"events": [EXAMPLE], "next": EXAMPLE["id"], "has_more": False}},
    )
    async def history(self, call: Call, query: HistoryQuery) -> Events:
        """Events as they are kept, oldest first, of the sessions that the token may see.

        A page may be short while `has_more` is true, when few of very many events are wanted.
        """
        wanted = _stored(call, await self._filter(call, query))
        after = 0 if query.after is None else _position(query.after)
        await self._writer.settled()
        bodies: list[dict[str, Any]] = []
        more = True
        for _ in range(SCANS):
            page = await events_after(self._database, wanted, after, limit=query.limit - len(bodies))
            bodies += page.bodies
            after, more = page.upto, page.more
            if not more or len(bodies) >= query.limit:
                break
        events = [Event.model_construct(**body) for body in bodies]
        return Events.model_construct(events=events, next=f"evt_{after}" if after else None, has_more=more)

    async def _filter(self, call: Call, query: StreamQuery) -> Filter:
        """What is asked for; 404 or 403 when it is one session that the token may not see."""
        kinds, prefixes = (frozenset[str](), ()) if query.kind is None else kinds_of(query.kind)
        session_id = None
        if query.session is not None:
            session_id = session_id_of(query.session)
            record = None if session_id is None else await self._history.session(session_id)
            if call.role_in(call.found(record, message="there is no such session")) is None:
                raise forbidden("the token has no role in the session")
        return Filter(session_id, query.channel, kinds, prefixes)

    # The stream.

    async def _serve(self, call: Call, listener: Listener, after: int) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
                hdrs.CACHE_CONTROL: "no-store",
                "X-Accel-Buffering": "no",
                "X-Content-Type-Options": "nosniff",
            }
        )
        if not listener.chunked:
            response.force_close()
        try:
            await response.prepare(call.request)
            await response.write(f"retry: {RECONNECT_MS}\n\n".encode())
            transport = call.request.transport
            if transport is None:
                return response
            while True:
                while not (listener.ended.done() or self._feed.go_live(listener, after, transport)):
                    after = await self._catch_up(call, listener, response, after)
                if await self._until_ended(call, listener) != BEHIND:
                    break
                listener.resume()
                after = listener.position
            if not transport.is_closing():
                async with asyncio.timeout(STALL_S):
                    await response.write_eof()
        except (ConnectionError, TimeoutError):
            self._break_off(call)  # the client is gone, or has stopped reading
        except SignallingError:
            self._break_off(call)  # the head has gone out: the client comes back with the last id it saw
        return response

    async def _catch_up(self, call: Call, listener: Listener, response: web.StreamResponse, after: int) -> int:
        """Send what the database has behind `after`; up to which position that was."""
        upto = self._feed.newest
        wanted = _stored(call, listener.wanted)
        await self._writer.settled()
        while not listener.ended.done():
            page = await events_after(self._database, wanted, after, limit=PAGE, upto=upto)
            if page.bodies:
                async with asyncio.timeout(STALL_S):
                    await response.write(b"".join(map(encode, page.bodies)))
            after = page.upto
            if not page.more:
                break
        return after

    async def _until_ended(self, call: Call, listener: Listener) -> str:
        """Wait for the end of the stream, and say why. The token may be revoked: it is looked at again and again."""
        header = call.headers.get(hdrs.AUTHORIZATION)
        if header is None:
            header = self._authenticator.tickets.authorization(call.request.query.get("ticket", ""))
        while True:
            done, _ = await asyncio.wait([listener.ended], timeout=HEARTBEAT_S)
            if done:
                return listener.ended.result()
            if header is not None and not await self._is_valid(header):
                return "the token is no longer valid"

    async def _is_valid(self, header: str) -> bool:
        try:
            await self._authenticator.authenticate(header)
        except ApiError:
            return False
        return True

    def _break_off(self, call: Call) -> None:
        transport = call.request.transport
        if transport is not None:
            transport.abort()


def _position(text: str) -> int:
    position = position_of(text)
    if position is None:
        raise bad_request("an event's id is `evt_` and a number")
    return position


def _stored(call: Call, wanted: Filter) -> Wanted:
    """The same choice for the database."""
    principal = call.principal
    # A session that was asked for by its id has been looked at already.
    viewer = (
        None
        if call.sees_all or wanted.session is not None
        else Viewer(principal.user, principal.owner, tuple(principal.roles))
    )
    return Wanted(principal.tenant, wanted.session, wanted.channel, wanted.kinds, wanted.prefixes, viewer)
