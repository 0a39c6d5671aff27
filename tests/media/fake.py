"""A media engine without sockets: real offer/answer, and a record of what was joined to what."""

from __future__ import annotations

from collections.abc import Sequence

from media import LegStats, MediaError, MediaLeg, NoPortsLeft
from media.codecs import policy_of
from media.negotiation import Negotiation
from media.sdp_leg import SdpLeg

DEFAULT_CODECS = ("PCMU", "PCMA", "G722", "opus")


class FakeMediaLeg(SdpLeg):
    """A leg that negotiates and nothing else."""

    __slots__ = (
        "attached",
        "candidates",
        "closed",
        "digits",
        "ipv6",
        "muted",
        "peer_host",
        "port",
        "relayed",
        "stats",
    )

    def __init__(self, leg_id: str, negotiation: Negotiation, host: str, port: int, peer_host: str | None) -> None:
        super().__init__(leg_id, negotiation)
        self.port = port
        self.peer_host = peer_host
        self.ipv6: bool | None = None
        "The IP version that was asked for."
        self.closed = False
        self.muted = False
        self.attached: FakeAttachment | FakeMix | None = None
        self.candidates: list[str | None] = []
        "All that came after the description."
        self.digits = ""
        "All that `send_dtmf` was asked to send."
        self.relayed = ""
        "What the remote party said and the party that it is bridged with was sent, packet by packet."
        self.stats = LegStats((host, port), None)

    def send_dtmf(self, digits: str, duration_ms: int = 160) -> None:
        """Remember the digits. Raises MediaError if none can be sent."""
        if not self.events:
            raise MediaError("telephone-event was not negotiated")
        self.digits += digits

    def add_candidate(self, line: str | None) -> None:
        """Remember it."""
        self.candidates.append(line)

    def mute(self, on: bool) -> None:
        """Remember it."""
        self.muted = on

    def close(self) -> None:
        """Free the port."""
        self.closed = True
        if self.attached is not None:
            self.attached.close()

    # What a test does in place of the network.

    def press(self, digit: str, duration_ms: int = 100) -> None:
        """The remote party sent a digit."""
        self.end(digit, duration_ms, counts=self.begin(digit))

    def begin(self, digit: str) -> bool:
        """The remote party begins with a digit; whether it counts."""
        counts = self.on_dtmf_begin is None or self.on_dtmf_begin(self, digit)
        joined = self.attached
        if counts and joined is not None and joined.kind == "bridge":
            other = next(leg for leg in joined.legs if leg is not self)
            self.relayed += digit if other.events else ""
        return counts

    def end(self, digit: str, duration_ms: int = 100, *, counts: bool = True) -> None:
        """It is done with that digit."""
        if counts and self.on_dtmf is not None:
            self.on_dtmf(self, digit, duration_ms)

    def fall_silent(self, reason: str = "no RTP for 60 s") -> None:
        """No RTP came for too long."""
        if self.on_timeout is not None:
            self.on_timeout(self, reason)


class FakeAttachment:
    """A bridge (two legs) or a player (one)."""

    __slots__ = ("kind", "legs")

    def __init__(self, kind: str, *legs: FakeMediaLeg) -> None:
        self.kind = kind
        "bridge, mix, echo, tone, ringback, comfort, or announce and the name."
        self.legs = legs
        for leg in legs:
            if leg.attached is not None:
                leg.attached.close()
            leg.attached = self

    def close(self) -> None:
        """Detach."""
        for leg in self.legs:
            if leg.attached is self:
                leg.attached = None


class FakeMix:
    """Any number of legs."""

    kind = "mix"

    def __init__(self, legs: Sequence[MediaLeg]) -> None:
        self.legs: list[FakeMediaLeg] = []
        for leg in legs:
            self.add(leg)

    def add(self, leg: MediaLeg) -> None:
        """One more."""
        assert isinstance(leg, FakeMediaLeg)
        if leg not in self.legs:
            if leg.attached is not None:
                leg.attached.close()
            leg.attached = self
            self.legs.append(leg)

    def remove(self, leg: MediaLeg) -> None:
        """One less."""
        assert isinstance(leg, FakeMediaLeg)
        if leg in self.legs:
            self.legs.remove(leg)
            leg.attached = None

    def close(self) -> None:
        """Detach all."""
        for leg in list(self.legs):
            self.remove(leg)


class FakeMediaEngine:
    """The surface of `MediaEngine`; `legs` are all ever made, in order."""

    def __init__(self, *, host: str = "192.0.2.1", ports: int = 1000, codecs: Sequence[str] = DEFAULT_CODECS) -> None:
        self.legs: list[FakeMediaLeg] = []
        self.closed = False
        self._host = host
        self._ports = ports
        self._codecs = tuple(codecs)

    @property
    def live(self) -> list[FakeMediaLeg]:
        """Legs not closed."""
        return [leg for leg in self.legs if not leg.closed]

    def create_leg(
        self,
        *,
        codecs: Sequence[str] | None = None,
        peer_host: str | None = None,
        ipv6: bool | None = None,
        webrtc: bool = False,
        video: bool = False,
    ) -> FakeMediaLeg:
        """A new leg, on ports 40000, 40002, ... Raises NoPortsLeft."""
        if len(self.live) >= self._ports:
            raise NoPortsLeft("no RTP port is free")
        number = len(self.legs)
        port = 40000 + 2 * number
        host = "2001:db8::1" if ipv6 else self._host
        negotiation = Negotiation(policy_of(codecs or self._codecs), host, port, 1000 + number)
        leg = FakeMediaLeg(f"leg-{number}", negotiation, host, port, peer_host)
        leg.ipv6 = ipv6
        self.legs.append(leg)
        return leg

    def bridge(self, a: MediaLeg, b: MediaLeg) -> FakeAttachment:
        """Join two legs; the same attachment again if they are joined already."""
        assert isinstance(a, FakeMediaLeg)
        assert isinstance(b, FakeMediaLeg)
        joined = a.attached
        if isinstance(joined, FakeAttachment) and joined is b.attached:
            return joined
        return FakeAttachment("bridge", a, b)

    def mix(self, legs: Sequence[MediaLeg]) -> FakeMix:
        """Join any number of legs."""
        return FakeMix(legs)

    def echo(self, leg: MediaLeg, prompt: bool = True) -> FakeAttachment:
        """Attach an echo."""
        return self._play("echo", leg)

    def tone(self, leg: MediaLeg, hz: int = 1000) -> FakeAttachment:
        """Attach a tone."""
        return self._play("tone", leg)

    def ringback(self, leg: MediaLeg) -> FakeAttachment:
        """Attach the ringing tone."""
        return self._play("ringback", leg)

    def announce(self, leg: MediaLeg, name: str) -> FakeAttachment:
        """Attach a sentence."""
        return self._play(f"announce {name}", leg)

    def comfort(self, leg: MediaLeg) -> FakeAttachment:
        """Attach comfort noise."""
        return self._play("comfort", leg)

    def counts(self) -> dict[str, int]:
        """As `MediaEngine.counts`."""
        attached = {id(leg.attached): leg.attached for leg in self.live if leg.attached is not None}
        bridges = sum(each.kind in ("bridge", "mix") for each in attached.values())
        return {
            "legs": len(self.live),
            "bridges": bridges,
            "players": len(attached) - bridges,
            "ports": 2 * len(self.live),
            "ports_resting": 0,
        }

    def close(self) -> None:
        """Close every leg."""
        self.closed = True
        for leg in self.live:
            leg.close()

    def _play(self, kind: str, leg: MediaLeg) -> FakeAttachment:
        assert isinstance(leg, FakeMediaLeg)
        return FakeAttachment(kind, leg)
