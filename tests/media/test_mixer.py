"""Three and more legs that hear each other."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from importlib import import_module

import pytest

from media import MediaEngine
from media.codecs import KNOWN
from media.coders import G722_MODULE, make_decoder, make_encoder
from media.mixer import MAX_LEGS
from media.mixing import mixed
from media.voice_leg import VoiceLeg

from .party import Party, until
from .pauses import Pauses
from .tones import steady_share, tone

Make = Callable[[int], Party]
SMOOTH_S = 0.04  # a pause no longer than that, two packets, is nothing to a jitter buffer
TRIES = 20


@pytest.fixture(autouse=True)
def loaded() -> None:
    """What a process imports at its first G.722."""
    import_module(G722_MODULE)


def frame(*samples: int) -> bytes:
    return struct.pack(f"{len(samples)}h", *samples)


def test_each_hears_the_others_and_all_is_clipped() -> None:
    total, others = mixed([frame(1, 30000, -30000), frame(2, 30000, -30000), frame(4, 5, -5)])
    assert total == frame(7, 32767, -32768)
    assert others == [frame(6, 30005, -30005), frame(5, 30005, -30005), frame(3, 32767, -32768)]


@pytest.mark.parametrize("sample", [32767, -32768, 1, -1])
def test_as_many_as_a_mix_may_have_are_summed_exactly(sample: int) -> None:
    total, others = mixed([frame(sample, 1)] * MAX_LEGS)
    clipped = max(-32768, min(32767, MAX_LEGS * sample))
    assert total == frame(clipped, MAX_LEGS)
    assert others[0] == frame(max(-32768, min(32767, (MAX_LEGS - 1) * sample)), MAX_LEGS - 1)


class Guest:
    """A party of a mix, speaking and listening in one codec."""

    def __init__(self, engine: MediaEngine, party: Party, name: str) -> None:
        self.party, self.codec = party, KNOWN[name]
        self.leg: VoiceLeg = engine.create_leg()
        self.leg.receive_offer(party.sdp(str(self.codec.payload_type)))
        party.aim(self.leg.create_answer())
        self._encoder, self._decoder = make_encoder(self.codec, 16000), make_decoder(self.codec, 16000)
        self._at = 0
        self.payloads: list[bytes] = []

    @property
    def rate_hz(self) -> int:
        """Of what it hears."""
        return self._decoder.rate_hz

    def say(self, hz: int) -> None:
        """20 ms of a tone."""
        samples = self._encoder.rate_hz // 50
        payload = self._encoder.encode(tone(hz, samples, self._encoder.rate_hz, at=self._at))
        self._at += samples
        self.party.seq = (self.party.seq + 1) & 0xFFFF
        self.party.timestamp = (self.party.timestamp + self.codec.clock_hz // 50) & 0xFFFFFFFF
        self.party.send_raw(self.party.packet(self.codec.payload_type, payload))

    def heard(self) -> bytes:
        """The samples of all that came since."""
        pcm = b""
        self.payloads.clear()
        while True:
            try:
                data = self.party.socket.recv(4096)
            except BlockingIOError:
                return pcm
            self.payloads.append(data[12:])
            pcm += self._decoder.decode(data[12:])

    def share(self, pcm: bytes, hz: int) -> float:
        """How much of what it heard is a tone."""
        return steady_share(pcm, hz, self.rate_hz)


async def talk(seconds: float, *speakers: tuple[Guest, int], afresh: Sequence[Guest] = ()) -> None:
    """Everybody says a tone, in real time; again, if the machine paused: what is mixed then is in part made up.

    What those in `afresh` heard before the last time is forgotten.
    """
    loop = asyncio.get_running_loop()
    for _ in range(TRIES):
        for guest in afresh:
            guest.heard()
        begun = loop.time()
        async with Pauses() as pauses:
            for number in range(int(seconds * 50)):
                await asyncio.sleep(max(0.0, begun + number / 50 - loop.time()))
                for guest, hz in speakers:
                    guest.say(hz)
        if pauses.longest() <= SMOOTH_S:
            return


async def test_three_legs_hear_each_other_but_not_themselves(engine: MediaEngine, party: Make) -> None:
    a, b, c = (Guest(engine, party(n), name) for n, name in enumerate(("pcmu", "opus", "g722"), 0xA))
    engine.mix([a.leg, b.leg, c.leg])
    await talk(0.5, (a, 440), (b, 1000))
    await talk(0.6, (a, 440), (b, 1000), afresh=(a, b, c))
    to_a, to_b, to_c = a.heard(), b.heard(), c.heard()
    for guest, pcm in ((a, to_a), (b, to_b), (c, to_c)):
        assert 20 <= len(pcm) // 2 * 50 // guest.rate_hz <= 45, "one packet each 20 ms"
    assert a.share(to_a, 1000) > 0.7 > 0.1 > a.share(to_a, 440)
    assert b.share(to_b, 440) > 0.7 > 0.1 > b.share(to_b, 1000)
    assert c.share(to_c, 440) > 0.2
    assert c.share(to_c, 1000) > 0.2


async def test_those_who_are_silent_share_an_encoder(
    engine: MediaEngine, party: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests = [Guest(engine, party(n), "opus") for n in range(0xA, 0xE)]
    engine.mix([guest.leg for guest in guests])
    await talk(0.3, (guests[0], 440))
    for guest in guests:
        guest.heard()
    await talk(0.2, (guests[0], 440))
    for guest in guests:
        guest.heard()
    shortest = min(len(guest.payloads) for guest in guests[1:])
    assert shortest > 3
    first, *others = (guest.payloads[:shortest] for guest in guests[1:])
    assert all(other == first for other in others)
    assert guests[0].payloads[:shortest] != first


async def test_coming_and_going(engine: MediaEngine, party: Make) -> None:
    a, b, c = (Guest(engine, party(n), "pcmu") for n in (0xA, 0xB, 0xC))
    mix = engine.mix([a.leg, b.leg])
    assert engine.counts()["bridges"] == 1
    await talk(0.4, (a, 440))
    assert b.share(b.heard()[-3200:], 440) > 0.7
    mix.add(c.leg)
    mix.add(c.leg)
    await talk(0.4, (a, 440))
    assert c.share(c.heard()[-3200:], 440) > 0.7
    mix.remove(b.leg)
    mix.remove(b.leg)
    await asyncio.sleep(0.05)
    b.heard()
    await talk(0.2, (a, 440))
    assert b.heard() == b""
    engine.bridge(a.leg, b.leg)  # what feeds a leg is one thing at a time
    await talk(0.1, (a, 440))
    await until(lambda: b.share(b.heard(), 440) > 0.7 if len(b.payloads) else bool(b.heard()))
    c.leg.close()
    assert engine.counts()["bridges"] == 1, "the bridge; the mix has nobody left"
    mix.close()
    mix.close()


async def test_one_who_is_muted_listens_only(engine: MediaEngine, party: Make) -> None:
    a, b = (Guest(engine, party(n), "pcmu") for n in (0xA, 0xB))
    engine.mix([a.leg, b.leg])
    await talk(0.3, (a, 440), (b, 1000))
    a.leg.mute(True)
    await talk(0.3, (a, 440), (b, 1000))
    await talk(0.2, (a, 440), (b, 1000), afresh=(b,))
    assert b.share(b.heard(), 440) < 0.1
    assert a.share(a.heard()[-3200:], 1000) > 0.7
    a.leg.mute(False)
    await talk(0.4, (a, 440), (b, 1000))
    assert b.share(b.heard()[-3200:], 440) > 0.7


async def test_one_who_is_on_hold_is_sent_nothing(engine: MediaEngine, party: Make) -> None:
    a, b = (Guest(engine, party(n), "pcmu") for n in (0xA, 0xB))
    engine.mix([a.leg, b.leg])
    await talk(0.2, (a, 440))
    b.leg.receive_offer(b.party.sdp("0", direction="inactive", version=2))
    b.leg.create_answer()
    await asyncio.sleep(0.05)
    b.heard()
    await talk(0.1, (a, 440))
    assert b.heard() == b""
    b.leg.receive_offer(b.party.sdp("0", version=3))
    b.leg.create_answer()
    await talk(0.3, (a, 440))
    assert b.share(b.heard()[-3200:], 440) > 0.7


async def test_a_mix_has_a_limit(engine: MediaEngine, party: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.mixer.MAX_LEGS", 1)
    a, b = (Guest(engine, party(n), "pcmu") for n in (0xA, 0xB))
    mix = engine.mix([a.leg])
    with pytest.raises(ValueError, match="at most 1"):
        mix.add(b.leg)
