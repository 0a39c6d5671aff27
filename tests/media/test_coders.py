"""Codecs, concealment and resampling, by tones that go in and are found again."""

from __future__ import annotations

import audioop
import subprocess
import sys

import pytest

from media import comfort, opus
from media.codecs import KNOWN, Codec
from media.coders import can_code, make_decoder, make_encoder, parameters, ptime_for
from media.conceal import Concealer
from media.errors import MediaError
from media.resample import make_resampler

from .tones import share, tone

CODERS = ("pcmu", "pcma", "g722", "opus")


def test_importing_media_imports_nothing_large() -> None:
    code = "import sys, media; assert not {'numpy', 'av', 'aiortc', 'ctypes'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("name", CODERS)
def test_a_tone_survives(name: str, rate_hz: int) -> None:
    encoder, decoder = make_encoder(KNOWN[name], rate_hz), make_decoder(KNOWN[name], rate_hz)
    assert encoder.rate_hz == decoder.rate_hz
    size = encoder.rate_hz // 50
    heard = b""
    for number in range(50):
        payload = encoder.encode(tone(440, size, encoder.rate_hz, at=number * size))
        heard += decoder.decode(payload)
    assert len(heard) == 2 * 50 * size
    assert share(heard[len(heard) // 4 :], 440, encoder.rate_hz) > 0.9
    assert audioop.rms(heard[len(heard) // 4 :], 2) == pytest.approx(8000 / 2**0.5, rel=0.2)


@pytest.mark.parametrize("ptime_ms", opus.FRAMES_MS)
def test_opus_packets_of_all_lengths(ptime_ms: int) -> None:
    encoder, decoder = opus.OpusEncoder(16000), opus.OpusDecoder(8000)
    payload = encoder.encode(tone(440, 16 * ptime_ms, 16000))
    assert len(decoder.decode(payload)) == 2 * 8 * ptime_ms


def test_opus_tells_a_lost_packet_in_the_next() -> None:
    """A tone that is there for one packet only: the FEC has it, concealment cannot."""
    encoder = opus.OpusEncoder(16000, expected_loss_percent=30)
    quiet, loud = bytes(640), tone(440, 320, 16000)
    payloads = [encoder.encode(pcm) for pcm in [quiet] * 20 + [loud] + [quiet] * 2]
    recovered, concealed = opus.OpusDecoder(16000), opus.OpusDecoder(16000)
    for payload in payloads[:20]:
        recovered.decode(payload)
        concealed.decode(payload)
    with_fec = audioop.rms(recovered.recover(payloads[21], 320), 2)
    without = audioop.rms(concealed.conceal(320), 2)
    assert with_fec > 1000 > 10 * without


@pytest.mark.parametrize("name", CODERS)
def test_concealment_goes_on_and_fades(name: str) -> None:
    encoder, decoder = make_encoder(KNOWN[name], 8000), make_decoder(KNOWN[name], 8000)
    size = encoder.rate_hz // 50
    for number in range(20):
        decoder.decode(encoder.encode(tone(200, size, encoder.rate_hz, at=number * size)))
    first = decoder.conceal(size)
    assert len(first) == 2 * size
    assert share(first, 200, encoder.rate_hz) > 0.8
    rest = [audioop.rms(decoder.conceal(size), 2) for _ in range(10)]
    assert rest[-1] < 0.2 * audioop.rms(first, 2)


@pytest.mark.parametrize("payload", [b"", b"\xff" * 2000, b"\x03", b"\xfb\xff\x00"])
def test_what_is_no_opus(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not an Opus packet"):
        opus.OpusDecoder(8000).decode(payload)


def test_what_opus_does_not_do() -> None:
    with pytest.raises(ValueError, match="decoded to 11025"):
        opus.OpusDecoder(11025)
    with pytest.raises(ValueError, match="encoded from 11025"):
        opus.OpusEncoder(11025)
    with pytest.raises(ValueError, match="100 samples"):
        opus.OpusEncoder(8000).encode(bytes(200))


def test_a_machine_without_libopus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, "NAMES", ())
    monkeypatch.setattr(opus, "_bundled", list)
    opus.library.cache_clear()
    try:
        with pytest.raises(MediaError, match="libopus0"):
            opus.OpusDecoder(8000)
        assert not can_code(KNOWN["opus"])
        assert can_code(KNOWN["pcmu"])
    finally:
        opus.library.cache_clear()


def test_the_libopus_of_pyav_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = opus._bundled()
    if not bundled:
        pytest.skip("this PyAV has no libopus of its own")
    monkeypatch.setattr(opus, "NAMES", ())
    opus.library.cache_clear()
    try:
        assert len(opus.OpusDecoder(8000).decode(opus.OpusEncoder(8000).encode(bytes(320)))) == 320
    finally:
        opus.library.cache_clear()


def test_dtx_is_off_unless_asked_for() -> None:
    def sizes(fmtp: str) -> list[int]:
        encoder = make_encoder(KNOWN["opus"].with_fmtp(fmtp), 8000)
        return [len(encoder.encode(bytes(320))) for _ in range(50)]

    assert min(sizes("useinbandfec=1")[1:]) > opus.DTX_SIZE
    assert min(sizes("usedtx=1;useinbandfec=1")) <= opus.DTX_SIZE


def test_the_bitrate_of_a_receiver_is_kept() -> None:
    def octets(fmtp: str) -> int:
        encoder = make_encoder(KNOWN["opus"].with_fmtp(fmtp), 16000)
        return sum(len(encoder.encode(tone(440 + 20 * n, 320, 16000))) for n in range(50))

    assert octets("maxaveragebitrate=8000") < 0.6 * octets("maxaveragebitrate=510000")
    for nonsense in ("nonsense", "", "-1", "9" * 5000, "²"):
        assert octets(f"maxaveragebitrate={nonsense}") == octets("")


@pytest.mark.parametrize(
    ("name", "asked", "most", "ptime_ms"),
    [
        ("pcmu", None, None, 20), ("pcmu", 30, None, 30), ("pcmu", 60, 40, 40), ("pcmu", 200, None, 60),
        ("pcmu", 25, None, 20), ("pcmu", 3, None, 10), ("pcmu", 20, 5, 10), ("g722", 50, None, 50),
        ("opus", 30, None, 20), ("opus", 60, None, 60), ("opus", None, 10, 10), ("opus", 120, None, 60),
    ],
)  # fmt: skip
def test_packet_lengths(name: str, asked: int | None, most: int | None, ptime_ms: int) -> None:
    assert ptime_for(KNOWN[name], asked, most) == ptime_ms


def test_parameters() -> None:
    assert parameters("minptime=10; UseInbandFec=1;stereo=0") == {"minptime": "10", "useinbandfec": "1", "stereo": "0"}
    assert parameters("0-16") == {"0-16": ""}


def test_what_can_be_coded() -> None:
    assert [codec.name for codec in KNOWN.values() if can_code(codec)] == ["PCMU", "PCMA", "G722", "opus"]
    assert not can_code(Codec("opus", 48000, 1, 96))


@pytest.mark.parametrize("period", [45, 80, 117])
def test_a_period_is_repeated_without_a_click(period: int) -> None:
    concealer = Concealer(8000)
    concealer.receive(tone(8000 / period, 480, 8000))
    went_on = concealer.conceal(80)
    expected = tone(8000 / period, 80, 8000, at=480)
    assert audioop.rms(audioop.add(went_on, audioop.mul(expected, 2, -1), 2), 2) < 700


def test_silence_is_concealed_as_silence() -> None:
    concealer = Concealer(8000)
    assert concealer.conceal(160) == bytes(320)
    assert concealer.receive(bytes(320)) == bytes(320)


def test_what_comes_after_a_loss_is_blended_in() -> None:
    concealer = Concealer(8000)
    concealer.receive(tone(200, 480, 8000))
    concealer.conceal(160)
    back = concealer.receive(bytes(320))
    assert audioop.rms(back[:40], 2) > 1000
    assert back[-160:] == bytes(160)
    assert concealer.receive(bytes(320)) == bytes(320)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8000, 16000), (16000, 8000)])
def test_resampling_keeps_a_tone_whatever_the_pieces(from_hz: int, to_hz: int) -> None:
    whole, pieces = make_resampler(from_hz, to_hz), make_resampler(from_hz, to_hz)
    pcm = tone(1000, from_hz // 2, from_hz)
    out = whole.convert(pcm)
    step = from_hz // 50
    assert b"".join(pieces.convert(pcm[at : at + step]) for at in range(0, len(pcm), step)) == out
    assert len(out) == len(pcm) * to_hz // from_hz
    assert share(out, 1000, to_hz) > 0.99
    assert audioop.rms(out, 2) == pytest.approx(8000 / 2**0.5, rel=0.02)


def test_what_8_khz_cannot_carry_is_gone() -> None:
    out = make_resampler(16000, 8000).convert(tone(5500, 8000, 16000))
    assert audioop.rms(out, 2) < 30


def test_no_resampling_beyond_that() -> None:
    with pytest.raises(ValueError, match="no way"):
        make_resampler(48000, 8000)


def test_comfort_noise_has_its_level() -> None:
    assert comfort.level_of(b"\x41\x00") == -65
    assert comfort.level_of(b"") == comfort.DEFAULT_DBOV
    assert audioop.rms(comfort.noise(8000, -50), 2) == pytest.approx(32768 * 10 ** (-50 / 20), rel=0.05)
    assert audioop.rms(comfort.noise(8000, 0), 2) < 400, "never loud"
    assert len(comfort.noise(160, -60, at=123456)) == 320
