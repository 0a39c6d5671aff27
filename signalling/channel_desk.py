"""All connections of the signalling channel: who takes part by which, who is awaited back, and whose browsers ring.

A user takes part in a session by a *stay*: joined over one connection, taken over by the next with `resume`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .browser_calls import BrowserLine, BrowserRinging
from .channel_frames import encoded
from .errors import ChannelError, LimitReached
from .events import Happening, ParticipantLeft, SessionEnded, event_body

if TYPE_CHECKING:
    from .browser_calls import Hear
    from .channel import ChannelConnection
    from .legs import MediaLeg
    from .participants import Participant
    from .registry import Registry
    from .routing import Principal
    from .session import Session


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """What a connection may do, and how long things last; seconds."""

    hello_s: float = 10.0
    "From the handshake until the token has been accepted."
    ping_s: float = 25.0
    "Of silence, until the server asks whether the client is there."
    pong_s: float = 10.0
    grace_s: float = 30.0
    "That a user stays in its sessions without a connection."
    check_s: float = 3.0
    "Between two looks at whether the token is still valid."
    rate: float = 20.0
    "Frames a second that a client may go on sending."
    burst: float = 100.0
    "Frames that it may send at once; as many more are refused before the connection closes."
    sessions: int = 16
    "That one connection takes part in at the same time."


class Authority(Protocol):
    """Whose a token is, and what it is good for."""

    def known(self, token: str) -> Principal | None:
        """Whose token this is, when that can be said at once."""

    async def principal(self, token: str) -> Principal:
        """Whose token this is. SignallingError: of status 401 when it is nobody's, no longer, or not valid yet."""

    def may(self, principal: Principal, command: str, session: Session | None) -> None:
        """Whether a command is allowed, in `session` where it is about one. SignallingError if not."""


class EventHistory(Protocol):
    """The events that are no longer in memory."""

    async def events(self, session_id: str, after: int, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Bodies of the events whose `seq` is between both, in order. SignallingError."""


class Stay:
    """A user's part in a session by way of the channel."""

    __slots__ = ("behind", "connection", "line", "participant", "seen", "session")

    def __init__(
        self, session: Session, participant: Participant, connection: ChannelConnection, line: BrowserLine
    ) -> None:
        self.session = session
        self.participant = participant
        self.connection: ChannelConnection | None = connection
        "None while the user may come back, and once another stay took its place."
        self.line = line
        "For the user's media; a stay that takes this one's place goes on with it."
        self.seen = 0
        "`seq` of the last event that the client was sent."
        self.behind = False
        "What it missed is being sent: until that is done, newer events wait in the session's memory."


class ChannelDesk:
    """All connections of the channel, and the stays of their users."""

    def __init__(
        self, registry: Registry, authority: Authority, history: EventHistory, limits: ChannelLimits = ChannelLimits()
    ) -> None:
        self.registry = registry
        self.authority = authority
        self.history = history
        self.limits = limits
        self.connections: set[ChannelConnection] = set()
        self._stays: dict[str, dict[str, Stay]] = {}
        "Session id -> user -> stay."
        self._lost: OrderedDict[Stay, float] = OrderedDict()
        "Stays without a connection -> when they end, the first to end first."
        self._here: dict[tuple[str, str], list[ChannelConnection]] = {}
        "Tenant and user -> connections whose token was accepted."
        self._ringing: dict[str, BrowserRinging] = {}
        "By the call's id."
        self._newest: tuple[int, str] = (0, "")
        registry.switch.browsers = self
        registry.bus.follow(self.follow)

    def stay(self, session: Session, user: str) -> Stay | None:
        """A user's stay, with or without a connection."""
        return self._stays.get(session.id, {}).get(user)

    def seat(self, connection: ChannelConnection, session: Session, participant: Participant) -> Stay:
        """From now on the participant is here by this connection, and no longer by another. LimitReached."""
        self.check_room(connection, session)
        before = self.stay(session, participant.user)
        if before is not None:
            self._lost.pop(before, None)
            if before.connection is not None and before.connection is not connection:
                del before.connection.stays[session.id]
                before.connection.tell_notice("TAKEN_OVER", session.id, "the user resumed the session elsewhere")
            before.connection = None
        line = BrowserLine(session.id, connection) if before is None else before.line
        stay = Stay(session, participant, connection, line)
        self._stays.setdefault(session.id, {})[participant.user] = stay
        connection.stays[session.id] = stay
        line.moved(connection)
        return stay

    def check_room(self, connection: ChannelConnection, session: Session | None = None) -> None:
        """Whether it can take part in a session: in one more, unless it takes part already. LimitReached."""
        if session is not None and session.id in connection.stays:
            return
        if len(connection.stays) >= self.limits.sessions:
            raise LimitReached(f"{self.limits.sessions} sessions are the limit of a connection")

    def lost(self, connection: ChannelConnection, now: float) -> None:
        """A connection is gone: its user stays for the grace period, and may come back by another."""
        self.connections.discard(connection)
        here = self._here.get(_owner(connection), [])
        if connection in here:
            here.remove(connection)
            if not here:
                del self._here[_owner(connection)]
        for ringing in self._ringing_for(connection):
            ringing.lost(connection)
        for stay in connection.stays.values():
            stay.connection = None
            self._lost[stay] = now + self.limits.grace_s
            stay.line.lost()
        connection.stays = {}

    # Calls to browsers (signalling.ports.BrowserPort).

    def admit(self, connection: ChannelConnection) -> None:
        """Its token was accepted: calls for its user ring there from now on, those that ring already too."""
        self._here.setdefault(_owner(connection), []).append(connection)
        for ringing in self._ringing_for(connection):
            ringing.ring(connection)

    def reaches(self, tenant: str, user: str) -> bool:
        """Whether a user is connected."""
        return (tenant, user) in self._here

    def ring(self, tenant: str, user: str, frame: Mapping[str, Any], media: MediaLeg, listener: Hear) -> BrowserRinging:
        """Ring all browsers of a user that are connected; `frame` as BrowserRinging says."""
        ringing = BrowserRinging((tenant, user), frame, media, listener)
        self._ringing[ringing.call_id] = ringing
        ringing.on_over = self._rings_no_more
        ringing.start(self._here.get((tenant, user), ()))
        return ringing

    def ringing(self, connection: ChannelConnection, call_id: str) -> BrowserRinging:
        """An incoming call of the connection's user. ChannelError when it does not ring, or no longer."""
        ringing = self._ringing.get(call_id)
        if ringing is None or ringing.owner != _owner(connection):
            raise ChannelError("UNKNOWN_CALL", "no such call rings here", status=404)
        return ringing

    def _rings_no_more(self, ringing: BrowserRinging) -> None:
        self._ringing.pop(ringing.call_id, None)

    def _ringing_for(self, connection: ChannelConnection) -> list[BrowserRinging]:
        owner = _owner(connection)
        return [ringing for ringing in self._ringing.values() if ringing.owner == owner]

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` is due; None while nobody is awaited back."""
        return next(iter(self._lost.values()), None)

    def handle_timeout(self, now: float) -> None:
        """Who did not come back in time leaves."""
        while (deadline := self.deadline) is not None and now >= deadline:
            stay, _ = self._lost.popitem(last=False)
            self._leave(stay)

    def close(self) -> None:
        """The server stops: nobody can come back to this process, so all leave."""
        for stays in list(self._stays.values()):
            for stay in list(stays.values()):
                self._leave(stay)
        self._lost.clear()
        self.registry.bus.unfollow(self.follow)

    def counts(self) -> dict[str, int]:
        """Connections, and stays with and without one."""
        return {
            "connections": len(self.connections),
            "stays": sum(map(len, self._stays.values())),
            "stays_lost": len(self._lost),
            "ringing": len(self._ringing),
        }

    def _leave(self, stay: Stay) -> None:
        if stay.line.call is not None:
            stay.line.call.expire()
        if not stay.session.ended and stay.participant.left_at is None:
            stay.session.leave(stay.participant.user)
        self._drop(stay)

    def _drop(self, stay: Stay) -> None:
        """The stay is over."""
        session_id, user = stay.session.id, stay.participant.user
        stays = self._stays.get(session_id, {})
        if stays.get(user) is stay:
            del stays[user]
            if not stays:
                del self._stays[session_id]
        self._lost.pop(stay, None)
        if stay.connection is not None:
            stay.connection.stays.pop(session_id, None)

    # Events.

    def follow(self, happening: Happening) -> None:
        """An event of any session: a follower of the bus."""
        stays = self._stays.get(happening.session.id)
        if stays is None:
            return
        for stay in tuple(stays.values()):
            if stay.connection is not None:
                stay.connection.happened(stay, happening)
            if _ends(happening, stay):
                self._drop(stay)

    def event_frame(self, happening: Happening) -> str:
        """An event as all clients get it; encoded once for those that get it at the same time."""
        position, text = self._newest
        if position != happening.position:
            text = encoded({"type": "event", "event": event_body(happening)})
            self._newest = happening.position, text
        return text


def _owner(connection: ChannelConnection) -> tuple[str, str]:
    """Tenant and user of a connection; of nobody before its token was accepted."""
    principal = connection.principal
    return ("" if principal is None else principal.tenant, connection.user)


def _ends(happening: Happening, stay: Stay) -> bool:
    """Whether this is the last event of a stay. At the end of a session everybody leaves before it says so."""
    if happening.kind is SessionEnded:
        return True
    left = happening.kind is ParticipantLeft and happening.fields["participant"] == stay.participant.index
    return left and not happening.session.ended
