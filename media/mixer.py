"""Any number of legs that hear each other, each all but itself, at 16 kHz on the engine's tick of 20 ms.

Only who speaks is mixed. All who are silent hear the same, so that is encoded once for each codec and packet length;
each speaker has an encoder of his own, for he hears the others alone.
"""

from __future__ import annotations

import audioop
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from . import comfort
from .codecs import Codec
from .coders import WIDE_HZ, ptime_for
from .leg import MediaLeg
from .mixing import mixed
from .playout import Playout
from .sender import AudioSender
from .voice_leg import VoiceLeg

TICK_MS: Final = 20
SPEECH_RMS: Final = 100
"Of 16-bit samples, about -50 dBov: less is background."
HANGOVER: Final = 15
"Ticks that one counts as speaking after the last loud one: pauses between words are no change of encoder."
MAX_LEGS: Final = 500
"Of one mix: what one core can encode and send is less."

GroupKey = tuple[tuple[str, int, int], str, int]


class MixHost(Protocol):
    """What a mix needs of the engine."""

    def every_tick(self, tick: Callable[[float], bool]) -> None:
        """Call this every 20 ms with the monotonic time, until it returns False."""

    def bridged(self, change: int) -> None:
        """Count bridges."""


class Listeners:
    """A `sender.PayloadSink` for all who hear the same in this tick."""

    __slots__ = ("legs", "loss_percent")

    def __init__(self) -> None:
        self.legs: list[tuple[VoiceLeg, Codec]] = []
        self.loss_percent = 0

    def say(self, codec: Codec, payload: bytes, ticks: int, now: float) -> None:
        """The same payload to each, under the number that each has for the codec."""
        for leg, own in self.legs:
            leg.say(own, payload, ticks, now)

    def be_silent(self, ticks: int) -> None:
        """Nothing is sent to any of them for so long."""
        for leg, _ in self.legs:
            leg.be_silent(ticks)


class Member:
    """One leg of a mix; what is attached to the leg."""

    __slots__ = ("_mixer", "frame", "leg", "loud", "playout", "sender")

    def __init__(self, mixer: Mixer, leg: VoiceLeg) -> None:
        self._mixer = mixer
        self.leg = leg
        self.playout = Playout(WIDE_HZ)
        self.loud = 0
        "Ticks for which it goes on to count as speaking."
        self.frame: bytes | None = None
        self.sender: tuple[GroupKey, AudioSender] | None = None
        "While it speaks."

    def hear(self) -> bool:
        """Take its next 20 ms; True if it speaks."""
        self.frame = self.playout.read(TICK_MS)
        if self.frame is not None and audioop.rms(self.frame, 2) >= SPEECH_RMS:
            self.loud = HANGOVER
        elif self.loud:
            self.loud -= 1
        return self.loud > 0 and self.frame is not None

    def close(self) -> None:
        """Take part no more."""
        self._mixer.remove(self.leg)


class Mixer:
    """Implements `leg.Mix`."""

    def __init__(self, host: MixHost, legs: Sequence[MediaLeg]) -> None:
        self._host = host
        self._members: dict[VoiceLeg, Member] = {}
        self._groups: dict[GroupKey, tuple[Listeners, AudioSender]] = {}
        self._silent = 0
        for leg in legs:
            self.add(leg)

    def add(self, leg: MediaLeg) -> None:
        """Let one more take part; what fed that leg before ends. Raises ValueError beyond 500."""
        assert isinstance(leg, VoiceLeg), "legs of another engine"
        if leg in self._members:
            return
        if len(self._members) >= MAX_LEGS:
            raise ValueError(f"a mix has at most {MAX_LEGS} legs")
        if leg.attachment is not None:
            leg.attachment.close()
        if not self._members:
            self._host.bridged(1)
            self._host.every_tick(self.tick)
        member = self._members[leg] = Member(self, leg)
        leg.attachment = member
        leg.tap((member.playout, WIDE_HZ))

    def remove(self, leg: MediaLeg) -> None:
        """Let one go. Harmless for a leg that takes no part."""
        if not isinstance(leg, VoiceLeg) or self._members.pop(leg, None) is None:
            return
        leg.attachment = None
        leg.tap(None)
        leg.pause()
        if not self._members:
            self._groups.clear()
            self._host.bridged(-1)

    def close(self) -> None:
        """Let all go. Harmless twice."""
        for leg in list(self._members):
            self.remove(leg)

    def tick(self, now: float) -> bool:
        """Mix and send 20 ms. False when nobody is left."""
        members = list(self._members.values())
        speakers = [member for member in members if member.hear()]
        frames = [member.frame for member in speakers if member.frame is not None]
        if frames:
            everything, others = mixed(frames)
        else:
            everything, others = self._noise(), []
        if len(speakers) == 1:
            others = [self._noise()]
        for member, frame in zip(speakers, others, strict=True):
            self._tell_speaker(member, frame, now)
        speaking = set(speakers)
        self._tell_listeners([member for member in members if member not in speaking], everything, now)
        return bool(self._members)

    def _noise(self) -> bytes:
        """20 ms that nobody speaks in."""
        samples = WIDE_HZ * TICK_MS // 1000
        self._silent += samples
        return comfort.noise(samples, comfort.DEFAULT_DBOV, self._silent)

    def _tell_speaker(self, member: Member, frame: bytes, now: float) -> None:
        codec = member.leg.voice
        if codec is None:
            member.leg.pause()
            return
        key = _group_of(member.leg, codec)
        if member.sender is None or member.sender[0] != key:
            member.sender = key, AudioSender(codec, WIDE_HZ, key[2], member.leg)
        member.sender[1].write(frame, now)

    def _tell_listeners(self, listeners: Sequence[Member], frame: bytes, now: float) -> None:
        for sink, _ in self._groups.values():
            sink.legs.clear()
        for member in listeners:
            member.sender = None
            codec = member.leg.voice
            if codec is None:
                member.leg.pause()
                continue
            key = _group_of(member.leg, codec)
            if key not in self._groups:
                sink = Listeners()
                self._groups[key] = sink, AudioSender(codec, WIDE_HZ, key[2], sink)
            self._groups[key][0].legs.append((member.leg, codec))
        for key, (sink, sender) in list(self._groups.items()):
            if sink.legs:
                sink.loss_percent = max(leg.loss_percent for leg, _ in sink.legs)
                sender.write(frame, now)
            else:
                del self._groups[key]


def _group_of(leg: VoiceLeg, codec: Codec) -> GroupKey:
    """Who hears the same, coded alike."""
    return codec.key, codec.fmtp, ptime_for(codec, leg.ptime_ms, leg.maxptime_ms)
