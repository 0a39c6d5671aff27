"""SIP over WebSocket (RFC 7118): `GET /sip` with the sub-protocol `sip`, for JsSIP, SIP.js and their like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from ..errors import ApiError
from .health import PlainError, plain_error
from .openapi import Call, Dialect, operation, operations_of
from .sockets import Sockets

TAG = "SIP over WebSocket"
SUBPROTOCOL = "sip"
FIRST_MESSAGE_S = 30.0  # for a new connection to bring its first message


class SipFlow(Protocol):
    """A connection as SIP sees it."""

    closed: bool


class SipDoor(Protocol):
    """Where SIP takes connections that it has not accepted itself."""

    def connect(
        self,
        *,
        local: tuple[str, int],
        remote: tuple[str, int],
        secure: bool,
        write: Callable[[bytes], None],
    ) -> SipFlow:
        """A new connection."""

    def receive(self, data: bytes, flow: Any) -> None:
        """One frame of it."""

    def lost(self, flow: Any) -> None:
        """It is gone: what hung on it ends."""


class SipWebSocketApi:
    """Carries frames between browsers and the SIP stack."""

    def __init__(self, door: SipDoor, sockets: Sockets) -> None:
        self._door = door
        self._sockets = sockets

    def dialect(self) -> Dialect:
        """The route of this API."""
        return Dialect(
            TAG,
            "Softphones in browsers.",
            operations_of(self),
            plain_error,
            PlainError,
            on_shutdown=self._sockets.close,
        )

    @operation(
        "GET",
        "/sip",
        summary="Connect a SIP softphone",
        tag=TAG,
        permission="sip.connect",
        status=101,
        errors=(426, 503),
    )
    async def connect(self, call: Call) -> web.StreamResponse:
        """One SIP message a frame, text or binary. Phones prove who they are as all phones do, by digest."""
        request = call.request
        wanted = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if SUBPROTOCOL not in wanted:
            raise ApiError(400, "BAD_REQUEST", "ask for the sub-protocol sip (RFC 7118 §4)")
        socket = await self._sockets.accept(request, [SUBPROTOCOL])
        binary = False

        def write(data: bytes) -> None:
            if binary:
                socket.send(data)
                return
            try:
                socket.send(data.decode())
            except UnicodeDecodeError:  # Latin-1 somewhere: a text frame cannot carry it
                socket.send(data)

        flow = self._door.connect(
            local=_address(request, "sockname"),
            remote=_address(request, "peername"),
            secure=request.secure,
            write=write,
        )
        ws = socket.ws
        patience: float | None = FIRST_MESSAGE_S
        try:
            while True:
                message = await ws.receive(patience)
                patience = None
                if message.type is WSMsgType.TEXT:
                    binary = False
                    self._door.receive(message.data.encode("utf-8", "surrogatepass"), flow)
                elif message.type is WSMsgType.BINARY:
                    binary = True
                    self._door.receive(message.data, flow)
                else:
                    break
        except TimeoutError:
            socket.close(WSCloseCode.POLICY_VIOLATION, "no message")
        finally:
            self._sockets.forget(socket)
            self._door.lost(flow)
            await socket.finished()
        return ws


def _address(request: web.Request, which: str) -> tuple[str, int]:
    """One end of the connection; an unknown one when it is gone already, or no internet address."""
    known = None if request.transport is None else request.transport.get_extra_info(which)
    return (str(known[0]), int(known[1])) if isinstance(known, tuple) and len(known) >= 2 else ("0.0.0.0", 0)
