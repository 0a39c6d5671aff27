"""The channel dialect's app sessions: runs of a client program, with their logs (conformance B8-B13, B19, B20, B26)."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator, Field

from signalling import Registry, UnknownChannel, session_id_of, uuid_of_session

from ..auth import forbidden
from ..errors import bad_request
from ..fields import Printable
from ..store.app_sessions import AppSession, AppSessions
from ..store.database import Database
from ..store.queries import app_sessions as queries
from ..store.queries.reading import reading
from ..store.writer import Writer
from .channel_models import (
    MAX_LONG,
    MAX_TEXT,
    ErrorBody,
    Id,
    Instant,
    Long,
    Nothing,
    PageQuery,
    Text,
    UserItem,
    alias,
    error_body,
    user_item,
)
from .channels import NO_CHANNEL, operator_of
from .model import Model
from .openapi import Body, Call, Dialect, Raw, operation, operations_of

TAG = "App sessions"
MAX_URL = 2000  # bytes; PostgreSQL can index no more than 2700 of a row
TEXT_TYPE = "text/plain; charset=utf-8"
JSON_TYPE = "application/json"


def _short(url: str) -> str:
    if len(url.encode()) > MAX_URL:
        raise ValueError(f"at most {MAX_URL} bytes")
    return url


Url = Annotated[str, Field(max_length=MAX_URL), Printable, AfterValidator(_short)]


class RegisterApp(Body):
    """A run of a client program (B12)."""

    started: Instant
    url: Annotated[Url, Field(description="Where the program came from.")]
    channel: Annotated[Id | None, Field(description="The channel that it is about.")] = None


class AppSessionId(Model):
    """The new app session."""

    id: str


class LogBody(Body):
    """An entry of the log (B13)."""

    time: Instant
    data: str
    index: Annotated[Long | None, Field(description="Unique within the app session; the next one if left out.")] = None


class AppSessionItem(Model):
    """An app session (B9)."""

    id: str
    clientId: str
    url: str
    started: Instant
    users: Annotated[list[UserItem], Field(description="The users that were linked with it (B20).")]
    channels: list[str]
    channelsSessions: Annotated[list[str], Field(description="The sessions of its channels while it ran.")]


class AppSessionPage(Model):
    """A part of a list of app sessions; `total` counts all that match (B15)."""

    total: int
    results: list[AppSessionItem]


class LogsQuery(Model):
    """Which entries."""

    search: Annotated[Text | None, Field(description="Only entries that hold this, whatever the case.")] = None


class AppSessionsQuery(PageQuery):
    """Which app sessions (B11)."""

    user: Annotated[Text | None, Field(description="Linked with this user, by number or id.")] = None
    channelSession: Annotated[Text | None, Field(description="Linked with this session.")] = None
    channel: Annotated[Text | None, Field(description="Linked with this channel.")] = None
    url: Annotated[Url | None, Field(description="A part of its URL, whatever the case.")] = None
    startedBefore: Annotated[Long | None, Field(description="Started before this instant, in ms.")] = None
    startedAfter: Annotated[Long | None, Field(description="Started after this instant, in ms.")] = None


class AppSessionsApi:
    """Translates requests of the dialect into entries of the book of app sessions."""

    def __init__(
        self, registry: Registry, database: Database, writer: Writer, book: AppSessions, *, max_log: int = 16_384
    ) -> None:
        """`max_log`: characters of one entry."""
        self._registry = registry
        self._database = database
        self._writer = writer
        self._book = book
        self._max_log = max_log

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(
            TAG, "Runs of client programs, and their logs.", operations_of(self), error_body, ErrorBody, omit_none=True
        )

    @operation(
        "POST",
        "/app_sessions/new/{clientId}",
        summary="Register new app session",
        tag=TAG,
        permission="channels.app-session.create",
        errors=(404, 413),
        aliases=alias("/app_sessions/new/{clientId}"),
        examples={"body": {"started": 1_764_000_000_000, "url": "https://app.example.com/room"}},
    )
    async def register(self, call: Call, body: RegisterApp) -> AppSessionId:
        """The id is all that is needed to send logs; it cannot be guessed."""
        client_id = call.path["clientId"]
        if len(client_id) > MAX_TEXT:
            raise bad_request(f"clientId: at most {MAX_TEXT} characters")
        channel = None
        if body.channel is not None:
            channel = self._registry.rooms.get(call.tenant, body.channel.lower())
            if channel is None:
                raise UnknownChannel(NO_CHANNEL)
        app = self._book.register(call.tenant, client_id, body.url, body.started)
        if channel is not None:
            self._book.link_channel(app, channel.id)
            self._link_sessions(app)
        return AppSessionId(id=app.id)

    @operation(
        "POST",
        "/app_sessions/{appSession}/link/user",
        summary="Associate user with app session",
        tag=TAG,
        permission="channels.app-session.link",
        errors=(404, 503),
        aliases=alias("/app_sessions/{appSession}/link/user"),
    )
    async def link_user(self, call: Call) -> Nothing:
        """Links the token's user; again changes nothing (B8)."""
        user = call.user
        self._registry.people.see(call.tenant, user)
        app = await self._book.get(call.tenant, call.path["appSession"])
        self._book.link_user(app, user)
        self._link_sessions(app)
        return Nothing()

    @operation(
        "POST",
        "/app_sessions/{appSession}/logs",
        summary="Send logs to app session",
        tag=TAG,
        permission="channels.app-session.log",
        errors=(404, 409, 413, 503),
        aliases=alias("/app_sessions/{appSession}/logs"),
        examples={"body": {"time": 1_764_000_000_500, "data": "camera opened", "index": 0}},
    )
    async def add_log(self, call: Call, body: LogBody) -> Nothing:
        """An index that is there with the same time and text changes nothing; with others it is 409 (B13)."""
        if len(body.data) > self._max_log:
            raise bad_request(f"data: at most {self._max_log} characters")
        app = await self._book.get(call.tenant, call.path["appSession"])
        self._book.append(app, body.time, body.data, body.index)
        self._link_sessions(app)
        return Nothing()

    @operation(
        "GET",
        "/app_sessions/{appSession}",
        summary="Get app session details",
        tag=TAG,
        permission="channels.app-session.get",
        errors=(404, 503),
        aliases=alias("/app_sessions/{appSession}"),
    )
    async def get_app_session(self, call: Call) -> AppSessionItem:
        """For users linked with it, hosts of one of its channels, and admins."""
        return self._item(await self._readable(call))

    @operation(
        "GET",
        "/app_sessions/{appSession}/logs",
        summary="Get app session logs",
        tag=TAG,
        permission="channels.app-session.logs",
        errors=(404, 503),
        aliases=alias("/app_sessions/{appSession}/logs"),
        media_type="text/plain",
    )
    async def get_logs(self, call: Call, query: LogsQuery) -> Raw:
        """The entries in the order of their indices, a line each; as a JSON string when only JSON is accepted (B10)."""
        row = await self._readable(call)
        entries = await self._book.log(row.id, query.search)
        text = "".join(f"{entry.data}\n" for entry in entries)
        if _wants_json(call.headers.get("Accept", "")):
            return Raw(json.dumps(text), JSON_TYPE)
        return Raw(text, TEXT_TYPE)

    @operation(
        "GET",
        "/app_sessions",
        summary="Query app sessions",
        tag=TAG,
        permission="channels.app-session.list",
        errors=(503,),
        aliases=alias("/app_sessions"),
    )
    async def list_app_sessions(self, call: Call, query: AppSessionsQuery) -> AppSessionPage:
        """All that match every criterion and that the token may read, those that started last first (B11)."""
        session_id = None if query.channelSession is None else session_id_of(query.channelSession)
        if query.channelSession is not None and session_id is None:
            return AppSessionPage(total=0, results=[])
        wanted = queries.AppSessionFilter(
            tenant=call.tenant,
            reader=operator_of(call),
            user=None if query.user is None else self._user(call, query.user),
            channel_id=None if query.channel is None else query.channel.lower(),
            session_id=session_id,
            url=query.url or None,
            before=query.startedBefore,
            after=query.startedAfter,
        )
        await self._writer.settled()
        async with reading(self._database) as connection:
            total, rows = await queries.find_app_sessions(connection, wanted, limit=query.limit, offset=query.offset)
        return AppSessionPage(total=total, results=[self._item(row) for row in rows])

    # What the operations share.

    def _link_sessions(self, app: AppSession) -> None:
        """With the sessions that its channels have now."""
        for channel_id in app.channels:
            session = self._registry.rooms.active_session(channel_id)
            if session is not None and session.tenant == app.tenant:
                self._book.link_session(app, session.id)

    async def _readable(self, call: Call) -> queries.AppSessionRow:
        """The one that the path names, once the token may read it. ApiError 403, UnknownAppSession."""
        row = await self._book.row(call.tenant, call.path["appSession"])
        reader = operator_of(call)
        if reader is None or reader.user in row.users or any(self._hosts(call, channel) for channel in row.channels):
            return row
        raise forbidden("this is for users linked with it, and hosts of its channels")

    def _hosts(self, call: Call, channel_id: str) -> bool:
        channel = self._registry.rooms.get(call.tenant, channel_id)
        return channel is not None and call.role_in(channel) == "host"

    def _user(self, call: Call, text: str) -> str:
        """Id of the user that a query names by number or id."""
        people = self._registry.people
        if people.get(call.tenant, text) is None and text.isascii() and text.isdigit() and int(text) <= MAX_LONG:
            user = people.by_number(call.tenant, int(text))
            return text if user is None else user.id
        return text

    def _item(self, row: queries.AppSessionRow) -> AppSessionItem:
        return AppSessionItem(
            id=row.id,
            clientId=row.client_id,
            url=row.url,
            started=row.started_at,
            users=[user_item(self._registry, row.tenant, user) for user in row.users],
            channels=list(row.channels),
            channelsSessions=[uuid_of_session(session) for session in row.sessions],
        )


def _wants_json(accept: str) -> bool:
    """Whether a client takes JSON and no text (B10)."""
    kinds = [kind.partition(";")[0].strip().lower() for kind in accept.split(",")]
    return JSON_TYPE in kinds and not {"text/plain", "text/*", "*/*"} & set(kinds)
