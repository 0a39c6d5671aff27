from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.load import quantile, read_calls
from bench.table import Table
from bench.targets import Target, report


def _table() -> Table:
    table = Table(["peer", "ours"], "peer")
    for value in (4.0, 6.0, 5.0):
        table.add("cost", "peer", value)
    for value in (2.0, 1.0, 9.0):
        table.add("cost", "ours", value)
    table.add("rate", "ours", 300.0)
    return table


def test_a_table_shows_medians_spreads_and_ratios() -> None:
    assert _table().markdown().splitlines() == [
        "| figure | peer | ours |",
        "| --- | --- | --- |",
        "| cost | 5 (4-6) | 2 (1-9) [x0.40] |",
        "| rate | - | 300 |",
    ]


def test_targets_are_bounds_or_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    targets = (
        Target("cost", "ours", 0.35, beside="peer"),
        Target("cost", "ours", 2.0),
        Target("rate", "ours", 300, at_least=True),
        Target("rate", "peer", 300, at_least=True),
    )
    assert [target.judge(_table()) for target in targets] == [False, True, True, None]
    assert report(_table(), targets) == 1
    assert "MISSED   ours: cost: 0.4 of peer's, at most 0.35 wanted" in capsys.readouterr().out


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert quantile([1.0, 2.0], 0.99) == 2.0
    assert math.isnan(quantile([], 0.5))


def test_calls_that_were_never_made_count_as_failed(tmp_path: Path) -> None:
    header = "CurrentTime;SuccessfulCall(C);FailedCall(C);Retransmissions(C)\n"
    (tmp_path / "statistics.csv").write_text(header + "1;3;0;0\n2;7;1;2\n")
    (tmp_path / "caller_1_rtt.csv").write_text("Date_ms;response_time_ms;rtd_no\n1;4.5;1\n2;3.5;1\n")
    calls = read_calls(tmp_path, 10)
    assert (calls.successful, calls.failed, calls.retransmissions) == (7, 3, 2)
    assert calls.answered_ms == (3.5, 4.5)
    assert calls.failed_share == pytest.approx(0.3)
    assert read_calls(tmp_path / "nowhere", 10).failed == 10
