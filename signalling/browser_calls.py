"""Calls of browsers over the signalling channel: twins of sip's IncomingCall, OutgoingCall and Call.

    BrowserInvite   (the browser calls)     --accept()-->  BrowserCall --Ended
    BrowserRinging  (the browser is called) --Answered-->  BrowserCall --Ended

They have the verbs of their twins, with the same errors, and tell the same events, so that a leg and whatever works on
legs need not know which it has. What they say goes over a BrowserLine: the connection that the user has at the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable
from uuid import uuid4

from sip import (
    ANSWERED_ELSEWHERE,
    Answered,
    CallGone,
    CallStateError,
    Cancelled,
    Ended,
    Failed,
    HeaderList,
    ReinviteAnswered,
    ReinviteFailed,
    ReinviteReceived,
    RequestAnswered,
    Ringing,
    reasons_of,
)

from .errors import ChannelError, SignallingError, WrongState

if TYPE_CHECKING:
    from .legs import MediaLeg

OFFER_S = 32.0  # that a browser has to answer an offer; a phone has as long (RFC 3261 §17.1.1.2, timer B)
GLARE_S = 1  # after which a browser whose offer crossed ours offers again
MAX_CANDIDATES = 64  # of one description: a machine has a tenth of it

NO_MESSAGE: Any = None
"In place of the SIP message of an event: there is none, and nobody above the calls looks for it."

Hear = Callable[[object], None]


class LineLost:
    """A browser's connection is gone: it may come back, and its call goes on until then."""


class LineBack:
    """The browser is here again, perhaps as another page: it wants an offer for a new RTCPeerConnection."""


class Connection(Protocol):
    """One connection of the channel, as far as calls are concerned."""

    def tell(self, frame: Mapping[str, Any]) -> None:
        """Send a frame."""


class Reply(Protocol):
    """What comes of a command that takes its time."""

    def result(self, result: Mapping[str, Any]) -> None:
        """It was carried out."""

    def fail(self, error: SignallingError) -> None:
        """It was not."""


@runtime_checkable
class TricklingLeg(Protocol):
    """A media leg that takes candidates after the description (RFC 8838)."""

    def add_candidate(self, line: str | None) -> None:
        """A further candidate; None: there are no more."""


class BrowserLine:
    """The way to one user in one session: which connection it has, and the call that goes over it."""

    __slots__ = ("_candidates", "_media", "call", "connection", "session_id")

    def __init__(self, session_id: str, connection: Connection | None = None) -> None:
        self.session_id = session_id
        self.connection = connection
        "None while the user may come back."
        self.call: BrowserInvite | BrowserCall | None = None
        self._media: TricklingLeg | None = None
        self._candidates = 0

    def tell(self, kind: str, **fields: Any) -> None:
        """Send a frame, if anybody is there."""
        if self.connection is not None:
            self.connection.tell({"type": kind, "session": self.session_id, **fields})

    def carry(self, media: MediaLeg) -> None:
        """From now on candidates are for this leg."""
        self._media = media if isinstance(media, TricklingLeg) else None
        self._candidates = 0

    def add_candidate(self, line: str | None) -> None:
        """A candidate of the browser's. WrongState without media; ChannelError for too many."""
        if self._media is None or self.call is None:
            raise WrongState("there is no media yet: offer first")
        self._candidates += 1
        if self._candidates > MAX_CANDIDATES:
            raise ChannelError("LIMIT_REACHED", f"{MAX_CANDIDATES} candidates are the limit", status=429)
        self._media.add_candidate(line)

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` is due."""
        return self.call.deadline if isinstance(self.call, BrowserCall) else None

    def handle_timeout(self, now: float) -> None:
        """The deadline has passed, or may have."""
        if isinstance(self.call, BrowserCall):
            self.call.handle_timeout(now)

    def lost(self) -> None:
        """The connection is gone."""
        self.connection = None
        if self.call is not None:
            self.call.line_lost()

    def moved(self, connection: Connection) -> None:
        """The user is here by another connection."""
        if self.connection is connection:
            return
        if self.connection is not None:
            self.lost()
        self.connection = connection
        if isinstance(self.call, BrowserCall):
            self.call.line_back()


class BrowserInvite:
    """A browser calls, and waits for our answer: the twin of IncomingCall."""

    __slots__ = ("_answer", "_line", "call_id", "listener", "offer", "over")

    def __init__(self, line: BrowserLine, listener: Hear, offer: str) -> None:
        self.call_id = uuid4().hex
        self.offer: str | None = offer
        self.listener = listener
        self.over = False
        "Cancelled, accepted or rejected."
        self._line = line
        self._answer: str | None = None
        line.call = self

    def ring(self, now: float, status: int = 180, sdp: str | None = None, headers: HeaderList = ()) -> None:
        """Early media, if `sdp`; that it rings is told by the session's events. Nothing when over."""
        if not self.over and sdp is not None:
            self._tell_answer(sdp)

    def accept(self, now: float, sdp: str, headers: HeaderList = ()) -> BrowserCall:
        """Answer. Raises CallGone when it was cancelled."""
        if self.over:
            raise CallGone("cancelled")
        self.over = True
        self._tell_answer(sdp)
        return BrowserCall(self._line, self.listener, self.call_id)

    def reject(self, now: float, status: int, reason: str | None = None, headers: HeaderList = ()) -> None:
        """Refuse. Nothing when over."""
        if not self.over:
            self.over = True
            self._line.call = None
            text = next((value for name, value in headers if name.lower() == "reason"), None)
            _tell_end(self._line, status, text)

    def hang_up(self) -> None:
        """The browser gives up."""
        if not self.over:
            self.over = True
            self._line.call = None
            self.listener(Cancelled(_as_twin(self), None))

    line_lost = expire = hang_up
    "Nobody waits for the answer any more."

    def _tell_answer(self, sdp: str) -> None:
        """Once: an RTCPeerConnection takes one answer to an offer."""
        if self._answer is None:
            self._answer = sdp
            self._line.tell("answer", sdp=sdp)


class BrowserCall:
    """A browser whose media is agreed: the twin of Call."""

    __slots__ = ("_asked", "_fresh", "_line", "_offered_until", "call_id", "ended", "listener")

    def __init__(self, line: BrowserLine, listener: Hear, call_id: str | None = None) -> None:
        self.call_id = call_id or uuid4().hex
        self.listener = listener
        self.ended = False
        self._line = line
        self._asked: Reply | None = None
        "The browser's offer waits for our answer."
        self._offered_until: float | None = None
        "Our offer waits for the browser's answer."
        self._fresh = False
        "That offer is for a new RTCPeerConnection."
        line.call = self

    @property
    def can_reinvite(self) -> bool:
        """False while an offer of either side waits, while the browser is away, and at the end."""
        return not self.ended and not self._waits and self._line.connection is not None

    @property
    def _waits(self) -> bool:
        return self._asked is not None or self._offered_until is not None

    # Verbs of a Call.

    def ack(self, now: float, sdp: str) -> None:
        """Answer the offer that the browser accepted with."""
        if not self.ended:
            self._line.tell("answer", sdp=sdp)

    def bye(self, now: float, reason: str | None = None, headers: HeaderList = ()) -> None:
        """End the call; `reason` is the value of a Reason header. Nothing when it is over."""
        if not self.ended:
            self._end()
            _tell_end(self._line, 200, reason)

    def reinvite(self, now: float, sdp: str | None, headers: HeaderList = (), *, fresh: bool = False) -> None:
        """Make an offer; `fresh`: for a new RTCPeerConnection. Raises CallStateError."""
        if not self.can_reinvite or sdp is None:
            raise CallStateError("another offer is in progress, or the browser is away")
        self._offered_until = now + OFFER_S
        self._fresh = fresh
        self._line.tell("offer", sdp=sdp, fresh=fresh)

    def cancel_reinvite(self, now: float, reason: str | None = None) -> None:
        """A browser cannot be told: its answer comes, and changes nothing that matters any more."""

    def accept_reinvite(self, now: float, sdp: str, headers: HeaderList = ()) -> None:
        """Answer the browser's offer."""
        reply, self._asked = self._asked, None
        if reply is not None:
            reply.result({"session": self._line.session_id, "sdp": sdp})

    def reject_reinvite(self, now: float, status: int, reason: str | None = None, headers: HeaderList = ()) -> None:
        """Refuse the browser's offer: 491 for one that crossed another, else the description."""
        reply, self._asked = self._asked, None
        if reply is None:
            return
        if status == 491:
            reply.fail(_glare())
        else:
            reply.fail(ChannelError("MEDIA_REFUSED", f"the offer cannot be followed: {status}", status=488))

    def send(self, now: float, method: str, headers: HeaderList = (), body: bytes = b"") -> None:
        """A browser takes no SIP requests: 415."""
        if self.ended:
            raise CallGone("hung up")
        self.listener(RequestAnswered(_as_twin(self), method, 415, None))

    # What the browser does.

    def carry(self, media: MediaLeg) -> None:
        """From now on candidates are for this leg."""
        self._line.carry(media)

    def offer(self, sdp: str, reply: Reply) -> None:
        """The browser offers; `reply` gets the answer. ChannelError GLARE while an offer waits."""
        if self._waits:
            raise _glare()
        self._asked = reply
        self.listener(ReinviteReceived(_as_twin(self), sdp, NO_MESSAGE))

    def answer(self, sdp: str) -> None:
        """The browser answers. WrongState when it was not asked."""
        if self._offered_until is None:
            raise WrongState("there is no offer to answer")
        self._offered_until = None
        self.listener(ReinviteAnswered(_as_twin(self), sdp, NO_MESSAGE))

    def hang_up(self) -> None:
        """The browser hangs up."""
        self._over("remote")

    def expire(self) -> None:
        """The browser did not come back."""
        self._over("transport")

    def line_lost(self) -> None:
        """The browser's connection is gone."""
        reply, self._asked = self._asked, None
        if reply is not None:
            reply.fail(WrongState("the connection was lost"))
        self._give_up()
        self.listener(LineLost())

    def line_back(self) -> None:
        """The browser is here by another connection."""
        self.listener(LineBack())

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` is due."""
        return self._offered_until

    def handle_timeout(self, now: float) -> None:
        """An offer that nobody answers has failed; one that the whole call hangs on ends it."""
        if self._offered_until is not None and now >= self._offered_until:
            if self._fresh:
                self._over("timeout")
                _tell_end(self._line, 408, None)
            else:
                self._give_up()

    def _give_up(self) -> None:
        if self._offered_until is not None:
            self._offered_until = None
            self.listener(ReinviteFailed(_as_twin(self), 408, "Request Timeout", None))

    def _over(self, by: Literal["remote", "timeout", "transport"]) -> None:
        if not self.ended:
            self._end()
            self.listener(Ended(_as_twin(self), None, by))

    def _end(self) -> None:
        self.ended = True
        self._offered_until = None
        reply, self._asked = self._asked, None
        if reply is not None:
            reply.fail(WrongState("the call is over"))
        if self._line.call is self:
            self._line.call = None


class BrowserRinging:
    """A user's browsers ring: the twin of OutgoingCall. The first one that accepts has the call."""

    __slots__ = ("_call", "_frame", "_told", "call_id", "listener", "media", "on_over", "on_surplus", "over", "owner")

    def __init__(self, owner: tuple[str, str], frame: Mapping[str, Any], media: MediaLeg, listener: Hear) -> None:
        """`owner`: tenant and user; `frame`: of `incoming`, but for `type` and `call`."""
        self.owner = owner
        self.call_id = uuid4().hex
        self.media = media
        self.listener = listener
        self.over = False
        "Accepted, rejected or cancelled."
        self.on_over: Callable[[BrowserRinging], None] = lambda ringing: None
        self.on_surplus: Callable[[], None] = lambda: None
        "Called when it was accepted, but somebody else had answered before."
        self._frame = {"type": "incoming", **frame, "call": self.call_id}
        self._told: list[Connection] = []
        self._call: BrowserCall | None = None

    @property
    def session_id(self) -> str:
        """Where the call is."""
        return str(self._frame["session"])

    def start(self, connections: Iterable[Connection]) -> None:
        """Ring."""
        for connection in connections:
            self.ring(connection)
        self.listener(Ringing(_as_twin(self), 180, "Ringing", None, NO_MESSAGE))

    def ring(self, connection: Connection) -> None:
        """Ring one more."""
        self._told.append(connection)
        connection.tell(self._frame)

    def lost(self, connection: Connection) -> None:
        """A connection is gone; the user may come back while it still rings."""
        if connection in self._told:
            self._told.remove(connection)

    # Verbs of an OutgoingCall.

    def cancel(self, now: float, reason: str | None = None) -> None:
        """Ring no more; ends the call when it was accepted already."""
        if self._call is not None:
            self._call.bye(now, reason)
            self.on_surplus()
        elif not self.over:
            if reason == ANSWERED_ELSEWHERE:
                self._finish("ANSWERED_ELSEWHERE", "answered elsewhere")
            else:
                said = next(iter(reasons_of(reason)), None)
                self._finish("CANCELLED", said.text if said is not None and said.text else "the caller gave up")

    # What a browser does.

    def accept(self, line: BrowserLine, sdp: str) -> None:
        """A browser answers, by its line in the session."""
        self._finish("ANSWERED_ELSEWHERE", "answered elsewhere", but=line.connection)
        call = self._call = BrowserCall(line, self.listener, self.call_id)
        line.carry(self.media)
        asked = self._frame["sdp"] is None
        self.listener(Answered(_as_twin(call), sdp, NO_MESSAGE, _as_twin(self), needs_ack=asked))

    def reject(self, connection: Connection) -> None:
        """A browser refuses, for all of the user's."""
        self._finish("REJECTED_ELSEWHERE", "rejected elsewhere", but=connection)
        self.listener(Failed(_as_twin(self), 486, "Busy Here", None, "response"))

    def _finish(self, code: str, reason: str, *, but: Connection | None = None) -> None:
        self.over = True
        frame = {"type": "cancelled", "session": self.session_id, "call": self.call_id, "code": code, "reason": reason}
        for connection in self._told:
            if connection is not but:
                connection.tell(frame)
        self._told = []
        self.on_over(self)


def _as_twin(call: object) -> Any:
    """In the events of sip, which name the calls of sip."""
    return call


def _glare() -> ChannelError:
    return ChannelError("GLARE", "both sides offered: answer, then offer again", status=491, retry_after_s=GLARE_S)


def _tell_end(line: BrowserLine, status: int, reason: str | None) -> None:
    """Say that the media is over, with what a Reason header says of it."""
    said = next((each for each in reasons_of(reason) if each.protocol.upper() == "SIP"), None)
    if said is not None:
        status = said.cause if said.cause is not None else status
    text = said.text if said is not None and said.text else "hung up" if status == 200 else "not available"
    line.tell("ended", status=status, reason=text)
