"""The seam: one attachment of a session, a SIP call with its media. Here alone sip and media meet, as SDP text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from media import PLAYER_CODECS, Codec, LegStats, MediaError, MediaLeg, Mix
from media import Media as MediaPort
from sip import (
    ANSWERED_ELSEWHERE,
    Call,
    CallStateError,
    IncomingCall,
    OutgoingCall,
    RequestReceived,
    reason_header,
)

from .browser_calls import BrowserCall, BrowserInvite, BrowserRinging
from .digits import Doubles
from .info import DEFAULT_MS, RELAY_TYPE, InfoQueue, body_of, said_by
from .participants import Participant
from .ports import SipPort

if TYPE_CHECKING:
    from .trunks import TrunkLine

Role = Literal["caller", "callee", "guest"]
"A guest joined with media of its own, and was not called."


@dataclass(frozen=True, slots=True)
class MediaTimedOut:
    """A leg's media has been silent for too long."""

    reason: str


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """A telephone-event came in (RFC 4733)."""

    digit: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A leg was added to the session, answered already."""


class LegOwner(Protocol):
    """Who gets what a leg reports: its session."""

    def post_leg(self, leg: Leg, event: object) -> None:
        """Take an event of the leg's call, or of its media."""


__all__ = [
    "PLAYER_CODECS",
    "DigitPressed",
    "Leg",
    "MediaError",
    "MediaLeg",
    "MediaPort",
    "MediaTimedOut",
    "Mix",
    "PassThrough",
    "media_for",
    "wants_webrtc",
]

SECURE_OFFER = re.compile(r"^m=audio [0-9]+ (?:UDP/TLS/RTP/SAVPF?|RTP/SAVPF) ", re.MULTILINE)
"Of audio keyed by DTLS."


class PassThrough:
    """A MediaLeg without media (`media = "bypass"`): SDP crosses from leg to leg as it came."""

    __slots__ = ("local_sdp", "on_dtmf", "on_dtmf_begin", "on_timeout", "remote_sdp")

    def __init__(self) -> None:
        self.on_timeout: Callable[[MediaLeg, str], None] | None = None
        self.on_dtmf_begin: Callable[[MediaLeg, str], bool] | None = None
        self.on_dtmf: Callable[[MediaLeg, str, int], None] | None = None
        self.local_sdp: str | None = None
        self.remote_sdp: str | None = None

    def receive_offer(self, sdp: str) -> None:
        """Keep the offer for the other leg."""
        self.remote_sdp = sdp

    receive_answer = receive_offer

    def create_answer(self, like: MediaLeg | None = None, direction: str | None = None) -> str:
        """What the other leg's party said last."""
        if like is None or like.remote_sdp is None:
            raise MediaError("there is nothing to pass on: media is bypassed and the other party sent no SDP")
        self.local_sdp = like.remote_sdp
        return self.local_sdp

    create_offer = create_answer

    def rollback(self) -> None:
        """Nothing is kept that would have to be taken back."""

    def send_dtmf(self, digits: str, duration_ms: int = 160) -> None:
        """There is no stream to send digits in."""
        raise MediaError("media is bypassed")

    def mute(self, on: bool) -> None:
        """What the party says goes past us."""

    def close(self) -> None:
        """Nothing is open."""

    id = "bypass"
    codecs: tuple[Codec, ...] = ()
    events: tuple[Codec, ...] = ()
    ptime_ms: int | None = None
    direction = "sendrecv"
    remote_direction = "sendrecv"
    video = None
    on_hold = False

    @property
    def agreed(self) -> bool:
        """True once both parties' descriptions have crossed."""
        return self.local_sdp is not None and self.remote_sdp is not None

    @property
    def stats(self) -> LegStats:
        """All zero: the packets go past us."""
        return LegStats(local=("", 0), remote=None)


class Leg:
    """One party's attachment to a session.

    `call` is the signalling in its present state: an IncomingCall, OutgoingCalls while it rings (one a contact), a
    Call once answered, or their twins for a browser. `owner` gets every event of it, with the leg.
    """

    __slots__ = (
        "_doubles",
        "_infos",
        "_owner",
        "_sip",
        "attempts",
        "away",
        "call",
        "came_alone",
        "closed",
        "extension",
        "held",
        "line",
        "media",
        "media_for_browsers",
        "needs_ack",
        "on_close",
        "on_hold",
        "participant",
        "role",
        "user",
    )

    def __init__(self, role: Role, *, sip: SipPort, media: MediaLeg, owner: LegOwner) -> None:
        self.role: Role = role
        self.media = media
        self.media_for_browsers: MediaLeg | None = None
        "A second choice while phones and browsers ring together; the one that answers decides."
        self.call: IncomingCall | BrowserInvite | Call | BrowserCall | None = None
        self.attempts: tuple[OutgoingCall | BrowserRinging, ...] = ()
        self.closed = False
        self.needs_ack = False
        "Its 2xx made an offer that waits for the other party's answer (late offer, media bypassed)."
        self.on_hold = False
        "Its phone asked for hold."
        self.held = False
        "Its media was stopped because the session is on hold."
        self.away = False
        "Its browser was lost, or is back and has not answered our offer yet."
        self.extension: str | None = None
        "The extension whose phone this is, for the limit of calls."
        self.line: TrunkLine | None = None
        "The trunk it goes through."
        self.participant: Participant | None = None
        "Whose it is, once answered."
        self.came_alone = False
        "Its party takes part by this leg alone, and leaves with it."
        self.user: str | None = None
        "Id of the user, where it is known by more than the number."
        self.on_close: Callable[[Leg], None] | None = None
        self._doubles: Doubles | None = None  # as `_infos` made for the few legs that need it
        self._infos: InfoQueue | None = None
        self._sip = sip
        self._owner = owner
        self._listen(media)

    def choose(self, media: MediaLeg) -> None:
        """Who answered can do this one; the other choice is dropped."""
        for choice in (self.media, self.media_for_browsers):
            if choice is not None and choice is not media:
                _deafen(choice)
                choice.close()
        self.media = media
        self.media_for_browsers = None
        self._listen(media)

    def hear(self, event: object) -> None:
        """The listener of this leg's calls."""
        if self.closed:
            return
        if isinstance(event, RequestReceived) and self._is_double(event):
            event.respond(self._sip.now(), 200)
            self._sip.pump()
            return
        self._owner.post_leg(self, event)

    def _is_double(self, event: RequestReceived) -> bool:
        """Whether an INFO says a digit that a telephone-event has said."""
        digit = said_by(event.request)
        return digit is not None and not self._said().info_comes(digit, self._sip.now())

    def _said(self) -> Doubles:
        if self._doubles is None:
            self._doubles = Doubles()
        return self._doubles

    def _on_silence(self, media: MediaLeg, reason: str) -> None:
        self.hear(MediaTimedOut(reason))

    def _mind_silence(self) -> None:
        if not isinstance(self.media, PassThrough):
            self.media.on_timeout = self._on_silence

    def _listen(self, media: MediaLeg) -> None:
        if not isinstance(media, PassThrough):  # which hears nothing
            media.on_dtmf_begin, media.on_dtmf = self._on_digit_begin, self._on_digit

    def _on_digit_begin(self, media: MediaLeg, digit: str) -> bool:
        return self._said().event_begins(digit, self._sip.now())

    def _on_digit(self, media: MediaLeg, digit: str, duration_ms: int) -> None:
        self._said().event_ends(digit, self._sip.now())
        self.hear(DigitPressed(digit, duration_ms))

    @property
    def established(self) -> Call | BrowserCall | None:
        """The call, once it was answered; None before."""
        call = self.call
        return call if isinstance(call, Call | BrowserCall) else None

    @property
    def is_browser(self) -> bool:
        """Whether it is a browser's, over the signalling channel."""
        return isinstance(self.call, BrowserInvite | BrowserCall)

    def begin(self, call: BrowserCall, participant: Participant) -> None:
        """A participant is here with media that is agreed."""
        self.call = call
        self.participant = participant
        self.media.mute(participant.muted)
        self._mind_silence()

    def lose(self) -> None:
        """The browser is gone for the moment. Its media with it: who comes back gets another one, see `renew`."""
        self.away = True
        self.keep_stats()
        self.media.on_timeout = None
        self.media.close()

    def renew(self, media: MediaLeg, offer: str) -> None:
        """Offer fresh media to a browser that came back. Raises CallStateError when it is gone again."""
        call = self.call
        assert isinstance(call, BrowserCall)
        self.lose()
        call.reinvite(self._sip.now(), offer, fresh=True)
        call.carry(media)
        self.media_for_browsers = media
        self.choose(media)

    def is_back(self) -> None:
        """The browser answered the offer."""
        self.away = False
        self._mind_silence()
        if self.participant is not None:
            self.media.mute(self.participant.muted)

    @property
    def takes_events(self) -> bool:
        """Whether digits reach it as telephone-events; also true while its media goes past us."""
        return bool(self.media.events) or isinstance(self.media, PassThrough)

    def press(self, digits: str) -> None:
        """Send digits (0-9 * # A-D) in the way that its party takes. Raises MediaError."""
        if self.away:
            raise MediaError("the browser is away")
        try:
            if self.takes_events:
                self.media.send_dtmf(digits)
            else:
                for digit in digits:
                    self.send_info(RELAY_TYPE, body_of(digit, DEFAULT_MS))
        except (ValueError, CallStateError) as error:
            raise MediaError(str(error)) from error

    def send_info(self, content_type: str, body: bytes, origin: RequestReceived | None = None) -> None:
        """Send an INFO in its turn; `origin` is the other party's, and gets the answer. Raises CallStateError."""
        call = self.established
        if call is None:
            raise CallStateError("the call is not established")
        if self._infos is None:
            self._infos = InfoQueue()
        self._infos.send(call, self._sip.now(), content_type, body, origin)
        self._sip.pump()

    def info_answered(self, status: int) -> None:
        """The INFO under way has its final answer."""
        call = self.established
        if call is not None and self._infos is not None:
            self._infos.answered(call, self._sip.now(), status)
            self._sip.pump()

    def ring(self, status: int = 180, *, like: Leg | None = None) -> None:
        """Tell an incoming caller that the callee rings; with `like`, its early media too."""
        call = self.call
        if isinstance(call, IncomingCall | BrowserInvite):
            sdp = None
            if like is not None and call.offer is not None:
                sdp = self.media.local_sdp or self.media.create_answer(like.media)
            call.ring(self._sip.now(), status, sdp)
            self._sip.pump()

    def accept(self, like: Leg | None) -> None:
        """Answer an incoming caller, with the codecs of the other leg."""
        call = self.call
        assert isinstance(call, IncomingCall | BrowserInvite)
        other = like.media if like is not None else None
        if call.offer is None:
            sdp = self.media.create_offer(other)
        elif self.media.agreed and self.media.local_sdp is not None:
            sdp = self.media.local_sdp  # a 18x carried it already (RFC 3261 §13.2.1: it stays the same)
        else:
            sdp = self.media.create_answer(other)
        self.call = call.accept(self._sip.now(), sdp)
        self._mind_silence()  # only now: a phone that rings need not send anything
        self._sip.pump()

    def answered(self, call: Call | BrowserCall) -> None:
        """One of the attempts was answered: the others are cancelled (RFC 3326)."""
        self.call = call
        self._mind_silence()
        self.cancel_attempts(ANSWERED_ELSEWHERE, but=call)
        self.attempts = ()

    def forget(self, attempt: OutgoingCall | BrowserRinging) -> None:
        """That attempt came to nothing, or was given up."""
        self.attempts = tuple(other for other in self.attempts if other is not attempt)

    def cancel_attempts(self, reason: str | None, *, but: Call | BrowserCall | None = None) -> None:
        """Stop ringing wherever it rings."""
        if len(self.attempts) == (but is not None):
            self.attempts = ()
            return
        now = self._sip.now()
        for attempt in self.attempts:
            if but is None or attempt.call_id != but.call_id:
                attempt.cancel(now, reason)
        self.attempts = ()
        self._sip.pump()

    def hang_up(self, status: int, reason: str, *, header: str | None = None) -> None:
        """End this leg from whatever state it is in, and free its media. Harmless twice.

        `status` is what an unanswered caller gets (a success becomes 480); `header` is the Reason to carry
        across, else one is made of both.
        """
        if self.closed:
            return
        self.closed = True
        now = self._sip.now()
        text = header or (reason_header(status, reason) if status >= 300 else None)
        call = self.call
        if isinstance(call, IncomingCall | BrowserInvite):
            call.reject(now, status if status >= 300 else 480, headers=[("Reason", text)] if text else ())
        elif isinstance(call, Call | BrowserCall):
            call.bye(now, text)
        for attempt in self.attempts:
            attempt.cancel(now, text)
        self._sip.pump()
        self._release()

    def keep_stats(self) -> None:
        """Note with the participant what the media did; for a leg that is about to end."""
        if self.participant is not None and not isinstance(self.media, PassThrough):
            self.participant.stats = self.media.stats

    def gone(self) -> None:
        """The other side ended it: nothing is sent, the media is freed."""
        if not self.closed:
            self.closed = True
            self._release()

    def _release(self) -> None:
        self.call = None
        self.attempts = ()
        self.media.on_timeout = None
        self.choose(self.media)
        _deafen(self.media)
        self.media.close()
        if self.on_close is not None:
            self.on_close(self)
            self.on_close = None


def _deafen(media: MediaLeg) -> None:
    media.on_dtmf_begin = media.on_dtmf = None


def media_for(
    port: MediaPort,
    *,
    bypass: bool,
    codecs: Sequence[str] = (),
    peer: str | None = None,
    ipv6: bool | None = None,
    webrtc: bool = False,
) -> MediaLeg:
    """A media leg of the right kind. Raises NoPortsLeft (503)."""
    if bypass and not webrtc:
        return PassThrough()
    return port.create_leg(codecs=codecs or None, peer_host=peer, ipv6=ipv6, webrtc=webrtc)


def wants_webrtc(transport: str, offer: str | None = None) -> bool:
    """Whether a party is a browser: by its offer, else by the way that it signals (RFC 7118)."""
    if offer is not None:
        return SECURE_OFFER.search(offer) is not None
    return transport in ("WS", "WSS")
