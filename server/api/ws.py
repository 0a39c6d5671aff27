"""[io] The signalling channel of browsers over a WebSocket: `GET /ws`, and its description in AsyncAPI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import WSMsgType, hdrs, web

from signalling import (
    SUBPROTOCOL,
    TOKEN_SUBPROTOCOL,
    Ask,
    ChannelConnection,
    ChannelDesk,
    ChannelError,
    ChannelLimits,
    Principal,
    Registry,
    Session,
    SignallingError,
)

from ..auth import PERMISSIONS, Authenticator, forbidden, joins_only, may_begin, require, role_in
from ..errors import ApiError
from .health import PlainError, plain_error
from .openapi import JSON_TYPE, Call, Dialect, Raw, operation, operations_of
from .sockets import Socket, Sockets
from .ws_document import document

if TYPE_CHECKING:
    from ..store.database import Database
    from ..store.writer import Writer

log = structlog.get_logger("server.ws")

TAG = "Signalling channel"
PROTOCOL_HEADER = "Sec-WebSocket-Protocol"


class WebSocketApi:
    """Carries frames between browsers and the desk of the channel."""

    def __init__(
        self,
        registry: Registry,
        authenticator: Authenticator,
        database: Database,
        writer: Writer,
        sockets: Sockets,
        *,
        tenant: str,
        preload: Callable[[], None] = lambda: None,
        limits: ChannelLimits | None = None,
    ) -> None:
        """`tenant`: the one that runs the server. `preload` is called as a browser connects."""
        authority = TokenAuthority(authenticator, tenant)
        self.desk = ChannelDesk(registry, authority, StoredEvents(database, writer), limits or ChannelLimits())
        self._sockets = sockets
        self._preload = preload
        self._timer: asyncio.TimerHandle | None = None
        self._described: str | None = None

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(
            TAG,
            "Browsers take part in sessions over a WebSocket; see /asyncapi.json.",
            operations_of(self),
            plain_error,
            PlainError,
            on_shutdown=self._sockets.close,
        )

    async def close(self) -> None:
        """Nobody can come back any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.desk.close()

    @operation(
        "GET",
        "/ws",
        summary="Connect to the signalling channel",
        tag=TAG,
        permission="ws.connect",
        status=101,
        errors=(426, 503),
    )
    async def connect(self, call: Call) -> web.StreamResponse:
        """JSON frames as /asyncapi.json says. The first one is `hello` with the token, unless the handshake had it."""
        request = call.request
        wanted = _protocols(request)
        if wanted and SUBPROTOCOL not in wanted:
            raise ApiError(400, "BAD_REQUEST", f"the sub-protocol is {SUBPROTOCOL}")
        socket = await self._sockets.accept(request, [SUBPROTOCOL] if wanted else [])
        self._preload()
        line = _Line(self, socket, _token(request, wanted))
        try:
            await line.serve()
        finally:
            self._sockets.forget(socket)
            line.lost()
            self._arm()
            await socket.finished()
        return socket.ws

    @operation(
        "GET",
        "/asyncapi.json",
        summary="Describe the signalling channel",
        tag=TAG,
        permission="ws.describe",
        examples={"200": {"asyncapi": "3.0.0"}},
    )
    async def describe(self, call: Call) -> Raw:
        """AsyncAPI 3.0, made from the models of commands and events."""
        if self._described is None:
            self._described = json.dumps(document())
        return Raw(self._described, JSON_TYPE)

    def _arm(self) -> None:
        """Set the timer for those who do not come back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.desk.deadline
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.desk.handle_timeout(asyncio.get_running_loop().time())
        self._arm()


class _Line:
    """One connection: its core, its socket, its timer, and what is being carried out for it."""

    def __init__(self, api: WebSocketApi, socket: Socket, token: str | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket
        self._core = ChannelConnection(api.desk, self._loop.time(), token=token, wake=self._wake)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        "When it is due; uvloop's timers cannot tell once they are."
        self._woken: asyncio.Handle | None = None
        self._over = False

    async def serve(self) -> None:
        """Until either side closes."""
        self._pump()
        ws, core = self._socket.ws, self._core
        while True:
            message = await ws.receive()
            if message.type is WSMsgType.TEXT:
                core.receive_text(message.data, self._loop.time())
            elif message.type is WSMsgType.BINARY:
                core.receive_binary(self._loop.time())
            else:
                return
            self._pump()

    def lost(self) -> None:
        """The connection is over. What was begun is not undone, and nobody hears of its result."""
        self._over = True
        self._core.lost(self._loop.time())
        for handle in (self._timer, self._woken):
            if handle is not None:
                handle.cancel()

    def _wake(self) -> None:
        """There is something to send, from within an event of a session: send it when that is over."""
        if self._woken is None and not self._over:
            self._woken = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Send, carry out, re-arm."""
        if self._woken is not None:
            self._woken.cancel()
            self._woken = None
        if self._over:
            return
        core = self._core
        for frame in core.data_to_send():
            self._socket.send(frame)
        for ask in core.asks():
            task = self._loop.create_task(self._carry_out(ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if core.close is not None:
            self._socket.close(*core.close)
        self._arm()

    def _arm(self) -> None:
        """A timer that is due too early only looks again: so it is set anew when it must come earlier, not always."""
        due = self._core.deadline
        if self._timer is not None:
            if due is not None and self._timer_at <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._core.handle_timeout(self._loop.time())
        self._pump()

    async def _carry_out(self, ask: Ask) -> None:
        answer: Any
        try:
            answer = await ask.run()
        except SignallingError as error:
            answer = error
        except Exception:  # a fault of ours costs this command and no other; the client is told
            log.exception("channel_command_failed", command=ask.command)
            answer = ChannelError("INTERNAL", "an error of the server", status=500)
        if ask.paced:
            await self._socket.drained()
        self._core.receive_answer(ask, answer, self._loop.time())
        self._pump()


class TokenAuthority:
    """The permissions of auth.PERMISSIONS for the commands of the channel (signalling.Authority)."""

    def __init__(self, authenticator: Authenticator, tenant: str) -> None:
        self._authenticator = authenticator
        self._tenant = tenant

    def known(self, token: str) -> Principal | None:
        """Whose token this is, when that can be said at once."""
        return self._authenticator.known(f"Bearer {token}")

    async def principal(self, token: str) -> Principal:
        """Whose token this is. ChannelError."""
        try:
            return await self._authenticator.authenticate(f"Bearer {token}")
        except ApiError as error:
            raise _refused(error) from error

    def may(self, principal: Principal, command: str, session: Session | None) -> None:
        """ChannelError when the matrix does not allow the command."""
        needs = PERMISSIONS[f"ws.{command}"]
        try:
            may_begin(principal, needs, self._tenant)
            if session is not None:
                require(principal, needs, session)
            if needs.scope and joins_only(principal) and (session is None or role_in(principal, session) is None):
                raise forbidden("the token is good for sessions that it has a role in")
        except ApiError as error:
            raise _refused(error) from error


class StoredEvents:
    """The events in the database (signalling.EventHistory)."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def events(self, session_id: str, after: int, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Bodies of the events whose `seq` is between both, in order. StoreUnavailable."""
        from ..store.queries.events import events_of

        await self._writer.settled()
        return await events_of(self._database, session_id, after=after, before=before, limit=limit)


def _refused(error: ApiError) -> ChannelError:
    return ChannelError(error.code, error.message, status=error.status)


def _protocols(request: web.Request) -> list[str]:
    return [part.strip() for part in request.headers.get(PROTOCOL_HEADER, "").split(",") if part.strip()]


def _token(request: web.Request, protocols: Sequence[str]) -> str | None:
    """The token of the handshake: the sub-protocol `token.…`, the query, or for programs the Authorization header."""
    for protocol in protocols:
        if protocol.startswith(TOKEN_SUBPROTOCOL):
            return protocol.removeprefix(TOKEN_SUBPROTOCOL)
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return request.query.get("token")
