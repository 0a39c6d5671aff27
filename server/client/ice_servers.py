"""STUN and TURN servers for browsers.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from .transport import Group, Model


class IceServer(Model):
    """As `RTCPeerConnection` takes it."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


class IceServers(Model):
    """What goes into the configuration of an `RTCPeerConnection`."""

    iceServers: list[IceServer]
    expires_at: int | None = None
    """When the credentials end, in seconds since the epoch."""


class IceServersApi(Group):
    """STUN and TURN servers for browsers."""

    async def ice_servers(self) -> IceServers:
        """STUN and TURN servers for a browser's call. Those of the configuration; none by default. Credentials are
        made for who asks, and end at `expires_at`.
        """
        return await self.transport.ask(IceServers, "GET", "/api/ice-servers", {})
