"""Calls between two numbers, made and watched.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter

from .transport import Group, Model


class CallItem(Model):
    """One caller-callee pair (D2)."""

    caller: str
    caller_display_name: str | None
    callee: str
    trunk: str | None
    started_at: datetime
    talking_time: int
    """Whole seconds since the answer, 0 before (D17)."""


class CreateQuery(Model):
    """How to create."""

    dry_run: bool = False
    """1: say what would be sent, and send nothing."""


class CreateSession(Model):
    """A call to make (D3). Unknown fields are ignored; null stands for an absent optional field."""

    caller: str
    """Extension or number that is rung first."""
    callee: str
    """Extension or number that is rung once the caller has answered."""
    send_sdp: bool
    """true: the caller's INVITE carries our offer; false: none, and the caller offers (D12)."""
    caller_display_name: str | None = None
    trunk: str | None = None
    """Name of the trunk to use for what is not an extension."""
    rewrite_from: str | None = None
    """User part of From on calls through `trunk`; ignored without one (D14)."""
    rewrite_pai: str | None = None
    """User part of P-Asserted-Identity on calls through `trunk`; added if need be (D15)."""
    rewrite_rpi: str | None = None
    """User part of Remote-Party-ID on calls through `trunk`; added if need be (D15)."""
    user_data: str | None = None
    """Kept with the call record."""
    target: str | None = None
    """Contact URI or host:port of the one phone of the caller that rings (D21)."""
    target_instance_id: str | None = None
    """`+sip.instance` of the one phone of the caller that rings (D21)."""
    target_extension_number: str | None = None
    """Extension whose phones ring in the caller's place (D21)."""
    additional_header: (
        Literal[
            "ANSWER_MODE", "CALL_INFO", "ALERT_INFO_AUTO_ANSWER_DELAY0", "ALERT_INFO_AUTO_ANSWER", "ALERT_INFO_INTERCOM"
        ]
        | None
    ) = None
    """Header that makes a phone answer by itself (D5)."""
    header_direction: Literal["CALLER", "CALLEE", "ALL"] | None = None
    """Whose INVITE gets it: CALLER if left out (D13); ignored without `additional_header`."""


class DryRunHeader(Model):
    """One header of an INVITE and what made it."""

    header: str
    value: str
    rule: str


class DryRunSkipped(Model):
    """A trunk that was not chosen."""

    trunk: str
    reason: str


class DryRunLegItem(Model):
    """One INVITE that would be sent."""

    role: str
    """CALLER or CALLEE."""
    trunk: str | None
    why: str
    """What led to this way."""
    invite: str
    """The whole message."""
    headers: list[DryRunHeader]
    why_not: list[DryRunSkipped]
    also: list[str]
    """Other Request-URIs that would ring at the same time."""


class DryRunReport(Model):
    """What a request would send; nothing was sent."""

    dry_run: bool
    legs: list[DryRunLegItem]
    notes: list[str]


class ListQuery(Model):
    """Which part of a list (D23)."""

    skip: int = 0
    """How many to leave out."""
    top: int = 100
    """How many to give at most."""


class SessionId(Model):
    """The session that was created or commanded."""

    id: str


class SessionItem(Model):
    """A session with its calls (D4)."""

    id: str
    calls: list[CallItem]


class SessionList(Model):
    """Active sessions, oldest first; `count` is their total whatever part is shown (D1)."""

    count: int
    items: list[SessionItem]


_CREATE_SESSION: TypeAdapter[SessionId | DryRunReport] = TypeAdapter(SessionId | DryRunReport)


class PbxApi(Group):
    """Calls between two numbers, made and watched."""

    async def list_sessions(self, query: ListQuery | None = None) -> SessionList:
        """List current active call sessions. Active sessions only, oldest first: those that the token has a role in."""
        return await self.transport.ask(SessionList, "GET", "/api/sessions", {}, query=query)

    async def create_session(
        self, body: CreateSession, query: CreateQuery | None = None, *, idempotency_key: str | None = None
    ) -> SessionId | DryRunReport:
        """Create call session. Rings the caller, on answer the callee, and joins them. Answers at once, before
        anybody has.
        """
        return await self.transport.ask(
            _CREATE_SESSION, "POST", "/api/sessions", {}, body=body, query=query, idempotency_key=idempotency_key
        )

    async def create_directly(self) -> SessionId:
        """Create call session by an extension's password. Not offered: a password in a URL ends up in logs and
        histories. Use POST /api/sessions.
        """
        return await self.transport.ask(SessionId, "GET", "/api/sessions/directly", {})

    async def get_session(self, id: str) -> SessionItem:
        """Retrieve call session by ID. An ended session is found, in its last state, while it is retained."""
        return await self.transport.ask(SessionItem, "GET", "/api/sessions/{id}", {"id": id})

    async def destroy_session(self, id: str) -> SessionId:
        """End call session. Hangs up every leg."""
        return await self.transport.ask(SessionId, "POST", "/api/sessions/{id}/destroy", {"id": id})

    async def call_into_session(self, id: str, body: CreateSession) -> SessionId:
        """Call into a session. As 'Create call session', in a session that has no call now: both parties take part
        in it once they answer, and it goes on when they hang up. Who has media there already hears them, and is not
        rung as the caller. Ours; 409 while a call goes on, 400 while it is paused.
        """
        return await self.transport.ask(SessionId, "POST", "/api/sessions/{id}/calls", {"id": id}, body=body)

    async def hold_session(self, id: str) -> SessionId:
        """Hold call session. Stops the media of every leg."""
        return await self.transport.ask(SessionId, "POST", "/api/sessions/{id}/hold", {"id": id})

    async def unhold_session(self, id: str) -> SessionId:
        """Resume held call session. Lets the media of every leg go on."""
        return await self.transport.ask(SessionId, "POST", "/api/sessions/{id}/unhold", {"id": id})

    async def refer_session(self, id: str) -> SessionId:
        """Transfer call session. Not offered yet."""
        return await self.transport.ask(SessionId, "POST", "/api/sessions/{id}/refer", {"id": id})
