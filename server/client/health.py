"""Whether the server lives, and takes calls.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from .transport import Group, Model


class Health(Model):
    """The state of the server."""

    status: str


class HealthApi(Group):
    """Whether the server lives, and takes calls."""

    async def healthz(self) -> Health:
        """Is the process alive?. Answers as long as the event loop turns."""
        return await self.transport.ask(Health, "GET", "/healthz", {})

    async def readyz(self) -> Health:
        """Does the server take calls?. 503 while it starts and once it is told to stop."""
        return await self.transport.ask(Health, "GET", "/readyz", {})
