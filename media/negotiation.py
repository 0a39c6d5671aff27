"""Offer/answer of one audio stream (RFC 3264): the SDP side of a leg, without any socket.

Kept per leg: the last agreed exchange, perhaps one under way, and what RFC 3264 §8 ties later offers to (the
number of m= lines, the meaning of payload types, the version of o=).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from . import sdp
from .codecs import FIRST_DYNAMIC, LAST_DYNAMIC, Codec, event_codec, formats_of
from .coders import can_code
from .errors import MediaError, NoCommonCodec, SdpError
from .sdp import DIRECTIONS, RECEIVE, SEND, MediaDescription, SessionDescription

if TYPE_CHECKING:
    from .leg import MediaLeg
    from .video_sdp import Video, VideoNegotiation

PLAIN = "RTP/AVP"
DEFAULT_PTIME_MS = 20

Key = tuple[str, int, int]


def mirror(direction: int) -> int:
    """A direction as the other side sees it."""
    return (direction & SEND) << 1 | (direction & RECEIVE) >> 1


def bits(direction: str) -> int:
    """A direction attribute as SEND and RECEIVE bits. ValueError if it is none."""
    return DIRECTIONS.index(direction)


@dataclass(slots=True)
class Remote:
    """What a remote description says of the stream we take part in."""

    text: str
    index: int
    "Which m= line."
    refused: tuple[str, ...]
    "The m= lines that answer or repeat each section with port 0, ours included."
    codecs: tuple[Codec, ...]
    events: tuple[Codec, ...]
    direction: int
    rtp: tuple[str, int] | None
    "None if held by c=0.0.0.0, disabled by port 0, or named by a host name."
    rtcp: tuple[str, int] | None
    ptime_ms: int | None
    disabled: bool
    "Port 0."
    ipv6: bool
    "The IP version of its address, or that of `c=` where there is none to send to."
    media: MediaDescription
    "The section itself, for what a transport of its own kind reads there."
    description: SessionDescription


@dataclass(slots=True)
class Agreement:
    """A completed exchange."""

    local_sdp: str
    remote: Remote
    codecs: tuple[Codec, ...]
    "Audio as the remote party numbers it: what we send."
    events: tuple[Codec, ...]
    receives: tuple[Codec, ...]
    "Audio and events under the payload types we announced: what we receive."
    direction: int
    on_hold: bool


@dataclass(slots=True)
class _Offered:
    """An offer of ours."""

    text: str
    codecs: tuple[Codec, ...]
    events: tuple[Codec, ...]
    direction: int


class Transport(Protocol):
    """How a stream is carried, as far as SDP shows it."""

    name: str
    "In words."
    protocol: str
    "Of our m= line."
    accepts: frozenset[str]
    "Of remote m= lines, in capitals."

    def session_lines(self, sections: Sequence[str]) -> str:
        """Lines before the first m=, each ended by CRLF."""

    def stream_lines(self) -> Sequence[str]:
        """Attributes of our stream."""

    def refuse(self, media: MediaDescription) -> str:
        """The section that refuses `media`."""


class PlainTransport:
    """RTP without encryption."""

    name = f"plain {PLAIN}"
    protocol = PLAIN
    accepts = frozenset({PLAIN})

    def session_lines(self, sections: Sequence[str]) -> str:
        """None."""
        return ""

    def stream_lines(self) -> Sequence[str]:
        """None."""
        return ()

    def refuse(self, media: MediaDescription) -> str:
        """Port 0 (RFC 3264 §6)."""
        return f"m={media.kind} 0 {media.protocol} {media.formats[0]}"


PLAIN_TRANSPORT = PlainTransport()


def read(
    description: SessionDescription,
    text: str,
    policy: frozenset[Key],
    index: int | None = None,
    transport: Transport = PLAIN_TRANSPORT,
) -> Remote:
    """Find our stream in a remote description: the m= line `index`, else the first that suits the policy.

    Raises SdpError if malformed, NoCommonCodec if no section suits, MediaError for an address not to send to.
    """
    reason = "no audio offered"
    sections = list(enumerate(description.media))
    if len(sections) > 1:
        sections.sort(key=lambda each: not each[1].port)  # one with port 0 only if there is no other
    for number, media in sections:
        if media.kind != "audio" or (index is not None and number != index):
            continue
        if media.protocol.upper() not in transport.accepts:
            reason = f"only {transport.name} is supported"
            continue
        formats = formats_of(media)
        codecs = tuple(c for c in formats if c.key in policy)
        if not codecs:
            reason = "no codec in common"
            continue
        events = events_beside(codecs, [c for c in formats if c.is_event])
        refused = tuple(transport.refuse(each) for each in description.media)
        return _remote(description, media, text, number, refused, codecs, events)
    raise NoCommonCodec(reason)


def _remote(
    description: SessionDescription,
    media: MediaDescription,
    text: str,
    index: int,
    refused: tuple[str, ...],
    codecs: tuple[Codec, ...],
    events: tuple[Codec, ...],
) -> Remote:
    connection = media.connection or description.connection
    if connection is None:
        raise SdpError("session description has no c= line")
    direction = bits(media.direction or description.direction or "sendrecv")
    rtp = rtcp = None
    host = _sendable(connection.host) if media.port else None
    if host is not None:
        rtp = (host, media.port)
        rtcp = _rtcp_address(media, host)
    elif media.port and _is_null(connection.host) and not _by_ice(description, media):
        direction &= ~RECEIVE  # RFC 3264 §8.4: hold as in RFC 2543
    if not media.port:
        direction = 0
    ptime = media.ptime_ms
    ipv6 = ":" in rtp[0] if rtp is not None else connection.address_type.upper() == "IP6"
    return Remote(
        text, index, refused, codecs, events, direction, rtp, rtcp, ptime, not media.port, ipv6, media, description
    )


@lru_cache(maxsize=1024)
def _sendable(host: str) -> str | None:
    """A unicast address as sockets write it, None for a host name or the null address. MediaError for the rest."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if address.is_multicast or host == "255.255.255.255":
        raise MediaError("multicast media is not supported")
    return None if address.is_unspecified else str(address)


def _is_null(host: str) -> bool:
    return host in ("0.0.0.0", "::") or host.endswith(".invalid")  # RFC 3264 §8.4, RFC 6157 §3.1


def _by_ice(description: SessionDescription, media: MediaDescription) -> bool:
    """Whether candidates say where the media goes: then a null address means that they follow (RFC 8840 §4.1.3)."""
    return media.first("ice-ufrag") is not None or "ice-ufrag" in description.attributes


def _rtcp_address(media: MediaDescription, host: str) -> tuple[str, int] | None:
    written = media.rtcp
    if written is None:
        return (host, media.port + 1) if media.port < 65535 else None
    port, other = written
    chosen = _sendable(other or host)
    return (chosen, port) if port and chosen is not None else None


def admit_all(remote: Remote, is_offer: bool) -> None:
    """Refuse nothing."""


class Negotiation:
    """The offer/answer state of one leg. Raises as `MediaLeg` says."""

    __slots__ = (
        "_agreed",
        "_audio_index",
        "_keys",
        "_last_offer",
        "_numbers",
        "_offer",
        "_origin",
        "_policy",
        "_received",
        "_refused",
        "_sent",
        "_session_id",
        "_transport",
        "_version",
        "admit",
        "host",
        "port",
        "video",
    )

    def __init__(
        self,
        policy: Sequence[Codec],
        host: str,
        port: int,
        session_id: int,
        admit: Callable[[Remote, bool], None] = admit_all,
        transport: Transport = PLAIN_TRANSPORT,
    ) -> None:
        """`host` and `port` are what we announce; `session_id` goes into o= and should be unique.

        `admit` may refuse a remote offer (or answer) by raising MediaError, before anything changes.
        """
        self.admit = admit
        self._transport = transport
        self._policy = tuple(policy)
        self._keys = frozenset(codec.key for codec in policy)
        self.host = host
        self.port = port
        "Said in our next description, as `host` is."
        self._session_id = session_id
        self._version = session_id - 1
        self.video: VideoNegotiation | None = None
        "Of a leg that may have video beside its audio."
        self._origin = ""
        self._sent = ("", "")
        self._agreed: Agreement | None = None
        self._received: Remote | None = None
        self._offer: _Offered | None = None
        self._last_offer: _Offered | None = None
        self._numbers: dict[Key, int] = {}
        self._refused: tuple[str, ...] = ()
        self._audio_index = 0

    @property
    def agreement(self) -> Agreement | None:
        """The last completed exchange."""
        return self._agreed

    @property
    def pending(self) -> bool:
        """True while an exchange is half way."""
        return self._received is not None or self._offer is not None

    @property
    def expects_answer(self) -> bool:
        """True while an offer of ours is out."""
        return self._offer is not None

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """Audio codecs of the exchange under way or last agreed."""
        current = self._received or self._offer or self._agreed
        return current.codecs if current else ()

    @property
    def events(self) -> tuple[Codec, ...]:
        """telephone-event formats of the same exchange."""
        current = self._received or self._offer or self._agreed
        return current.events if current else ()

    @property
    def remote(self) -> Remote | None:
        """The last remote description: of the offer under way, else of the agreement."""
        if self._received:
            return self._received
        return self._agreed.remote if self._agreed else None

    @property
    def on_hold(self) -> bool:
        """True if the remote party does not want to hear us, by its offer under way or the agreement."""
        if self._received:
            return not self._received.direction & RECEIVE
        return self._agreed is not None and self._agreed.on_hold

    @property
    def local_sdp(self) -> str | None:
        """Our last description, sent or agreed."""
        if self._offer:
            return self._offer.text
        return self._agreed.local_sdp if self._agreed else None

    def receive_offer(self, text: str) -> None:
        """Take a remote offer."""
        if self.pending:
            raise RuntimeError("an exchange is already under way")
        remote = read(sdp.parse(text), text, self._keys, transport=self._transport)
        if remote.disabled and self._agreed is None:
            raise NoCommonCodec("the only audio stream is disabled")
        self.admit(remote, True)
        self._received = remote
        if self.video is not None:
            self.video.receive_offer(remote.description, remote.media)

    def create_answer(self, like: MediaLeg | None, direction: str | None) -> Agreement:
        """Answer the offer received; the exchange is then agreed."""
        offer = self._received
        if offer is None:
            raise RuntimeError("no offer to answer")
        codecs, events = offer.codecs, offer.events
        own = {c.key: c.fmtp for c in self._policy}
        allowed = mirror(offer.direction)
        if like is not None and like.codecs:
            codecs, events = _alike(codecs, events, like)
            own = {c.key: c.fmtp for c in (*like.codecs, *like.events)}
            if like.remote_sdp is not None:
                allowed &= bits(like.remote_direction)
        if direction is not None:
            allowed &= bits(direction)
        if not codecs:
            raise NoCommonCodec("no codec in common with the other party")
        ours = [c.with_fmtp(own.get(c.key, "")) for c in codecs]
        ours += [c.with_fmtp(own.get(c.key) or event_codec(c.clock_hz).fmtp) for c in events]
        self._refused, self._audio_index = offer.refused, offer.index
        ptime = (like.ptime_ms if like is not None else None) or offer.ptime_ms or DEFAULT_PTIME_MS
        video = (
            self.video.answer(like.video if like is not None else None, direction, self.port) if self.video else None
        )
        text = self._write(ours, allowed, ptime, video, disabled=offer.disabled)
        self._numbers.update({c.key: c.payload_type for c in ours})
        held = not offer.direction & RECEIVE
        self._agreed = Agreement(text, offer, codecs, events, (*codecs, *events), allowed, held)
        self._received = self._last_offer = None
        return self._agreed

    def create_offer(self, like: MediaLeg | None, direction: str | None) -> str:
        """Make an offer and remember it until it is answered or rolled back."""
        if self.pending:
            raise RuntimeError("an exchange is already under way")
        wanted = SEND | RECEIVE
        ptime = DEFAULT_PTIME_MS
        if like is not None and like.codecs:
            codecs, events = _alike(self._policy, None, like)
            if not codecs:
                raise NoCommonCodec("no codec in common with the other party")
            if like.remote_sdp is not None:
                wanted = bits(like.remote_direction)
            ptime = like.ptime_ms or ptime
        elif self._agreed is not None:
            codecs, events = self._agreed.codecs, self._agreed.events
        else:
            codecs = self._policy
            events = tuple(event_codec(hz) for hz in dict.fromkeys(c.clock_hz for c in codecs))
        if direction is not None:
            wanted = bits(direction)
        formats = self._numbered([*codecs, *events])
        text = self._write(formats, wanted, ptime, self._offer_video(like, direction, formats))
        count = len(codecs)
        self._offer = _Offered(text, tuple(formats[:count]), tuple(formats[count:]), wanted)
        return text

    def receive_answer(self, text: str) -> Agreement:
        """Take the answer to our offer, or a later one to the same offer."""
        offer = self._offer or self._last_offer
        if offer is None or self._received is not None:
            raise RuntimeError("no offer to be answered")
        description = sdp.parse(text)
        if len(description.media) <= self._audio_index:
            raise SdpError("answer has fewer m= lines than the offer")
        if not description.media[self._audio_index].port and self._agreed is None:
            raise NoCommonCodec("the audio stream was refused")
        offered = {c.key: c for c in (*offer.codecs, *offer.events)}
        remote = read(description, text, frozenset(c.key for c in offer.codecs), self._audio_index, self._transport)
        self.admit(remote, False)
        events = tuple(c for c in remote.events if c.key in offered)
        receives = tuple(c.with_payload_type(offered[c.key].payload_type) for c in (*remote.codecs, *events))
        self._numbers.update({c.key: c.payload_type for c in offered.values()})
        direction = mirror(remote.direction) & offer.direction
        held = bool(offer.direction & SEND) and not remote.direction & RECEIVE
        self._agreed = Agreement(offer.text, remote, remote.codecs, events, receives, direction, held)
        self._offer, self._last_offer = None, offer
        self._refused = remote.refused[: offer.text.count("\r\nm=")]
        if self.video is not None:
            self.video.receive_answer(remote.description, remote.media)
        return self._agreed

    def rollback(self) -> None:
        """Forget the exchange under way."""
        self._received = self._offer = None
        if self.video is not None:
            self.video.rollback()

    def _offer_video(
        self, like: MediaLeg | None, direction: str | None, formats: Sequence[Codec]
    ) -> tuple[int, str] | None:
        if self.video is None:
            return None
        wanted: Video | None = like.video if like is not None else None
        taken = {codec.payload_type for codec in formats}
        return self.video.offer(wanted, like is None, direction, max(1, len(self._refused)), taken, self.port)

    def _numbered(self, codecs: Iterable[Codec]) -> list[Codec]:
        """Give each codec the payload type it had on this stream, else its own, else a free one.

        RFC 3264 §8.3.2: a payload type keeps its meaning for the whole session.
        """
        taken: dict[int, Key | None] = {number: key for key, number in self._numbers.items()}
        if self.video is not None:
            taken.update(dict.fromkeys(self.video.taken))
        formats = []
        for codec in codecs:
            number = self._numbers.get(codec.key, codec.payload_type)
            if taken.get(number, codec.key) != codec.key:
                number = next(n for n in range(LAST_DYNAMIC, FIRST_DYNAMIC - 1, -1) if n not in taken)
            taken[number] = codec.key
            formats.append(codec.with_payload_type(number))
        return formats

    def _write(
        self,
        formats: Sequence[Codec],
        direction: int,
        ptime_ms: int,
        video: tuple[int, str] | None,
        *,
        disabled: bool = False,
    ) -> str:
        """Our description; the version of o= is raised if anything else in it changed (RFC 3264 §8)."""
        lines = list(self._refused) or [""]
        numbers = " ".join(str(c.payload_type) for c in formats)
        transport = self._transport
        stream = [f"m=audio {0 if disabled else self.port} {transport.protocol} {numbers}"]
        for codec in formats:
            tail = f"/{codec.channels}" if codec.channels != 1 else ""
            stream.append(f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_hz}{tail}")
            if codec.fmtp:
                stream.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
        stream += (f"a=ptime:{ptime_ms}", f"a={DIRECTIONS[direction]}", *transport.stream_lines())
        lines[self._audio_index] = "\r\n".join(stream)
        if video is not None:
            lines[video[0] : video[0] + 1] = [video[1]]
        body = "\r\n".join(lines)
        address = f"IN {'IP6' if ':' in self.host else 'IP4'} {self.host}"
        if (address, body) != self._sent:
            self._sent = (address, body)
            self._version += 1
        self._origin = origin = self._origin or address  # it stays, wherever the media goes (RFC 3264 §8)
        head = f"v=0\r\no=- {self._session_id} {self._version} {origin}\r\ns=-\r\nc={address}\r\nt=0 0\r\n"
        return f"{head}{transport.session_lines(lines)}{body}\r\n"


def _alike(
    mine: Sequence[Codec], my_events: Sequence[Codec] | None, like: MediaLeg
) -> tuple[tuple[Codec, ...], tuple[Codec, ...]]:
    """Those of mine that the other leg has, in its order; for an offer (`my_events` is None) with its payload types.

    An offer goes on with what we can transcode for the other party. An answer does so only where there is nothing in
    common: a codec that it names may be used, and a relay is cheaper.
    """
    own = {c.key: c for c in mine}
    offering = my_events is None
    codecs = tuple(c if offering else own[c.key] for c in like.codecs if c.key in own)
    if (offering or not codecs) and any(can_code(c) for c in like.codecs):
        law = any(c.is_g711 for c in like.codecs)
        more = (c for c in mine if can_code(c) and c.key not in {each.key for each in codecs})
        codecs += tuple(sorted(more, key=lambda c: not (law and c.is_g711)))  # one law becomes the other by a table
    if my_events is None:
        events = (*like.events, *(event_codec(hz) for hz in dict.fromkeys(c.clock_hz for c in codecs)))
        return codecs, events_beside(codecs, tuple({e.key: e for e in reversed(events)}.values())[::-1])
    theirs = {c.key for c in like.events}
    return codecs, events_beside(codecs, [e for e in my_events if e.key in theirs] or my_events)


def events_beside(codecs: Sequence[Codec], events: Sequence[Codec]) -> tuple[Codec, ...]:
    """The telephone-event formats that go with the codecs: at a clock of theirs (RFC 4733 §2.1), else any.

    Many phones offer telephone-event/8000 alone beside Opus.
    """
    clocks = {c.clock_hz for c in codecs}
    return tuple(e for e in events if e.clock_hz in clocks) or tuple(events)
