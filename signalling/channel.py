"""The signalling channel of browsers, without I/O: connections, who takes part by which, and what each is told.

A ChannelConnection has the doors of every core: `receive_text`, `handle_timeout`, `deadline`, `data_to_send`, and
`asks`: what only the outside can carry out, each of which is brought back by `receive_answer`. The ChannelDesk knows
all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .browser_calls import BrowserLine
from .channel_commands import Ask, Later, described
from .channel_desk import Stay
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
    Hello,
    Ping,
    Pong,
    RefusedFrame,
    encoded,
    parse,
)
from .channel_handlers import HANDLERS
from .errors import ChannelError, SignallingError
from .events import Happening

if TYPE_CHECKING:
    from .channel_desk import ChannelDesk
    from .participants import Participant
    from .routing import Principal
    from .session import Session

MAX_EARLY = 16  # frames that wait while the token is looked at
MAX_ASKS = 16  # commands of one connection that wait for the outside
PAGE = 50  # missed events sent at once; more when these have been read
MAX_REPLAY = 1000  # events brought back from the history at a resume; who missed more reads the session anew

PING = encoded({"type": "ping"})


class Close(NamedTuple):
    """The connection is to be closed."""

    code: int
    reason: str


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
        for stay in tuple(self.stays.values()):
            stay.line.handle_timeout(now)

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` is due; None once closed."""
        if self.close is not None:
            return None
        limits = self._limits
        due = self._heard_at + limits.ping_s if self._pinged_at is None else self._pinged_at + limits.pong_s
        offers = [stay.line.deadline for stay in self.stays.values()]
        return min(at for at in (due, self._hello_by, self._check_at, *offers) if at is not None)

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

    def tell(self, frame: Mapping[str, Any]) -> None:
        """Send a frame. Nothing once closed."""
        if self.close is None:
            self._out.append(encoded(frame))
            self.wake()

    def tell_error(self, request: str | None, error: SignallingError) -> None:
        """Say that a command was not carried out."""
        self._fail(request, error)

    def tell_notice(self, code: str, session_id: str, message: str) -> None:
        """Say what is no event."""
        self.tell({"type": "notice", "code": code, "session": session_id, "message": message})

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
        self.desk.admit(self)
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
        if isinstance(result, Later):
            return
        self.tell_result(name, command.id, result)
        farewells, self._farewells = self._farewells, []
        for stay in (*farewells, *self.stays.values()):
            self.catch_up(stay)

    def show_end(self, session: Session, participant: Participant, seq: int) -> Mapping[str, Any]:
        """The session ended while its participant was away: what came after `seq` is sent, and no more."""
        stay = Stay(session, participant, self, BrowserLine(session.id))
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


def _acting_user(principal: Principal, wanted: str | None) -> str:
    """For whom a connection acts. ChannelError."""
    if wanted is not None and wanted != principal.user and principal.kind != "admin":
        raise ChannelError("FORBIDDEN", "the token belongs to another user", status=403)
    user = wanted or principal.user
    if user is None:
        raise ChannelError("FORBIDDEN", "the token belongs to no user", status=403)
    return user
