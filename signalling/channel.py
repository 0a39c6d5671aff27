"""The signalling channel of browsers, without I/O: connections, who takes part by which, and what each is told.

A ChannelConnection has the doors of every core: `receive_text`, `handle_timeout`, `deadline`, `data_to_send`, and
`asks`: what only the outside can carry out, each of which is brought back by `receive_answer`. The ChannelDesk knows
all of them, follows the events, and lets a user whose connection was lost stay for a while.

A user takes part in a session by a *stay*: joined over one connection, taken over by the next with `resume`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .channel_commands import HANDLERS, Ask, described
from .channel_frames import (
    CLOSE_GOING_AWAY,
    CLOSE_NO_TEXT,
    CLOSE_SILENT,
    CLOSE_TOO_BIG,
    CLOSE_TOO_FAST,
    CLOSE_TRY_LATER,
    CLOSE_UNAUTHORIZED,
    CLOSE_VERSION,
    MAX_FRAME,
    VERSION,
    AnyCommand,
    ChannelError,
    Hello,
    Ping,
    Pong,
    RefusedFrame,
    encoded,
    parse,
)
from .errors import LimitReached, SignallingError
from .events import Happening, ParticipantLeft, SessionEnded, event_body

if TYPE_CHECKING:
    from .participants import Participant
    from .registry import Registry
    from .routing import Principal
    from .session import Session

MAX_EARLY = 16  # frames that wait while the token is looked at
MAX_ASKS = 16  # commands of one connection that wait for the outside
PAGE = 50  # missed events sent at once; more when these have been read
MAX_REPLAY = 1000  # events brought back from the history at a resume; who missed more reads the session anew

PING = encoded({"type": "ping"})


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


class Close(NamedTuple):
    """The connection is to be closed."""

    code: int
    reason: str


class Stay:
    """A user's part in a session by way of the channel."""

    __slots__ = ("behind", "connection", "participant", "seen", "session")

    def __init__(self, session: Session, participant: Participant, connection: ChannelConnection) -> None:
        self.session = session
        self.participant = participant
        self.connection: ChannelConnection | None = connection
        "None while the user may come back, and once another stay took its place."
        self.seen = 0
        "`seq` of the last event that the client was sent."
        self.behind = False
        "What it missed is being sent: until that is done, newer events wait in the session's memory."


class ChannelConnection:
    """One client. `wake` is called whenever there is something to drain that no door was opened for."""

    def __init__(
        self, desk: ChannelDesk, now: float, *, token: str | None = None, wake: Callable[[], None] = lambda: None
    ) -> None:
        """`token`: what came with the handshake, if it did."""
        self.desk = desk
        self.wake = wake
        self.principal: Principal | None = None
        "None until the token has been accepted."
        self.user = ""
        self.stays: dict[str, Stay] = {}
        "By the session's id."
        self.close: Close | None = None
        self._limits = limits = desk.limits
        self._token = token or ""
        self._hello: Hello | None = None
        self._early: list[AnyCommand] = []
        self._farewells: list[Stay] = []
        self._behind: deque[Stay] = deque()
        "Whose clients have not seen all, one after the other."
        self._replaying = False
        self._out: list[str] = []
        self._asks: list[Ask] = []
        self._asked = 0
        self._tokens = limits.burst
        self._refilled_at = now
        self._hello_by: float | None = now + limits.hello_s
        self._heard_at = now
        self._pinged_at: float | None = None
        self._check_at: float | None = None
        desk.connections.add(self)

    # Doors.

    def receive_text(self, text: str, now: float) -> None:
        """A text frame came."""
        if self.close is not None:
            return
        self._heard_at = now
        self._pinged_at = None
        if len(text) > MAX_FRAME or len(text.encode("utf-8", "replace")) > MAX_FRAME:
            self._shut(CLOSE_TOO_BIG, "the frame is too large")
        elif self._within_rate(now):
            try:
                command = parse(text)
            except RefusedFrame as refused:
                self._fail(refused.request, refused.error)
            else:
                self._receive(command, now)

    def receive_binary(self, now: float) -> None:
        """A binary frame came: there are none."""
        self._shut(CLOSE_NO_TEXT, "frames are text")

    def handle_timeout(self, now: float) -> None:
        """The deadline has passed, or may have."""
        if self.close is not None:
            return
        limits = self._limits
        if self._hello_by is not None and now >= self._hello_by:
            self._shut(CLOSE_SILENT, "no hello in time")
        elif self._pinged_at is not None:
            if now >= self._pinged_at + limits.pong_s:
                self._shut(CLOSE_SILENT, "no answer to a ping")
        elif now >= self._heard_at + limits.ping_s:
            self._pinged_at = now
            self._out.append(PING)
        if self._check_at is not None and now >= self._check_at:
            self._check(now)

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` is due; None once closed."""
        if self.close is not None:
            return None
        limits = self._limits
        due = self._heard_at + limits.ping_s if self._pinged_at is None else self._pinged_at + limits.pong_s
        return min(at for at in (due, self._hello_by, self._check_at) if at is not None)

    def data_to_send(self) -> list[str]:
        """The frames for the client, in order; and before closing, if `close` is set."""
        out, self._out = self._out, []
        return out

    def asks(self) -> list[Ask]:
        """What is to be carried out."""
        asks, self._asks = self._asks, []
        return asks

    def receive_answer(self, ask: Ask, answer: Any, now: float) -> None:
        """What came of an ask: what `run` returned, or the SignallingError that it raised."""
        self._asked -= 1
        if self.close is not None:
            return
        if ask.command == "hello":
            self._admit(answer, now)
        elif ask.command == "check":
            self._checked(answer, now)
        elif ask.paced:
            self._replay(ask.stay, answer)
        elif isinstance(answer, SignallingError):
            self._fail(ask.request, answer)
        else:
            self.tell_result(ask.command, ask.request, answer)

    def lost(self, now: float) -> None:
        """The socket is gone."""
        self._shut(CLOSE_GOING_AWAY, "gone")
        self.desk.lost(self, now)

    # Frames.

    def tell_result(self, command: str, request: str | None, result: Mapping[str, Any] | None) -> None:
        """Say that a command was carried out."""
        self._out.append(
            encoded({"type": "result", "id": request, "command": command, "result": {} if result is None else result})
        )

    def tell_notice(self, code: str, session_id: str, message: str) -> None:
        """Say what is no event."""
        self._out.append(encoded({"type": "notice", "code": code, "session": session_id, "message": message}))
        self.wake()

    def _fail(self, request: str | None, error: SignallingError) -> None:
        frame: dict[str, Any] = {"type": "error", "id": request, "code": error.code, "message": error.message}
        if error.retry_after_s is not None:
            frame["retry_after_s"] = error.retry_after_s
        self._out.append(encoded(frame))

    def _shut(self, code: int, reason: str) -> None:
        if self.close is None:
            self.close = Close(code, reason)

    # Commands.

    def _within_rate(self, now: float) -> bool:
        """Whether one more frame is fine; else it is refused, and at twice the burst the connection closes."""
        limits = self._limits
        self._tokens = min(limits.burst, self._tokens + (now - self._refilled_at) * limits.rate)
        self._refilled_at = now
        self._tokens -= 1
        if self._tokens >= 0:
            return True
        if self._tokens <= -limits.burst:
            self._shut(CLOSE_TOO_FAST, "too many frames")
        else:
            wait_s = int(-self._tokens / limits.rate) + 1
            self._fail(None, ChannelError("RATE_LIMITED", "too many frames", status=429, retry_after_s=wait_s))
        return False

    def _receive(self, command: AnyCommand, now: float) -> None:
        if isinstance(command, Hello):
            self._greet(command, now)
        elif self._hello is None:
            self._fail(command.id, ChannelError("HELLO_FIRST", "say hello first", status=401))
        elif self.principal is None:
            if len(self._early) >= MAX_EARLY:
                self._fail(command.id, ChannelError("TOO_MANY_PENDING", "wait for the result of hello", status=429))
            else:
                self._early.append(command)
        else:
            self._carry_out(command, now)

    def _greet(self, hello: Hello, now: float) -> None:
        if self._hello is not None:
            self._fail(hello.id, ChannelError("HELLO_AGAIN", "one hello a connection", status=409))
        elif hello.version != VERSION:
            self._fail(hello.id, ChannelError("VERSION_NOT_SUPPORTED", f"this server speaks version {VERSION}"))
            self._shut(CLOSE_VERSION, "version not supported")
        else:
            self._hello = hello
            self._token = hello.token or self._token
            known = self.desk.authority.known(self._token)
            if known is not None:
                self._admit(known, now)
            else:
                self._ask_whose_token("hello")

    def _ask_whose_token(self, command: str) -> None:
        token, authority = self._token, self.desk.authority

        async def whose() -> Principal:
            return await authority.principal(token)

        self.ask(Ask(whose, command=command))

    def _admit(self, answer: Principal | SignallingError, now: float) -> None:
        """The token was looked at."""
        hello = self._hello
        assert hello is not None
        if isinstance(answer, SignallingError):
            self._reject(hello.id, answer)
            return
        try:
            self.user = _acting_user(answer, hello.user)
        except ChannelError as error:
            self._reject(hello.id, error)
            return
        self.principal = answer
        self._hello_by = None
        limits = self._limits
        self._check_at = now + limits.check_s
        welcome = {"version": VERSION, "user": self.user, "ping_s": limits.ping_s, "grace_s": limits.grace_s}
        self.tell_result("hello", hello.id, welcome)
        early, self._early = self._early, []
        for command in early:
            self._carry_out(command, now)

    def _reject(self, request: str | None, error: SignallingError) -> None:
        self._fail(request, error)
        later = error.status >= 500
        self._shut(CLOSE_TRY_LATER if later else CLOSE_UNAUTHORIZED, "try again later" if later else "not authorized")

    def _check(self, now: float) -> None:
        """The token may have been revoked, or have expired."""
        self._check_at = now + self._limits.check_s
        known = self.desk.authority.known(self._token)
        if known is not None:
            self.principal = known
        else:
            self._check_at = None
            self._ask_whose_token("check")

    def _checked(self, answer: Principal | SignallingError, now: float) -> None:
        if isinstance(answer, SignallingError):
            self._reject(None, answer)
        else:
            self.principal = answer
            self._check_at = now + self._limits.check_s

    def _carry_out(self, command: AnyCommand, now: float) -> None:
        if isinstance(command, Pong):
            return
        assert not isinstance(command, Hello)
        name = command.type
        try:
            if self._asked >= MAX_ASKS:
                raise ChannelError("TOO_MANY_PENDING", "wait for the results of earlier commands", status=429)
            result = None if isinstance(command, Ping) else HANDLERS[type(command)](self, command)
        except SignallingError as error:
            self._fail(command.id, error)
            return
        if isinstance(result, Ask):
            self.ask(result)
            return
        self.tell_result(name, command.id, result)
        farewells, self._farewells = self._farewells, []
        for stay in (*farewells, *self.stays.values()):
            self.catch_up(stay)

    def show_end(self, session: Session, participant: Participant, seq: int) -> Mapping[str, Any]:
        """The session ended while its participant was away: what came after `seq` is sent, and no more."""
        stay = Stay(session, participant, self)
        stay.seen = seq
        self._farewells.append(stay)
        return described(stay)

    def ask(self, ask: Ask) -> None:
        """Have the outside do something."""
        self._asked += 1
        self._asks.append(ask)

    # Events.

    def happened(self, stay: Stay, happening: Happening) -> None:
        """An event of a session that the client takes part in."""
        if stay.behind or happening.seq != stay.seen + 1:
            return  # it is in the session's memory, and comes in its turn
        stay.seen = happening.seq
        self._out.append(self.desk.event_frame(happening))
        self.wake()

    def catch_up(self, stay: Stay) -> None:
        """Send what a client has not seen, as fast as it reads."""
        if not stay.behind and stay.seen < stay.session.last_seq:
            stay.behind = True
            self._behind.append(stay)
            self._go_on()

    def _go_on(self) -> None:
        """Send the next page: from memory, or after asking the history for what is no longer there."""
        sent = 0
        while self._behind and not self._replaying:
            stay = self._behind[0]
            missed = stay.session.since(stay.seen) if stay.connection is self else []
            if stay.connection is not self or stay.seen >= stay.session.last_seq:
                stay.behind = False
                self._behind.popleft()
            elif not missed or missed[0].seq > stay.seen + 1:
                self._ask_history(stay, missed[0].seq if missed else stay.session.last_seq + 1)
            elif sent >= PAGE:
                self._replaying = True
                self.ask(Ask(_nothing, command="events"))
            else:
                page = missed[: PAGE - sent]
                self._out += map(self.desk.event_frame, page)
                stay.seen = page[-1].seq
                sent += len(page)

    def _ask_history(self, stay: Stay, before: int) -> None:
        after = max(stay.seen, before - MAX_REPLAY - 1)
        history, session_id = self.desk.history, stay.session.id

        async def missed() -> tuple[int, list[dict[str, Any]]]:
            return before, await history.events(session_id, after, before, PAGE)

        self._replaying = True
        self.ask(Ask(missed, command="events", stay=stay))

    def _replay(self, stay: Stay | None, answer: tuple[int, list[dict[str, Any]]] | SignallingError | None) -> None:
        """The history answered, or the client has read what it was sent."""
        self._replaying = False
        if stay is not None and stay.connection is self:
            if isinstance(answer, tuple):
                before, bodies = answer
            else:
                missed = stay.session.since(stay.seen)
                before, bodies = missed[0].seq if missed else stay.session.last_seq + 1, []
            upto = int(bodies[-1]["seq"]) if len(bodies) >= PAGE else before - 1
            if len(bodies) < upto - stay.seen:
                self.tell_notice("EVENTS_LOST", stay.session.id, "some events before the next one cannot be had")
            self._out += [encoded({"type": "event", "event": body}) for body in bodies]
            stay.seen = upto
        self._go_on()


async def _nothing() -> None:
    """The outside waits until the client has read what there is, and then says so."""


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
        self._newest: tuple[int, str] = (0, "")
        registry.bus.followers.append(self.follow)

    def stay(self, session: Session, user: str) -> Stay | None:
        """A user's stay, with or without a connection."""
        return self._stays.get(session.id, {}).get(user)

    def seat(self, connection: ChannelConnection, session: Session, participant: Participant) -> Stay:
        """From now on the participant is here by this connection, and no longer by another. LimitReached."""
        if len(connection.stays) >= self.limits.sessions and session.id not in connection.stays:
            raise LimitReached(f"{self.limits.sessions} sessions are the limit of a connection")
        before = self.stay(session, participant.user)
        if before is not None:
            self._lost.pop(before, None)
            if before.connection is not None and before.connection is not connection:
                del before.connection.stays[session.id]
                before.connection.tell_notice("TAKEN_OVER", session.id, "the user resumed the session elsewhere")
            before.connection = None
        stay = Stay(session, participant, connection)
        self._stays.setdefault(session.id, {})[participant.user] = stay
        connection.stays[session.id] = stay
        return stay

    def lost(self, connection: ChannelConnection, now: float) -> None:
        """A connection is gone: its user stays for the grace period, and may come back by another."""
        self.connections.discard(connection)
        for stay in connection.stays.values():
            stay.connection = None
            self._lost[stay] = now + self.limits.grace_s
        connection.stays = {}

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
        self.registry.bus.followers.remove(self.follow)

    def counts(self) -> dict[str, int]:
        """Connections, and stays with and without one."""
        return {
            "connections": len(self.connections),
            "stays": sum(map(len, self._stays.values())),
            "stays_lost": len(self._lost),
        }

    def _leave(self, stay: Stay) -> None:
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


def _ends(happening: Happening, stay: Stay) -> bool:
    """Whether this is the last event of a stay. At the end of a session everybody leaves before it says so."""
    if happening.kind is SessionEnded:
        return True
    left = happening.kind is ParticipantLeft and happening.fields["participant"] == stay.participant.index
    return left and not happening.session.ended


def _acting_user(principal: Principal, wanted: str | None) -> str:
    """For whom a connection acts. ChannelError."""
    if wanted is not None and wanted != principal.user and principal.kind != "admin":
        raise ChannelError("FORBIDDEN", "the token belongs to another user", status=403)
    user = wanted or principal.user
    if user is None:
        raise ChannelError("FORBIDDEN", "the token belongs to no user", status=403)
    return user
