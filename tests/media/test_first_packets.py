"""The first call that needs a codec, and the first mix, lose nothing: in processes that have imported nothing yet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .first_packets import FRAMES

ROOT = Path(__file__).parents[2]


def first(what: str) -> tuple[int, list[str], list[str]]:
    """Packets heard, and what large modules were there before and after."""
    command = [sys.executable, "-m", "tests.media.first_packets", what]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    told = json.loads(ran.stdout)
    return told["count"], told["before"], told["after"]


def test_the_first_transcoded_call_is_heard_from_its_first_packet() -> None:
    count, before, after = first("transcode")
    assert (before, after) == ([], ["av"])
    assert count == FRAMES


def test_a_call_before_the_codecs_are_loaded_loses_what_is_said_meanwhile() -> None:
    """So the one above shows something."""
    count, before, after = first("cold")
    assert (before, after) == ([], ["av"])
    assert 0 < count < FRAMES


def test_the_first_mix_is_heard_from_its_first_packet_and_takes_no_import() -> None:
    count, before, after = first("mix")
    assert (before, after) == ([], [])
    assert count >= FRAMES - 1  # where this process stood still, two pieces were made one
