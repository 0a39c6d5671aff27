"""Many listeners over real sockets, some of whom stop reading."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


RUNS = 2  # at most: what others on this machine take of its cores is measured, of its memory and caches it is not


@pytest.mark.slow
def test_issue_12_500_listeners_of_which_50_stop_reading_and_the_others_get_all_within_100_ms() -> None:
    outcomes = []
    for _ in range(RUNS):
        outcome = measured()
        outcomes.append(outcome)
        assert outcome["events"] >= 800
        assert outcome["missing"] == 0
        if outcome["p99_own_ms"] <= 100.0:
            return
    pytest.fail(str(outcomes))


def measured() -> dict[str, float]:
    """In a process of its own: the tests' loop, in its debug mode, reads too slowly itself."""
    bench = subprocess.run(
        [sys.executable, "-m", "bench.events", "--json", "--seconds", "8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert bench.returncode == 0, bench.stderr
    outcome: dict[str, float] = json.loads(bench.stdout)
    return outcome
