"""What the dialects need of the live sessions, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from signalling import DryRun, OriginateRequest, Principal


class CallView(Protocol):
    """One caller-callee pair."""

    @property
    def caller(self) -> str:
        """Number of the caller."""

    @property
    def caller_display_name(self) -> str | None:
        """Its name, if one was given."""

    @property
    def callee(self) -> str:
        """Number of the callee."""

    @property
    def trunk(self) -> str | None:
        """Name of the trunk it goes through."""

    @property
    def started_at(self) -> datetime:
        """When the first INVITE went out or came in."""

    @property
    def talking_time_s(self) -> int:
        """Whole seconds since the answer, 0 before."""


class SessionView(Protocol):
    """A session, live or retained. Commands raise signalling.WrongState when they make no sense now."""

    @property
    def id(self) -> str:
        """Unique for ever."""

    @property
    def tenant(self) -> str:
        """account/app."""

    @property
    def channel_id(self) -> str:
        """Its channel."""

    @property
    def host(self) -> str | None:
        """Id of the user who may end it."""

    @property
    def owner(self) -> str | None:
        """Principal.owner of who started it."""

    @property
    def ended(self) -> bool:
        """Whether it is over."""

    @property
    def calls(self) -> Sequence[CallView]:
        """Its calls, oldest first."""

    async def end(self, *, by: str | None = ..., cause: str = ...) -> None:
        """End it and all its legs."""

    async def hold(self) -> None:
        """Stop the media of every leg."""

    async def unhold(self) -> None:
        """Let the media go on."""


class LiveSessions(Protocol):
    """The registry of sessions. Refusals are signalling.SignallingError."""

    async def originate(self, request: OriginateRequest, principal: Principal, session: Any = None, /) -> SessionView:
        """Start a call, in a session of its own or in one of `get`: ring the caller, then the callee.

        Returns before anybody answered.
        """

    async def dry_run(self, request: OriginateRequest, principal: Principal) -> DryRun:
        """What `originate` would send; sends nothing."""

    def sessions(self) -> Sequence[SessionView]:
        """The active ones, oldest first."""

    def get(self, session_id: str, /) -> SessionView | None:
        """The one of that id, active or retained."""
