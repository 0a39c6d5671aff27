"""The spool: order, torn files, limits, and a place on the disk that is taken beforehand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from server.store.spool import Entry, Spool, SpoolFull
from server.store.statements import Run

KB = 1024


def entry(number: int, size: int = 10) -> Entry:
    return Entry([Run("settings", "upsert", ("name", "value"), [(f"n{number}", "x" * size)])], number)


def drained(spool: Spool) -> list[int]:
    """The numbers of all entries, which are then gone."""
    numbers = []
    while (first := spool.first()) is not None:
        ((name, _),) = first.batch[0].rows
        numbers.append(int(name[1:]))
        spool.drop_first()
    return numbers


def filled(spool: Spool) -> list[int]:
    """The numbers of the entries that it took until it was full."""
    for number in range(1000):
        try:
            spool.append(entry(number, 500))
        except SpoolFull:
            return list(range(number))
    raise AssertionError("it is never full")


def test_4_first_in_first_out_over_many_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path, file_bytes=4 * KB)
    for number in range(50):
        spool.append(entry(number, 500))
    assert spool.files > 5
    assert drained(spool) == list(range(50))
    assert spool.files == 0
    spool.append(entry(50))
    assert drained(spool) == [50]


def test_4_values_come_back_as_they_were(tmp_path: Path) -> None:
    spool = Spool(tmp_path, file_bytes=4 * KB)
    row = (1795324540677000, None, True, 1.5, 'a "quoted" \ud83d\n\0 ü')
    spool.append(Entry([Run("t", "insert", ("a", "b", "c", "d", "e"), [row]), Run("t", "delete", ("a",), [(1,)])], 3))
    first = spool.first()
    assert first == Entry([Run("t", "insert", ("a", "b", "c", "d", "e"), [row]), Run("t", "delete", ("a",), [(1,)])], 3)


def test_4_the_next_process_goes_on_where_this_one_stopped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, file_bytes=4 * KB)
    for number in range(10):
        spool.append(entry(number, 900))
    first = spool.first()
    assert first is not None
    assert first.upto == 0
    spool.drop_first()
    spool.close()

    again = Spool(tmp_path, file_bytes=4 * KB)
    again.append(entry(10))
    # The first file is repeated from its start: its rows are written by their keys.
    assert drained(again) == list(range(11))
    assert Spool(tmp_path).first() is None


def test_4_numbers_of_another_process_mean_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, file_bytes=4 * KB)
    spool.append(entry(7))
    spool.close()
    first = Spool(tmp_path, file_bytes=4 * KB).first()
    assert first is not None
    assert first.upto == 0


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_4_a_torn_end_is_left_out(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path, file_bytes=4 * KB)
    for number in range(3):
        spool.append(entry(number))
    written = spool._written
    spool.close()
    with next(tmp_path.glob("*.spool")).open("r+b") as file:
        file.seek(written - cut)
        file.write(bytes(cut))
    assert drained(Spool(tmp_path, file_bytes=4 * KB)) == [0, 1]


def test_4_a_file_of_garbage_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "0000000001.spool").write_bytes(os.urandom(500))
    spool = Spool(tmp_path, file_bytes=4 * KB)
    spool.append(entry(1))
    assert drained(spool) == [1]


def test_4_beyond_its_limit_the_newest_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=8 * KB, file_bytes=4 * KB)
    kept = filled(spool)
    assert 5 < len(kept) < 20
    assert drained(spool) == kept
    spool.append(entry(0))


def test_4_an_entry_larger_than_a_file_gets_one_of_its_own(tmp_path: Path) -> None:
    spool = Spool(tmp_path, file_bytes=4 * KB)
    for number, size in enumerate((10, 20_000, 10)):
        spool.append(entry(number, size))
    assert drained(spool) == [0, 1, 2]


def test_4_a_full_disk_still_has_the_place_that_was_taken_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, file_bytes=64 * KB)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    kept = filled(spool)
    assert len(kept) > 50
    assert drained(spool) == kept
    # The file was blanked and kept, not given back to a full disk.
    assert (tmp_path / "spare").stat().st_blocks * 512 >= 64 * KB
    spool.append(entry(0))
    assert drained(spool) == [0]
