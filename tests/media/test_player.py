"""What we play ourselves."""

from __future__ import annotations

import audioop
import wave
from pathlib import Path

import pytest

from media import player
from media.codecs import KNOWN


@pytest.mark.parametrize(("law", "decode"), [("pcmu", audioop.ulaw2lin), ("pcma", audioop.alaw2lin)])
def test_a_tone_has_its_frequency_and_level(law: str, decode: object) -> None:
    assert callable(decode)
    frames = player.tone_frames(KNOWN[law], 440)
    assert len(frames) == 50
    assert {len(frame) for frame in frames} == {160}
    pcm = decode(b"".join(frames), 2)
    assert audioop.cross(pcm, 2) == pytest.approx(880, abs=2)
    assert audioop.rms(pcm, 2) == pytest.approx(8000 / 2**0.5, rel=0.03)


@pytest.mark.parametrize("hz", [0, -1, 4000])
def test_impossible_tones(hz: int) -> None:
    with pytest.raises(ValueError, match="Hz"):
        player.tone_frames(KNOWN["pcmu"], hz)


def test_ringback_is_one_second_in_five() -> None:
    frames = player.ringback_frames(KNOWN["pcma"])
    loud = [audioop.rms(audioop.alaw2lin(frame, 2), 2) > 1000 for frame in frames]
    assert loud == [True] * 50 + [False] * 200


def test_the_prompt_is_short_speech() -> None:
    frames = player.prompt_frames(KNOWN["pcmu"], "echo")
    assert 100 < len(frames) < 300
    assert {len(frame) for frame in frames} == {160}
    assert audioop.rms(audioop.ulaw2lin(b"".join(frames), 2), 2) > 1000
    assert sum(file.stat().st_size for file in player.PROMPTS.iterdir()) < 100_000


def test_a_prompt_of_another_shape_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "PROMPTS", tmp_path)
    with wave.open(str(tmp_path / "wide.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(64))
    with pytest.raises(ValueError, match="8 kHz"):
        player.prompt_frames(KNOWN["pcmu"], "wide")
