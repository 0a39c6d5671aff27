"""[io] Batches that the database has not taken yet: on disk while that works, in memory beyond, in one order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog

from .spool import Entry, Spool, SpoolFull

log = structlog.get_logger("server.store.backlog")

MAX_ROWS_IN_MEMORY = 200_000  # about 200 MB; only when the disk is full, or there is no folder to spool to

T = TypeVar("T")


class Backlog:
    """First in, first out. Used by one task; the files are touched in a thread."""

    def __init__(self, spool: Spool | None) -> None:
        self._spool = spool
        self._memory: deque[Entry] = deque()
        self._thread = ThreadPoolExecutor(1, "spool")
        self._told = False
        self.rows_in_memory = 0
        "Rows that are neither in the database nor on disk."
        self.lost_rows = 0
        "Rows that had no place any more."

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._memory and self.files == 0

    @property
    def files(self) -> int:
        """On disk."""
        return 0 if self._spool is None else self._spool.files

    async def append(self, entry: Entry) -> None:
        """Put `entry` last. What has no place on disk nor in memory is logged, and counted in `lost_rows`."""
        self._memory.append(entry)
        self.rows_in_memory += _rows(entry)
        await self.to_disk()
        if self.rows_in_memory > MAX_ROWS_IN_MEMORY:
            self._memory.pop()  # the newest, so that what is kept has no gap
            self.rows_in_memory -= _rows(entry)
            self.lost_rows += _rows(entry)
            log.error("rows_lost", rows=_rows(entry), in_all=self.lost_rows)

    async def to_disk(self) -> None:
        """Move what is in memory to the disk, as far as it takes it."""
        spool = self._spool
        while spool is not None and self._memory:
            entry = self._memory[0]
            try:
                await self._in_thread(partial(spool.append, entry))
            except SpoolFull as error:
                if not self._told:
                    log.error("spool_full", error=str(error), rows_in_memory=self.rows_in_memory)
                self._told = True
                return
            self._told = False
            self._memory.popleft()
            self.rows_in_memory -= _rows(entry)

    async def first(self) -> Entry | None:
        """What waits longest; None when nothing does. OSError when the disk cannot be read."""
        if self._spool is not None and self._spool.files:
            entry = await self._in_thread(self._spool.first)
            if entry is not None:
                return entry
        return self._memory[0] if self._memory else None

    async def drop_first(self) -> None:
        """What `first` told is in the database."""
        if self._spool is not None and self._spool.files:
            await self._in_thread(self._spool.drop_first)
        else:
            self.rows_in_memory -= _rows(self._memory.popleft())

    def close(self) -> None:
        """Close the files; the next process goes on with them."""
        self._thread.shutdown()
        if self._spool is not None:
            self._spool.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _rows(entry: Entry) -> int:
    return sum(len(run.rows) for run in entry.batch)
