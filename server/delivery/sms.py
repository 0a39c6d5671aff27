"""Invitations by text message through Twilio's HTTP API (`POST /2010-04-01/Accounts/{sid}/Messages.json`)."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

from .link import Message
from .vendor import Vendor

TWILIO_URL = "https://api.twilio.com"


class TwilioSms:
    """Sends text messages from a number (E.164), or from a messaging service (an id that begins with MG).

    There is no key against repeats: an attempt that had no answer may arrive twice.
    """

    def __init__(self, account_sid: str, auth_token: str, sender: str, *, base_url: str = TWILIO_URL) -> None:
        self._path = f"/2010-04-01/Accounts/{quote(account_sid, safe='')}/Messages.json"
        self._sender = ("MessagingServiceSid" if sender.startswith("MG") else "From", sender)
        basic = b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self._vendor = Vendor(base_url, headers={"Authorization": f"Basic {basic}", "User-Agent": "Ringway"})

    async def send(self, message: Message) -> None:
        """Form-encoded To, From and Body."""
        name, value = self._sender
        await self._vendor.post(self._path, data={"To": message.to, name: value, "Body": message.sms})

    async def close(self) -> None:
        """Close the connections."""
        await self._vendor.close()
