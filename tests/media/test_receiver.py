"""From packets to samples: gaps, pauses, restarts and drift, by a clock of the test's own."""

from __future__ import annotations

import audioop
import random
from itertools import pairwise

import pytest

from media import opus
from media.codecs import KNOWN, Codec
from media.coders import make_encoder
from media.receiver import AudioReceiver
from media.sender import AudioSender

from .tones import share, steady_share, tone

PCMU, G722, OPUS = KNOWN["pcmu"], KNOWN["g722"], KNOWN["opus"]


class Sink:
    """Remembers what it is given."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []
        self.skipped = 0

    def write(self, pcm: bytes, now: float) -> None:
        """Samples."""
        self.heard.append((now, pcm))

    def skip(self, samples: int, now: float) -> None:
        """None."""
        self.skipped += samples

    @property
    def pcm(self) -> bytes:
        return b"".join(pcm for _, pcm in self.heard)

    @property
    def samples(self) -> int:
        return len(self.pcm) // 2


def pausing(ear: AudioReceiver) -> bool:
    return ear.waiting


class Speaker:
    """A party that says a tone, packet by packet."""

    def __init__(self, codec: Codec, hz: int = 440, ptime_ms: int = 20) -> None:
        self.codec, self.hz, self.ptime_ms = codec, hz, ptime_ms
        self.encoder = make_encoder(codec, 8000)
        self.seq, self.timestamp, self.at = 100, 0xFFFFFF00, 0

    def next(self) -> tuple[int, int, int, bytes]:
        """What `AudioReceiver.receive` takes."""
        samples = self.encoder.rate_hz * self.ptime_ms // 1000
        payload = self.encoder.encode(tone(self.hz, samples, self.encoder.rate_hz, at=self.at))
        packet = (self.codec.payload_type, self.seq & 0xFFFF, self.timestamp, payload)
        self.at += samples
        self.seq += 1
        self.pause(self.ptime_ms)
        return packet

    def pause(self, ms: int) -> None:
        """Say nothing, without a gap in sequence numbers."""
        self.timestamp = (self.timestamp + ms * self.codec.clock_hz // 1000) & 0xFFFFFFFF


def receiver(*codecs: Codec, rate_hz: int = 8000) -> tuple[AudioReceiver, Sink]:
    sink = Sink()
    return AudioReceiver(codecs, rate_hz, sink), sink


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("codec", [PCMU, G722, OPUS], ids=lambda codec: codec.name)
def test_what_comes_is_heard_at_once(codec: Codec, rate_hz: int) -> None:
    ear, sink = receiver(codec, rate_hz=rate_hz)
    speaker = Speaker(codec)
    for number in range(50):
        ear.receive(*speaker.next(), now=number / 50)
        assert sink.heard[-1][0] == number / 50
        assert not ear.waiting
    assert sink.samples == rate_hz
    assert sink.skipped == 0
    assert share(sink.pcm[rate_hz // 2 :], 440, rate_hz) > 0.9


@pytest.mark.parametrize("codec", [PCMU, G722, OPUS], ids=lambda codec: codec.name)
def test_five_percent_loss_is_mended(codec: Codec) -> None:
    chance = random.Random(5)
    ear, sink = receiver(codec)
    speaker = Speaker(codec)
    for number in range(500):
        packet = speaker.next()
        if chance.random() > 0.05 or number in (0, 499):
            ear.receive(*packet, now=number / 50)
        ear.handle_tick(number / 50 + 0.015)
    assert sink.samples == 500 * 160, "as much as was said"
    assert sink.skipped == 0
    assert steady_share(sink.pcm[8000:], 440, 8000) > 0.75


def test_a_long_gap_is_silence_after_a_while() -> None:
    ear, sink = receiver(PCMU)
    speaker = Speaker(PCMU)
    ear.receive(*speaker.next(), now=0.0)
    for _ in range(49):
        speaker.next()
    ear.receive(*speaker.next(), now=1.0)
    ear.handle_tick(1.02)
    assert sink.samples == 320 + 960
    assert sink.skipped == 49 * 160 - 960


def test_a_pause_without_a_gap_is_silence() -> None:
    ear, sink = receiver(PCMU)
    speaker = Speaker(PCMU)
    ear.receive(*speaker.next(), now=0.0)
    speaker.pause(500)
    ear.receive(*speaker.next(), now=0.52)
    assert (sink.samples, sink.skipped) == (320, 4000)


def test_a_restart_of_timestamps_is_no_gap() -> None:
    ear, sink = receiver(PCMU)
    speaker = Speaker(PCMU)
    for number, leap in enumerate((0, 5_000_000, -5_000_000, -12345, 0)):
        speaker.timestamp = (speaker.timestamp + leap) & 0xFFFFFFFF
        ear.receive(*speaker.next(), now=number / 50)
    assert (sink.samples, sink.skipped) == (5 * 160, 0)


def test_a_restart_of_sequence_numbers_is_no_gap() -> None:
    ear, sink = receiver(PCMU)
    speaker = Speaker(PCMU)
    for number in range(4):
        if number == 2:
            speaker.seq, speaker.timestamp = 40000, 7
        ear.receive(*speaker.next(), now=number / 50)
    assert (sink.samples, sink.skipped) == (4 * 160, 0)


def test_comfort_noise_lasts_until_the_voice_is_back() -> None:
    ear, sink = receiver(PCMU)
    speaker = Speaker(PCMU)
    ear.receive(*speaker.next(), now=0.0)
    ear.receive(13, speaker.seq, speaker.timestamp, b"\x32", now=0.02)
    speaker.seq += 1
    assert pausing(ear)
    for number in range(2, 101):
        ear.handle_tick(number / 50)
    speaker.pause(2000)
    noise = sink.pcm[320:]
    assert 0.9 * 16000 < len(noise) // 2 <= 16000
    assert audioop.rms(noise, 2) == pytest.approx(32768 * 10 ** (-50 / 20), rel=0.05)
    ear.receive(*speaker.next(), now=2.02)
    assert not pausing(ear)
    assert (sink.samples, sink.skipped) == (160 + 16000 + 160, 0)


def test_noise_without_end_is_not_late_noise() -> None:
    """After a stop of ours only a little is made up."""
    ear, sink = receiver(PCMU)
    ear.receive(13, 1, 0, b"\x32", now=0.0)
    ear.handle_tick(30.0)
    assert sink.samples == 800
    assert sink.samples + sink.skipped == pytest.approx(8 * 29970, abs=160)
    ear.handle_tick(30.02)
    assert sink.samples == 960


def test_opus_that_pauses_sounds_on() -> None:
    ear, sink = receiver(OPUS)
    encoder = opus.OpusEncoder(8000, dtx=True)
    seq = timestamp = 0
    for number in range(100):
        payload = encoder.encode(tone(440, 160, 8000, at=160 * number) if number < 25 else bytes(320))
        if len(payload) > opus.DTX_SIZE or not ear.waiting:
            ear.receive(OPUS.payload_type, seq, timestamp, payload, now=number / 50)
            seq += 1
        ear.handle_tick(number / 50 + 0.01)
        timestamp += 960
    assert ear.waiting
    assert 95 * 160 <= sink.samples <= 100 * 160
    assert sink.skipped == 0


def test_events_in_between_are_not_missing() -> None:
    ear, sink = receiver(PCMU, Codec("telephone-event", 8000, 1, 101))
    speaker = Speaker(PCMU)
    ear.receive(*speaker.next(), now=0.0)
    for number in range(5):
        ear.receive(101, speaker.seq, speaker.timestamp, b"", now=0.02 * number)
        speaker.seq += 1
    speaker.pause(100)
    ear.receive(*speaker.next(), now=0.12)
    assert (sink.samples, sink.skipped) == (320, 800)


def test_a_change_of_codec() -> None:
    ear, sink = receiver(PCMU, OPUS)
    first, second = Speaker(PCMU), Speaker(OPUS)
    for number in range(10):
        ear.receive(*first.next(), now=number / 50)
    second.seq = first.seq
    for number in range(10, 20):
        ear.receive(*second.next(), now=number / 50)
    assert (sink.samples, sink.skipped) == (20 * 160, 0)


def test_what_cannot_be_decoded_is_concealed() -> None:
    ear, sink = receiver(OPUS)
    speaker = Speaker(OPUS)
    for number in range(10):
        kind, seq, timestamp, payload = speaker.next()
        ear.receive(kind, seq, timestamp, b"\xff\xff" if number == 5 else payload, now=number / 50)
    assert ear.refused == 1
    assert sink.samples == 10 * 160


def test_junk_does_no_harm() -> None:
    chance = random.Random(11)
    ear, sink = receiver(PCMU, G722, OPUS)
    for number in range(3000):
        kind = chance.choice((0, 9, 13, 96, 96, 101))
        payload = chance.randbytes(chance.choice((0, 1, 2, 3, 60, 1500)))
        seq = chance.choice((number & 0xFFFF, chance.getrandbits(16)))
        ear.receive(kind, seq, chance.choice((number * 160, chance.getrandbits(32))), payload, now=number / 50)
        ear.handle_tick(number / 50 + 0.01)
    assert sink.samples < 3000 * 8000


class Line:
    """Remembers what is sent: when, and at which timestamp."""

    def __init__(self, loss_percent: int = 0) -> None:
        self.loss_percent = loss_percent
        self.sent: list[tuple[float, int, bytes]] = []
        self.timestamp = 0

    def say(self, codec: Codec, payload: bytes, ticks: int, now: float) -> None:
        """A packet."""
        self.sent.append((now, self.timestamp, payload))
        self.timestamp += ticks

    def be_silent(self, ticks: int) -> None:
        """None."""
        self.timestamp += ticks


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("asked_ms", [10, 20, 30, 40, 60])
def test_packets_of_one_length_from_packets_of_another(ptime_ms: int, asked_ms: int) -> None:
    line = Line()
    ear = AudioReceiver([PCMU], 8000, AudioSender(PCMU, 8000, asked_ms, line))
    speaker = Speaker(PCMU, ptime_ms=ptime_ms)
    for number in range(120):
        ear.receive(*speaker.next(), now=number * ptime_ms / 1000)
    assert {len(payload) for _, _, payload in line.sent} == {8 * asked_ms}
    assert len(line.sent) == 120 * ptime_ms // asked_ms
    assert b"".join(payload for *_, payload in line.sent)[:800] == make_encoder(PCMU, 8000).encode(tone(440, 800, 8000))


def test_a_pause_fills_the_packet_that_was_begun() -> None:
    line = Line()
    ear = AudioReceiver([PCMU], 8000, AudioSender(PCMU, 8000, 30, line))
    speaker = Speaker(PCMU)
    ear.receive(*speaker.next(), now=0.0)
    speaker.pause(1000)
    ear.receive(*speaker.next(), now=1.02)
    assert [len(payload) for *_, payload in line.sent] == [240]
    assert line.sent[0][2][160:] == b"\xff" * 80
    assert line.timestamp == 8 * (30 + 990)


def test_fec_is_spent_on_a_party_that_reports_loss() -> None:
    def heard(line: Line) -> int:
        """The level of a lost packet that the next one tells."""
        sender = AudioSender(OPUS, 8000, 20, line)
        for number in range(100):
            sender.write(tone(440, 160, 8000) if number == 80 else bytes(320), number / 50)
        decoder = opus.OpusDecoder(8000)
        for _, _, payload in line.sent[:80]:
            decoder.decode(payload)
        return audioop.rms(decoder.recover(line.sent[81][2], 160), 2)

    assert heard(Line(loss_percent=20)) > 1000 > 10 * heard(Line())


def test_a_pause_of_opus_is_said_once() -> None:
    line = Line()
    sender = AudioSender(OPUS.with_fmtp("usedtx=1"), 8000, 20, line)
    for number in range(100):
        sender.write(tone(440, 160, 8000, at=160 * number) if number < 10 else bytes(320), number / 50)
    sizes = [len(payload) for *_, payload in line.sent]
    assert len(sizes) < 60
    empty = [size <= opus.DTX_SIZE for size in sizes]
    assert any(empty)
    assert not any(a and b for a, b in pairwise(empty)), "each pause once"
    assert line.timestamp == 100 * 960


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_the_delay_does_not_grow_where_the_clocks_differ(drift: float) -> None:
    """Ten minutes of a party whose clock is 200 ppm off: 120 ms of audio more or less, never waited for."""
    line = Line()
    ear = AudioReceiver([OPUS], 8000, AudioSender(PCMU, 8000, 20, line))
    speaker = Speaker(OPUS)
    packet = speaker.next()
    for number in range(30_000):
        now = number / 50 * (1 + drift)
        ear.receive(packet[0], number & 0xFFFF, number * 960, packet[3], now)
        assert line.sent[-1][0] == now, "sent when it came"
        line.sent.clear() if len(line.sent) > 100 else None
    assert line.timestamp == 30_000 * 160
