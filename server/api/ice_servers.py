"""STUN and TURN servers for browsers, with credentials that expire (the REST scheme of coturn)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1

from pydantic import Field

from ..sections import IceServer as Configured
from ..sections import WebRtc
from .health import PlainError, plain_error
from .model import Model
from .openapi import Call, Dialect, operation, operations_of

TAG = "ICE servers"


class IceServer(Model):
    """As `RTCPeerConnection` takes it."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


class IceServers(Model):
    """What goes into the configuration of an `RTCPeerConnection`."""

    iceServers: list[IceServer]
    expires_at: int | None = Field(None, description="When the credentials end, in seconds since the epoch.")


class IceServerBook:
    """Those of the configuration, as they are handed out."""

    def __init__(self, config: WebRtc, *, clock: Callable[[], float]) -> None:
        """`clock`: seconds since the epoch."""
        self._config = config
        self._clock = clock

    @property
    def configured(self) -> bool:
        """Whether there are any."""
        return bool(self._config.ice_servers)

    def handed_to(self, name: str) -> IceServers:
        """With credentials for whoever bears this name."""
        expires_at = int(self._clock()) + self._config.credential_lifetime_s
        servers = self._config.ice_servers
        return IceServers(
            iceServers=[_for_browser(server, f"{expires_at}:{name}") for server in servers],
            expires_at=expires_at if any(server.secret for server in servers) else None,
        )


class IceServersApi:
    """Hands them out to tokens."""

    def __init__(self, book: IceServerBook) -> None:
        self._book = book

    def dialect(self) -> Dialect:
        """The route of this API."""
        about = "STUN and TURN servers for browsers."
        return Dialect(TAG, about, operations_of(self), plain_error, PlainError, omit_none=True)

    @operation(
        "GET",
        "/api/ice-servers",
        summary="STUN and TURN servers for a browser's call",
        tag=TAG,
        permission="ice-servers",
    )
    async def ice_servers(self, call: Call) -> IceServers:
        """Those of the configuration; none by default. Credentials are made for who asks, and end at `expires_at`."""
        return self._book.handed_to(call.principal.user or call.principal.name)


def _for_browser(server: Configured, username: str) -> IceServer:
    if server.secret is not None:
        return IceServer(urls=server.urls, username=username, credential=password_of(server, username))
    fixed = server.credential.get_secret_value() if server.credential is not None else None
    return IceServer(urls=server.urls, username=server.username, credential=fixed)


def password_of(server: Configured, username: str) -> str:
    """What a TURN server that knows the secret expects of `username`, which begins with the time of its end."""
    assert server.secret is not None
    return b64encode(hmac.digest(server.secret.get_secret_value().encode(), username.encode(), sha1)).decode()
