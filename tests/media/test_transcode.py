"""Legs that have no codec in common, with real sockets."""

from __future__ import annotations

import asyncio
import audioop
import gc
import random
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise, permutations

import pytest

from media import MediaEngine, MediaError
from media.codecs import KNOWN, Codec
from media.coders import G722_MODULE, make_decoder, make_encoder
from media.dtmf import END, PAYLOAD
from media.mixer import Mixer
from media.player import prompt_frames
from media.receiver import AudioReceiver
from media.sender import AudioSender
from media.voice_leg import VoiceLeg

from .party import WAIT_S, Packet, Party, until
from .tones import share, steady_share, tone

Make = Callable[[int], Party]
NAMES = ("pcmu", "g722", "opus")
FORMATS = {"pcmu": "0", "pcma": "8", "g722": "9", "opus": "96"}
EVENTS = {
    8_000: ("101", "a=rtpmap:101 telephone-event/8000"),
    48_000: ("103", "a=rtpmap:103 telephone-event/48000"),
}


@pytest.fixture(autouse=True)
def loaded() -> None:
    """What a process imports at its first G.722."""
    import_module(G722_MODULE)


class Caller:
    """A party that speaks one codec: says a tone, and listens."""

    def __init__(self, party: Party, name: str, *lines: str, events_hz: int | None = None) -> None:
        self.party, self.codec = party, KNOWN[name]
        self._encoder = make_encoder(self.codec, 8000)
        self._decoder = make_decoder(self.codec, 8000)
        self._at = 0
        self.heard: list[Packet] = []
        event, event_line = EVENTS.get(events_hz or 0, ("", ""))
        self.event = int(event or 0)
        self._sdp = (f"{FORMATS[name]} {event}".strip(), *((event_line,) if event else ()), *lines)

    def sdp(self) -> str:
        """What it offers or answers."""
        formats, *lines = self._sdp
        return self.party.sdp(formats, *lines)

    def say(self, hz: int = 440, *, lost: bool = False) -> None:
        """20 ms of a tone; `lost`: on the way."""
        samples = self._encoder.rate_hz // 50
        payload = self._encoder.encode(tone(hz, samples, self._encoder.rate_hz, at=self._at))
        self._at += samples
        self.step()
        if not lost:
            self.party.send_raw(self.party.packet(self.codec.payload_type, payload))

    def step(self) -> None:
        """The next packet."""
        self.party.seq = (self.party.seq + 1) & 0xFFFF
        self.party.timestamp = (self.party.timestamp + self.codec.clock_hz // 50) & 0xFFFFFFFF

    def say_event(self, digit: int, timestamp: int, duration: int, flags: int) -> None:
        """One packet of a digit."""
        self.party.seq = (self.party.seq + 1) & 0xFFFF
        self.party.timestamp, before = timestamp, self.party.timestamp
        payload = PAYLOAD.pack(digit, flags, duration)
        self.party.send_raw(self.party.packet(self.event, payload, marker=not duration))
        self.party.timestamp = before

    async def hear(self, packets: int) -> bytes:
        """The samples of so many packets."""
        pcm = b""
        for _ in range(packets):
            packet = await self.party.receive()
            assert packet.payload_type == self.codec.payload_type
            self.heard.append(packet)
            pcm += self._decoder.decode(packet.payload)
        return pcm

    @property
    def rate_hz(self) -> int:
        """Of what it hears."""
        return self._decoder.rate_hz


def call(engine: MediaEngine, a: Caller, b: Caller) -> tuple[VoiceLeg, VoiceLeg]:
    """A calls B, and they are joined."""
    leg_a, leg_b = engine.create_leg(), engine.create_leg()
    leg_a.receive_offer(a.sdp())
    b.party.aim(leg_b.create_offer(leg_a))
    leg_b.receive_answer(b.sdp())
    a.party.aim(leg_a.create_answer(leg_b))
    engine.bridge(leg_a, leg_b)
    return leg_a, leg_b


@pytest.mark.parametrize(("one", "other"), list(permutations(NAMES, 2)))
async def test_a_tone_crosses_both_ways(engine: MediaEngine, party: Make, one: str, other: str) -> None:
    a, b = Caller(party(0xA), one), Caller(party(0xB), other)
    leg_a, leg_b = call(engine, a, b)
    for speaker, hearer, hz in ((a, b, 440), (b, a, 620)):
        pcm = b""
        for _ in range(40):
            speaker.say(hz)
            pcm += await hearer.hear(1)
        assert share(pcm[len(pcm) // 4 :], hz, hearer.rate_hz) > 0.8
        step = hearer.codec.clock_hz // 50
        assert {(y.timestamp - x.timestamp) & 0xFFFFFFFF for x, y in pairwise(hearer.heard)} == {step}
        assert {(y.seq - x.seq) & 0xFFFF for x, y in pairwise(hearer.heard)} == {1}
        assert [packet.marker for packet in hearer.heard] == [True] + [False] * 39
        assert len({packet.ssrc for packet in hearer.heard}) == 1
    for leg in (leg_a, leg_b):
        assert (leg.stats.packets_received, leg.stats.packets_sent, leg.stats.packets_lost) == (40, 40, 0)


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize(("one", "other"), [("opus", "pcmu"), ("pcmu", "opus"), ("g722", "pcmu")])
async def test_packets_are_as_long_as_asked_for(
    engine: MediaEngine, party: Make, one: str, other: str, ptime_ms: int
) -> None:
    a, b = Caller(party(0xA), one), Caller(party(0xB), other, f"a=ptime:{ptime_ms}")
    call(engine, a, b)
    said_ms = 480
    for _ in range(said_ms // 20):
        a.say()
        await asyncio.sleep(0)
    length_ms = 20 if (other, ptime_ms) == ("opus", 30) else ptime_ms
    pcm = await b.hear(said_ms // length_ms)
    assert len(pcm) == 2 * 8 * said_ms
    steps = {(y.timestamp - x.timestamp) & 0xFFFFFFFF for x, y in pairwise(b.heard)}
    assert steps == {b.codec.clock_hz * length_ms // 1000}
    assert steady_share(pcm[len(pcm) // 4 :], 440, 8000) > 0.8


@pytest.mark.parametrize("written", ["9" * 5000, "-1", "soon", "0", ""])
async def test_a_maxptime_of_no_sense_is_passed_over(engine: MediaEngine, party: Make, written: str) -> None:
    a, b = Caller(party(0xA), "opus"), Caller(party(0xB), "pcmu", f"a=maxptime:{written}")
    call(engine, a, b)
    a.say()
    await b.hear(1)
    assert len(b.heard[0].payload) == 160


async def test_maxptime_is_kept(engine: MediaEngine, party: Make) -> None:
    a, b = Caller(party(0xA), "opus"), Caller(party(0xB), "pcmu", "a=ptime:60", "a=maxptime:30")
    call(engine, a, b)
    for _ in range(3):
        a.say()
    await b.hear(2)
    assert [len(packet.payload) for packet in b.heard] == [240, 240]


@pytest.mark.parametrize(("one", "other"), [("opus", "pcmu"), ("pcmu", "opus"), ("g722", "opus")])
async def test_loss_leaves_the_tone_and_no_delay(engine: MediaEngine, party: Make, one: str, other: str) -> None:
    chance = random.Random(17)
    a, b = Caller(party(0xA), one), Caller(party(0xB), other)
    leg_a, _ = call(engine, a, b)
    lost = [chance.random() < 0.05 and 10 < number < 190 for number in range(200)]
    pcm = b""
    for each in lost:
        a.say(lost=each)
        await asyncio.sleep(0)
        if not each and len(b.heard) < 195:
            pcm += await b.hear(1)
    pcm += await b.hear(200 - len(b.heard))
    assert sum(lost) >= 5
    assert leg_a.stats.packets_lost == sum(lost)
    assert (b.heard[-1].timestamp - b.heard[0].timestamp) & 0xFFFFFFFF == 199 * b.codec.clock_hz // 50
    assert steady_share(pcm[len(pcm) // 4 :], 440, b.rate_hz) > 0.7
    a.say()
    await b.hear(1)  # what comes next passes at once: nothing waits before it


async def test_a_restart_of_the_source_is_one_stream_to_the_other(engine: MediaEngine, party: Make) -> None:
    a, b = Caller(party(0xA), "opus"), Caller(party(0xB), "pcmu")
    call(engine, a, b)
    for number in range(6):
        if number == 3:
            a.party.seq, a.party.timestamp = 40000, 99
        a.say()
        await b.hear(1)
    assert {(y.seq - x.seq) & 0xFFFF for x, y in pairwise(b.heard)} == {1}
    assert all(0 < (y.timestamp - x.timestamp) & 0xFFFFFFFF < 8000 for x, y in pairwise(b.heard))


async def test_hold_and_resume_leave_one_stream(engine: MediaEngine, party: Make) -> None:
    a, b = Caller(party(0xA), "opus"), Caller(party(0xB), "pcmu")
    leg_a, leg_b = call(engine, a, b)
    a.say()
    await b.hear(1)
    leg_b.receive_offer(b.party.sdp("0", direction="inactive", version=2))
    leg_b.create_answer(leg_a)
    a.say()
    await until(lambda: leg_a.stats.packets_received == 2)
    leg_b.receive_offer(b.party.sdp("0", version=3))
    leg_b.create_answer(leg_a)
    a.say()
    await b.hear(1)
    first, last = b.heard
    assert ((last.seq - first.seq) & 0xFFFF, last.marker) == (1, True)
    assert 0 < (last.timestamp - first.timestamp) & 0xFFFFFFFF < 5 * 8000
    assert leg_b.stats.packets_sent == 2


async def test_a_change_of_codec_is_followed(engine: MediaEngine, party: Make) -> None:
    """Transcoded, then relayed, then transcoded again, in one stream."""
    a, b = Caller(party(0xA), "opus"), Caller(party(0xB), "pcmu")
    leg_a, leg_b = call(engine, a, b)
    a.say()
    await b.hear(1)
    leg_b.receive_offer(b.party.sdp("96", version=2))
    leg_b.create_answer(leg_a)
    a.say()
    relayed = await b.party.receive()
    assert relayed.payload_type == 96
    leg_b.receive_offer(b.party.sdp("0", version=3))
    leg_b.create_answer(leg_a)
    a.say()
    await b.hear(1)
    said = [b.heard[0], relayed, b.heard[1]]
    assert {(y.seq - x.seq) & 0xFFFF for x, y in pairwise(said)} == {1}
    assert all(0 < (y.timestamp - x.timestamp) & 0xFFFFFFFF < 48000 for x, y in pairwise(said))
    assert len({packet.ssrc for packet in said}) == 1


async def test_the_cheaper_law_is_taken_where_there_is_a_choice(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, leg_b = engine.create_leg(), engine.create_leg()
    leg_a.receive_offer(a.sdp("96 0"))
    b.aim(leg_b.create_offer(leg_a))
    leg_b.receive_answer(b.sdp("0"))
    a.aim(leg_a.create_answer(leg_b))
    engine.bridge(leg_a, leg_b)
    assert [codec.name for codec in leg_a.codecs] == ["PCMU"]
    a.send(0, b"as it came")
    assert (await b.receive()).payload == b"as it came"


async def test_what_needs_loading_is_loaded_in_the_background(
    engine: MediaEngine, party: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, G722_MODULE)
    a, b = Caller(party(0xA), "g722"), Caller(party(0xB), "pcmu")
    leg_a, _ = call(engine, a, b)
    a.say()
    await until(lambda: G722_MODULE in sys.modules and leg_a.stats.packets_received == 1)
    a.say()
    await b.hear(1)


# Digits.


def digit(a: Caller, event: int, timestamp: int, clock_hz: int) -> None:
    """A digit of 100 ms, as a phone says it: packets in between, and three at the end."""
    for number in range(6):
        a.say_event(event, timestamp, number * clock_hz // 50, 10)
    for _ in range(3):
        a.say_event(event, timestamp, clock_hz // 10, 10 | END)


@pytest.mark.parametrize(
    ("one", "from_hz", "other", "to_hz"),
    [
        ("opus", 48000, "pcmu", 8000),
        ("pcmu", 8000, "opus", 48000),
        ("opus", 48000, "opus", 8000),
        ("opus", 8000, "pcma", 8000),
    ],
)
async def test_digits_cross_between_clocks(
    engine: MediaEngine, party: Make, one: str, from_hz: int, other: str, to_hz: int
) -> None:
    a, b = Caller(party(0xA), one, events_hz=from_hz), Caller(party(0xB), other, events_hz=to_hz)
    leg_a, _ = call(engine, a, b)
    told: list[tuple[str, int]] = []
    leg_a.on_dtmf = lambda leg, key, ms: told.append((key, ms))
    a.say()
    await b.hear(1)
    for key in (5, 11):
        for _ in range(3):
            a.say()
        digit(a, key, a.party.timestamp, from_hz)
        await b.hear(3)
        events = [await b.party.receive() for _ in range(9)]
        assert {packet.payload_type for packet in events} == {b.event}
        assert len({packet.timestamp for packet in events}) == 1
        assert [packet.marker for packet in events] == [True] + [False] * 8
        read = [PAYLOAD.unpack(packet.payload) for packet in events]
        assert {event for event, _, _ in read} == {key}
        assert [duration for _, _, duration in read] == [n * to_hz // 50 for n in (0, 1, 2, 3, 4, 5, 5, 5, 5)]
        assert [flags for _, flags, _ in read] == [10] * 6 + [10 | END] * 3
        said = [*b.heard[-3:], *events]
        assert {(y.seq - x.seq) & 0xFFFF for x, y in pairwise(said)} == {1}
        for _ in range(5):
            a.step()
            a.party.seq -= 1
    a.say()
    await b.hear(1)
    assert told == [("5", 100), ("#", 100)]
    assert leg_a.stats.packets_lost == 0
    assert (b.heard[-1].timestamp - b.heard[0].timestamp) & 0xFFFFFFFF < 3 * b.codec.clock_hz


@pytest.mark.parametrize("clock_hz", [8000, 48000])
async def test_a_digit_between_words_leaves_the_voice_alone(engine: MediaEngine, party: Make, clock_hz: int) -> None:
    """Phones may go on to speak while they say a digit."""
    a, b = Caller(party(0xA), "opus", events_hz=clock_hz), Caller(party(0xB), "pcmu", events_hz=8000)
    call(engine, a, b)
    pcm = b""
    events = []
    for number in range(30):
        a.say()
        pcm += await b.hear(1)
        if 10 <= number < 20:
            before = a.party.timestamp
            a.say_event(7, 12345, (number - 9) * clock_hz // 50, 10)
            a.party.timestamp = before
            events.append(await b.party.receive())
    assert [packet.marker for packet in b.heard] == [True] + [False] * 29
    assert {(y.timestamp - x.timestamp) & 0xFFFFFFFF for x, y in pairwise(b.heard)} == {160}
    assert len({packet.timestamp for packet in events}) == 1
    assert steady_share(pcm[3200:], 440, 8000) > 0.9


async def test_a_digit_is_told_where_the_other_has_no_events(engine: MediaEngine, party: Make) -> None:
    a, b = Caller(party(0xA), "opus", events_hz=48000), Caller(party(0xB), "pcmu")
    leg_a, leg_b = call(engine, a, b)
    told: list[str] = []
    leg_a.on_dtmf = lambda leg, key, ms: told.append(key)
    a.say()
    await b.hear(1)
    digit(a, 1, a.party.timestamp, 48000)
    a.say()
    await b.hear(1)
    assert told == ["1"]
    assert leg_b.events == ()


async def test_digits_of_our_own_in_a_transcoded_call(engine: MediaEngine, party: Make) -> None:
    a, b = Caller(party(0xA), "pcmu", events_hz=8000), Caller(party(0xB), "opus", events_hz=48000)
    _, leg_b = call(engine, a, b)
    a.say()
    await b.hear(1)
    leg_b.send_dtmf("7", 60)
    a.say()  # not heard meanwhile
    events = [await b.party.receive() for _ in range(6)]
    assert {packet.payload_type for packet in events} == {b.event}
    assert PAYLOAD.unpack(events[-1].payload) == (7, 10 | END, 48 * 60)
    for _ in range(20):
        a.say()
        await asyncio.sleep(0.02)
    assert (await b.hear(1)) != b""


# Mute, pauses.


@pytest.mark.parametrize(("one", "other"), [("pcmu", "pcmu"), ("opus", "g722")])
async def test_a_party_that_is_muted_is_counted_and_not_heard(
    engine: MediaEngine, party: Make, one: str, other: str
) -> None:
    a, b = Caller(party(0xA), one, events_hz=8000), Caller(party(0xB), other, events_hz=8000)
    leg_a, _ = call(engine, a, b)
    for _ in range(5):
        a.say()
        await b.hear(1)
    leg_a.mute(True)
    a.say()
    await until(lambda: leg_a.stats.packets_received == 6)
    pcm = await b.hear(10)
    assert 0 < audioop.rms(pcm[len(pcm) // 2 :], 2) < 200, "comfort noise"
    digit(a, 3, a.party.timestamp, 8000)
    while (packet := await b.party.receive()).payload_type != b.event:
        pass
    assert PAYLOAD.unpack(packet.payload)[0] == 3
    b.say()
    await a.hear(1)
    leg_a.mute(False)
    decoder, loud = make_decoder(b.codec, 8000), 0
    async with asyncio.timeout(WAIT_S):
        while loud < 5:  # behind the noise that is still on its way
            a.say()
            packet = await b.party.receive()
            if packet.payload_type == b.codec.payload_type:
                loud += audioop.rms(decoder.decode(packet.payload), 2) > 3000
    assert leg_a.stats.packets_lost == 0


async def test_comfort_noise_of_a_phone_is_filled_in(engine: MediaEngine, party: Make) -> None:
    """Uninvited, and even where the voice itself is relayed."""
    a, b = Caller(party(0xA), "pcmu"), Caller(party(0xB), "pcmu")
    leg_a, _ = call(engine, a, b)
    a.say()
    await b.hear(1)
    a.step()
    a.party.send_raw(a.party.packet(13, b"\x32"))
    pcm = await b.hear(8)
    assert audioop.rms(pcm, 2) == pytest.approx(32768 * 10 ** (-50 / 20), rel=0.3)
    a.party.timestamp += 8 * 160
    a.say()
    a.say()
    while (await b.party.receive()).payload != make_encoder(a.codec, 8000).encode(tone(440, 160, 8000, at=320)):
        pass
    assert (leg_a.stats.packets_refused, leg_a.stats.packets_lost) == (0, 0)


async def test_closed_legs_leave_nothing_for_the_garbage_collector(engine: MediaEngine, party: Make) -> None:
    def alive() -> int:
        return sum(isinstance(each, VoiceLeg | AudioReceiver | AudioSender | Mixer) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        for _ in range(3):
            a, b = Caller(party(0xA), "pcmu"), Caller(party(0xB), "opus")
            leg_a, leg_b = call(engine, a, b)
            a.say()
            await b.hear(1)
            b.say()
            await a.hear(1)
            a.step()
            a.party.send_raw(a.party.packet(13, b"\x32"))
            await b.hear(1)
            leg_b.mute(True)
            mix = engine.mix([leg_a, leg_b])
            a.say()
            await b.hear(1)
            assert alive() > before
            leg_a.close()
            leg_b.close()
            del leg_a, leg_b, mix
            async with asyncio.timeout(WAIT_S):
                while alive() != before:  # noqa: ASYNC110 -- the ticker lets go, and tells nobody
                    await asyncio.sleep(0.02)
    finally:
        gc.enable()


# What we play ourselves.


async def answered(engine: MediaEngine, a: Caller) -> VoiceLeg:
    leg = engine.create_leg()
    leg.receive_offer(a.sdp())
    a.party.aim(leg.create_answer())
    return leg


@pytest.mark.parametrize("name", ["pcma", *NAMES])
async def test_a_tone_in_every_codec(engine: MediaEngine, party: Make, name: str) -> None:
    a = Caller(party(0xA), name)
    leg = await answered(engine, a)
    tone_player = engine.tone(leg, 1000)
    pcm = await a.hear(12)
    assert share(pcm[len(pcm) // 4 :], 1000, a.rate_hz) > 0.8
    assert {(y.timestamp - x.timestamp) & 0xFFFFFFFF for x, y in pairwise(a.heard)} == {a.codec.clock_hz // 50}
    tone_player.close()


@pytest.mark.parametrize("name", ["g722", "opus"])
async def test_echo_says_its_prompt_and_echoes_in_any_codec(
    engine: MediaEngine, party: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("media.engine.prompt_frames", lambda codec, name: (b"\x08said",) * 3)
    a = Caller(party(0xA), name)
    leg = await answered(engine, a)
    engine.echo(leg)
    for _ in range(3):
        assert (await a.party.receive()).payload == b"\x08said"
    await until(lambda: engine.counts()["bridges"] == 1)
    a.party.send(a.codec.payload_type, b"again")
    assert (await a.party.receive()).payload == b"again"


async def test_an_announcement_is_made_once(engine: MediaEngine, party: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.engine.prompt_frames", lambda codec, name: (b"\x55" * 160,) * 3)
    a = Caller(party(0xA), "pcmu")
    leg = await answered(engine, a)
    engine.announce(leg, "echo")
    for _ in range(3):
        assert (await a.party.receive()).payload == b"\x55" * 160
    assert 0 < audioop.rms(await a.hear(5), 2) < 100
    assert engine.counts()["players"] == 1


def test_an_announcement_that_we_do_not_have() -> None:
    for name in ("nothing", "../player", ""):
        with pytest.raises(MediaError, match="no prompt"):
            prompt_frames(Codec("PCMU", 8000, 1, 0), name)
