"""A registry of sessions that are only told about: what the API needs, and nothing behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from server.api.live import LiveSessions, SessionView
from signalling import (
    DEFAULT_TENANT,
    DryRun,
    DryRunLeg,
    LimitReached,
    NotAllowed,
    OriginateRequest,
    Principal,
    SignallingError,
    TrunkUnavailable,
    WrongState,
)

FIRST_ID = 700551909773148160


@dataclass
class FakeCall:
    """A call as written."""

    caller: str
    callee: str
    caller_display_name: str | None = None
    trunk: str | None = None
    started_at: datetime = datetime(2026, 3, 1, 12, 30, 5, 999_999, tzinfo=UTC)
    talking_time_s: int = 0


@dataclass
class FakeSession:
    """A session that does what it is told and remembers it."""

    id: str
    calls: list[FakeCall]
    owner: str | None = None
    ended: bool = False
    held: bool = False
    tenant: str = DEFAULT_TENANT
    channel_id: str = "none"
    host: str | None = None

    async def end(self, *, by: str | None = None, cause: str = "") -> None:
        self._must_live()
        self.ended = True

    async def hold(self) -> None:
        self._must_live()
        self.held = True

    async def unhold(self) -> None:
        self._must_live()
        if not self.held:
            raise WrongState("the session is not held")
        self.held = False

    def _must_live(self) -> None:
        if self.ended:
            raise WrongState("the session has ended")


@dataclass
class FakeRegistry:
    """Numbers starting with 9 are refused (403), trunk "down" is down, "slow" waits for `release`."""

    requests: list[OriginateRequest] = field(default_factory=list)
    by_id: dict[str, FakeSession] = field(default_factory=dict)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: Exception | None = None

    async def originate(
        self, request: OriginateRequest, principal: Principal, session: object = None, /
    ) -> FakeSession:
        self._refuse(request)
        self.requests.append(request)
        self.asked.set()
        if request.trunk == "slow":
            await self.release.wait()
        session = FakeSession(
            str(884757570370146304 + len(self.requests)),
            [FakeCall(request.caller, request.callee, request.caller_display_name, request.trunk)],
            owner=principal.owner,
        )
        self.by_id[session.id] = session
        return session

    async def dry_run(self, request: OriginateRequest, principal: Principal) -> DryRun:
        self._refuse(request)
        leg = DryRunLeg(
            role="CALLER",
            trunk=request.trunk,
            why="1001 is a number of this server",
            invite="INVITE sip:1001@127.0.0.1 SIP/2.0\r\n\r\n",
            headers=(("From", "<sip:1002@127.0.0.1>", "caller"),),
            why_not=(("other", "the request names another"),),
        )
        return DryRun((leg,), ("a note",))

    def sessions(self) -> Sequence[SessionView]:
        return [session for session in self.by_id.values() if not session.ended]

    def get(self, session_id: str, /) -> SessionView | None:
        return self.by_id.get(session_id)

    def _refuse(self, request: OriginateRequest) -> None:
        if self.refusal is not None:
            raise self.refusal
        if request.callee.startswith("9"):
            raise NotAllowed("token test may not dial that")
        if request.trunk == "down":
            raise TrunkUnavailable("trunk down is unavailable: down")

    def add(self, *calls: FakeCall, owner: str | None = None, ended: bool = False) -> FakeSession:
        """A session that is there already."""
        session = FakeSession(str(FIRST_ID + len(self.by_id)), list(calls), owner=owner, ended=ended)
        self.by_id[session.id] = session
        return session


def full() -> SignallingError:
    """The refusal of a server at its limit."""
    return LimitReached("5000 sessions are the limit", retry_after_s=7)


_conforms: type[LiveSessions] = FakeRegistry
