"""[io] What every WebSocket of the server shares: who may open one, how many there may be, and how frames leave."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, hdrs, web

from ..errors import ApiError

MAX_FRAME = 64 * 1024  # bytes; larger than any message of ours or of a softphone
MAX_UNSENT = 256  # frames that a reader may owe us; one that reads so little is cut, not waited for
HEARTBEAT_S = 25.0  # a ping; without its pong within half of that the peer is dead
CLOSE_S = 2.0  # for the close handshake


class Sockets:
    """The open WebSockets of one kind, within limits."""

    def __init__(
        self, *, origins: Iterable[str] = (), max_sockets: int = 10_000, max_sockets_per_source: int = 200
    ) -> None:
        """`origins`: web pages that may connect besides our own; "*" for all. Programs send no Origin."""
        self._origins = frozenset(origins)
        self._max = max_sockets
        self._max_per_source = max_sockets_per_source
        self._open: set[Socket] = set()
        self._per_source: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    async def accept(self, request: web.Request, protocols: Iterable[str]) -> Socket:
        """Upgrade a request. ApiError 426 when it is none, 403 for a foreign page, 503 when there are too many."""
        ws = web.WebSocketResponse(
            protocols=tuple(protocols),
            max_msg_size=MAX_FRAME,
            heartbeat=HEARTBEAT_S,
            compress=False,  # what is compressed beside a secret can be guessed, and costs memory for each peer
            timeout=CLOSE_S,
        )
        if not ws.can_prepare(request):
            raise ApiError(426, "UPGRADE_REQUIRED", "connect with a WebSocket", headers={"Upgrade": "websocket"})
        self._check_origin(request)
        source = request.remote or ""
        if len(self._open) >= self._max or self._per_source[source] >= self._max_per_source:
            raise ApiError(503, "LIMIT_REACHED", "too many connections", headers={"Retry-After": "5"})
        self._per_source[source] += 1
        try:
            await ws.prepare(request)
        except BaseException:
            self._leave(source)
            raise
        socket = Socket(ws, request)
        self._open.add(socket)
        return socket

    def forget(self, socket: Socket) -> None:
        """It is closed."""
        if socket in self._open:
            self._open.remove(socket)
            self._leave(socket.source)

    def close(self) -> None:
        """The server stops: close them all."""
        for socket in list(self._open):
            socket.close(WSCloseCode.GOING_AWAY, "the server stops")

    def _leave(self, source: str) -> None:
        self._per_source[source] -= 1
        if not self._per_source[source]:
            del self._per_source[source]

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or "*" in self._origins or origin in self._origins:
            return
        if urlsplit(origin).netloc.lower() != request.host.lower():
            raise ApiError(403, "FORBIDDEN", "this page may not connect; see server.websocket_origins")


class Socket:
    """One open WebSocket: frames are queued, and leave in order."""

    def __init__(self, ws: web.WebSocketResponse, request: web.Request) -> None:
        self.ws = ws
        self.source = request.remote or ""
        self._request = request
        self._unsent: asyncio.Queue[str | bytes | tuple[int, str] | asyncio.Future[None]] = asyncio.Queue(MAX_UNSENT)
        self._closing = False
        self._writer = asyncio.get_running_loop().create_task(self._write())

    def send(self, frame: str | bytes) -> None:
        """Queue one frame. A reader that does not read is cut."""
        if self._closing:
            return
        try:
            self._unsent.put_nowait(frame)
        except asyncio.QueueFull:
            self.cut()

    async def drained(self) -> None:
        """Wait until what is queued has left; at once when nothing leaves any more."""
        mark = asyncio.get_running_loop().create_future()
        try:
            if self._closing:
                return
            self._unsent.put_nowait(mark)
        except asyncio.QueueFull:
            self.cut()
            return
        await asyncio.wait([mark, self._writer], return_when=asyncio.FIRST_COMPLETED)

    def close(self, code: int = WSCloseCode.OK, reason: str = "") -> None:
        """Close once what is queued has left."""
        if self._closing:
            return
        self._closing = True
        try:
            self._unsent.put_nowait((code, reason))
        except asyncio.QueueFull:
            self.cut()

    def cut(self) -> None:
        """Drop the connection at once."""
        self._closing = True
        self._writer.cancel()
        if self._request.transport is not None:
            self._request.transport.abort()

    async def finished(self) -> None:
        """The reader is done: stop the writer, and close if nobody has."""
        self._closing = True
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        if not self.ws.closed:
            await self.ws.close()

    async def _write(self) -> None:
        while True:
            frame = await self._unsent.get()
            try:
                if isinstance(frame, str):
                    await self.ws.send_str(frame)
                elif isinstance(frame, bytes):
                    await self.ws.send_bytes(frame)
                elif isinstance(frame, asyncio.Future):
                    frame.set_result(None)
                else:
                    await self.ws.close(code=frame[0], message=frame[1].encode())
                    return
            except (ConnectionError, RuntimeError):  # the peer is gone; the reader notices
                return
