"""An invitation in words: its link, and what a mail or a text message says. Its context is never among them (C10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Protocol

MAX_NAME = 60  # characters of a name in a message that goes to strangers; a longer one may be an advertisement


@dataclass(frozen=True, slots=True)
class Message:
    """One invitation on its way to one address."""

    id: str
    "The same at every attempt, another at every sending; at most 256 characters."
    invitation_id: str
    to: str
    inviter_name: str
    invitee_name: str | None
    url: str
    expires_at: float
    "Seconds since the epoch."

    @property
    def subject(self) -> str:
        """One line."""
        return f"{short(self.inviter_name)} invites you to a conversation"

    @property
    def text(self) -> str:
        """A mail without markup."""
        return (
            f"{self._greeting}\n\n"
            f"{short(self.inviter_name)} invites you to a conversation.\n\n"
            f"Accept or decline here:\n{self.url}\n\n"
            f"The invitation is open until {self.until}.\n"
        )

    @property
    def html(self) -> str:
        """The same with markup."""
        url, name = escape(self.url), escape(short(self.inviter_name))
        return (
            '<!doctype html><html lang="en"><body style="font-family:sans-serif;line-height:1.5">'
            f"<p>{escape(self._greeting)}</p><p><b>{name}</b> invites you to a conversation.</p>"
            f'<p><a href="{url}">Accept or decline</a></p>'
            f"<p>The invitation is open until {self.until}. If the link does not open, copy it:<br>{url}</p>"
            "</body></html>"
        )

    @property
    def sms(self) -> str:
        """A text message."""
        return f"{short(self.inviter_name)} invites you to a conversation: {self.url}"

    @property
    def until(self) -> str:
        """Until when it is open, to the minute."""
        return datetime.fromtimestamp(self.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")

    @property
    def _greeting(self) -> str:
        return "Hello," if self.invitee_name is None else f"Hello {short(self.invitee_name)},"


class Channel(Protocol):
    """A way for messages out of the server. Raises Refused or RetryLater (see outbox)."""

    async def send(self, message: Message) -> None:
        """Hand over one message; returns once the other side has taken it."""


def short(name: str) -> str:
    """`name` on one line, as long as it may be in a message."""
    line = "".join(char if char.isprintable() else " " for char in name)
    return line if len(line) <= MAX_NAME else f"{line[: MAX_NAME - 1]}…"


def link_of(template: str, invitation_id: str) -> str:
    """The link that leads to an invitation: `template` with the id in the place of `{id}`."""
    return template.replace("{id}", invitation_id)


def body_of(message: Message) -> Mapping[str, Any]:
    """What a program is told that delivers invitations itself."""
    return {
        "id": message.id,
        "kind": "invitation",
        "invitation": message.invitation_id,
        "to": message.to,
        "inviterName": message.inviter_name,
        "inviteeName": message.invitee_name,
        "url": message.url,
        "expiresAt": datetime.fromtimestamp(message.expires_at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
    }
