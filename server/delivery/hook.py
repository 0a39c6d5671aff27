"""[io] Invitations handed to a program of the operator's, which delivers them in its own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import time

from .link import Message, body_of
from .vendor import Vendor
from .webhook import signature


class InvitationHook:
    """POSTs each invitation as JSON to one address, signed as webhooks are."""

    def __init__(self, url: str, secret: str | None, *, clock: Callable[[], float] = time) -> None:
        self._secret = secret
        self._clock = clock
        self._vendor = Vendor(url, headers={"User-Agent": "Ringway"})

    async def send(self, message: Message) -> None:
        """The id is the same at every attempt, for whoever must not deliver twice."""
        body = json.dumps(body_of(message)).encode()
        at = str(int(self._clock()))
        headers = {"Content-Type": "application/json", "Ringway-Id": message.id, "Ringway-Timestamp": at}
        if self._secret is not None:
            headers["Ringway-Signature"] = signature(self._secret, at, body)
        await self._vendor.post("", headers=headers, data=body)

    async def close(self) -> None:
        """Close the connections."""
        await self._vendor.close()
