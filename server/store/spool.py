"""What the database did not take, kept in files until it does: in order, safe against a kill and a full disk.

An entry is one line, checksum first; a torn or foreign line ends its file. Files have a fixed size and their place on
the disk is taken beforehand, so that the first of them can be filled when the disk is full already. A file is freed
when all of it has reached the database; after a crash in between it is repeated from its start, which changes nothing,
for all rows are written by their keys.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple
from zlib import crc32

import structlog

from .statements import Batch, Run

log = structlog.get_logger("server.store.spool")

FILE_BYTES = 16 * 1024 * 1024  # some 10,000 calls
LIMIT_BYTES = 512 * 1024 * 1024  # in all; then the newest is refused, since the older explains it
_SPARE = "spare"
_SUFFIX = ".spool"


class Entry(NamedTuple):
    """A batch, and how far all is written once it is committed."""

    batch: Batch
    upto: int
    "A number of the process that spooled it; 0 in any other."


class SpoolFull(Exception):
    """The batch has no room within the limit, or on the disk."""


class Spool:
    """A queue of batches on disk. Blocking: call it from a thread, one call at a time."""

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES, file_bytes: int = FILE_BYTES) -> None:
        """OSError when the folder cannot be made or read."""
        self._folder = folder
        self._process = token_hex(8)
        self._file_bytes = file_bytes
        self._limit_files = max(1, limit_bytes // file_bytes)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files = sorted(folder.glob(f"*{_SUFFIX}"))
        "Oldest first; the last one is written to, the first one is read."
        self._number = int(self._files[-1].stem) if self._files else 0
        self._writing: int | None = None
        self._written = 0
        self._read: list[bytes] | None = None
        "Lines of the first file."
        self._next = 0
        self._keep_spare()

    @property
    def files(self) -> int:
        """How many hold batches that wait."""
        return len(self._files)

    def append(self, entry: Entry) -> None:
        """Put `entry` last; it is on the disk when this returns. SpoolFull when it cannot be."""
        text = json.dumps([self._process, *entry], separators=(",", ":"), ensure_ascii=True).encode()
        line = b"%08x %s\n" % (crc32(text), text)
        try:
            if self._writing is None or self._written + len(line) > self._file_bytes:
                self._begin_file(len(line))
            assert self._writing is not None
            _write_all(self._writing, line, self._written)
            os.fdatasync(self._writing)
        except OSError as error:
            raise SpoolFull(str(error)) from error
        self._written += len(line)
        if self._read is not None and len(self._files) == 1:
            self._read.append(line)

    def first(self) -> Entry | None:
        """The entry that waits longest; None when there is none. OSError when it cannot be read."""
        while self._files:
            if self._read is None:
                self._read = self._lines(self._files[0])
                self._next = 0
            if self._next < len(self._read):
                return self._entry(self._read[self._next])
            self._free_first()
        return None

    def drop_first(self) -> None:
        """What `first` told is in the database."""
        if self._read is None:
            self.first()
        assert self._read is not None
        self._read[self._next] = b""
        self._next += 1
        if self._next == len(self._read):
            self._free_first()

    def close(self) -> None:
        """Close the file; what waits is found again by the next Spool."""
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    # Files.

    def _begin_file(self, length: int) -> None:
        if len(self._files) >= self._limit_files:
            raise SpoolFull(f"{self._limit_files} files of {self._file_bytes} bytes are the limit")
        self.close()
        self._number += 1
        path = self._folder / f"{self._number:010d}{_SUFFIX}"
        spare = self._folder / _SPARE
        if length <= self._file_bytes and spare.exists():
            spare.rename(path)
        else:
            _allocate(path, max(length, self._file_bytes))
        self._writing = os.open(path, os.O_WRONLY)
        self._written = 0
        self._files.append(path)
        _sync_folder(self._folder)
        self._keep_spare()

    def _keep_spare(self) -> None:
        """Have an empty file ready for the time when the disk is full."""
        spare = self._folder / _SPARE
        try:
            if not spare.exists():
                _allocate(spare, self._file_bytes)
        except OSError as error:
            log.warning("spool_has_no_reserve", folder=str(self._folder), error=str(error))

    def _free_first(self) -> None:
        path = self._files.pop(0)
        if not self._files:
            self.close()
        self._read = None
        spare = self._folder / _SPARE
        if spare.exists() or path.stat().st_size != self._file_bytes:
            path.unlink()
        else:
            _blank(path)
            path.rename(spare)
        _sync_folder(self._folder)

    def _entry(self, line: bytes) -> Entry:
        process, batch, upto = json.loads(line[9:])
        runs = [Run(table, mode, tuple(columns), list(map(tuple, rows))) for table, mode, columns, rows in batch]
        return Entry(runs, upto if process == self._process else 0)

    def _lines(self, path: Path) -> list[bytes]:
        """The whole lines of a file."""
        data = path.read_bytes()
        lines: list[bytes] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0 and data[start] and _is_whole(data[start : end + 1]):
            lines.append(data[start : end + 1])
            start = end + 1
        if data[start : start + 1].strip(b"\0"):
            log.warning("spool_ends_in_a_torn_line", file=str(path), at=start)
        return lines


def _is_whole(line: bytes) -> bool:
    try:
        return int(line[:8], 16) == crc32(line[9:-1])
    except ValueError:
        return False


def _allocate(path: Path, size: int) -> None:
    """Make a file of zeros whose blocks are taken. OSError when there is no room; then there is no file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            _write_all(descriptor, bytes(size), 0)
        os.fsync(descriptor)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def _blank(path: Path) -> None:
    """Turn a file back into zeros, without giving up its blocks."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        size = os.fstat(descriptor).st_size
        for at in range(0, size, 1024 * 1024):
            _write_all(descriptor, bytes(min(1024 * 1024, size - at)), at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view = view[written:]
        at += written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
