"""SIP over WebSocket (RFC 7118): a flow on a connection that an HTTP server has accepted."""

from __future__ import annotations

from collections.abc import Callable

from .base import host_port

SUBPROTOCOL = "sip"
PING = b"\r\n\r\n"
PONG = b"\r\n"


class WebSocketFlow:
    """One browser's connection. Each message is a frame of its own, so that there is nothing to be framed."""

    __slots__ = ("_write", "closed", "local", "remote", "secure", "sent_by")

    reliable = True

    def __init__(
        self,
        *,
        local: tuple[str, int],
        remote: tuple[str, int],
        secure: bool,
        write: Callable[[bytes], None],
    ) -> None:
        """`write` takes one message and never waits."""
        self.local = local
        self.remote = remote
        self.secure = secure
        self.sent_by = host_port(*local)
        self.closed = False
        self._write = write

    @property
    def transport(self) -> str:
        """`WS`, or `WSS` over TLS, as it stands in a Via."""
        return "WSS" if self.secure else "WS"

    def send(self, data: bytes) -> None:
        """Send one message."""
        if not self.closed:
            self._write(data)
