"""Invitations by e-mail through Resend's HTTP API (`POST /emails`)."""

from __future__ import annotations

from .link import Message
from .vendor import AGAIN, Vendor

RESEND_URL = "https://api.resend.com"
ANOTHER_UNDER_WAY = frozenset({409})
"`concurrent_idempotent_requests`: the same mail is being taken at this moment. The message of a key never changes."


class ResendMail:
    """Sends mail. `sender`: an address of a domain that is verified there, or `Name <address>`."""

    def __init__(self, api_key: str, sender: str, *, base_url: str = RESEND_URL) -> None:
        self._sender = sender
        self._vendor = Vendor(base_url, headers={"Authorization": f"Bearer {api_key}", "User-Agent": "Ringway"})

    async def send(self, message: Message) -> None:
        """A repeat of a message within a day is taken and not sent again: the key is the message's id."""
        await self._vendor.post(
            "/emails",
            headers={"Idempotency-Key": message.id},
            again=AGAIN | ANOTHER_UNDER_WAY,
            json={
                "from": self._sender,
                "to": [message.to],
                "subject": message.subject,
                "html": message.html,
                "text": message.text,
            },
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._vendor.close()
