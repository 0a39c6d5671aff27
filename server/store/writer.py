"""[io] The batching writer: what happens is in the database half a second later, and no call waits for it.

While the database is down, or slow, batches go to a spool on disk, and from there into the database in their order. All
rows are written by their keys, so that one which was written twice is there once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from signalling import EventBus, Happening, People, Session, SignallingError

from .backlog import Backlog
from .database import Database
from .pending import BeforeCommit, Pending, Row, Write
from .spool import LIMIT_BYTES, Entry, Spool
from .statements import Mode, Run
from .transfer import Transfer

__all__ = ["BeforeCommit", "Mode", "Row", "StoreUnavailable", "Write", "Writer"]

log = structlog.get_logger("server.store.writer")

FLUSH_S = 0.4  # from the first event of a batch to its commit's beginning: larger batches cost less of the core
PROMPT_S = 0.1  # the same where somebody waits for it
BATCH = 128  # events that do not wait any longer: a batch holds up others while it is made
PAUSE_S = 0.05  # from one batch to the next at the least: under load they are larger, and cost less of the core
SLOW_S = 0.3  # a commit that takes longer is put on disk as well
SETTLE_S = 5.0  # how long a reader waits for what was written before
RETRY_FIRST_S, RETRY_LIMIT_S = 0.25, 5.0
ALIVE_INTERVAL_S = 5.0
ALIVE = "alive_at"
"The setting that says when the process was last known to run, in ms since the epoch."


class StoreUnavailable(SignallingError):
    """The database is down, so that what only it could tell cannot be told."""

    status = 503
    code = "STORE_UNAVAILABLE"


class Writer:
    """Takes rows and events at once, and writes them in order, each batch in one transaction."""

    def __init__(
        self,
        database: Database,
        *,
        spool: Path | None = None,
        spool_bytes: int = LIMIT_BYTES,
    ) -> None:
        """`spool`: the folder that keeps what the database does not take, at most `spool_bytes`; None: memory keeps it.

        OSError when there can be no such folder.
        """
        self.before_commit: list[BeforeCommit] = []
        self._transfer = Transfer(database)
        self._pending = Pending()
        self._backlog = Backlog(None if spool is None else Spool(spool, limit_bytes=spool_bytes))
        self.busy: Callable[[], bool] = lambda: False
        "Whether to note now and then that the process lives."
        self.prompt: Callable[[], bool] = lambda: False
        "Whether events are waited for: somebody has webhooks."
        self._written = 0
        "Rises with each row and event."
        self._taken = 0
        "All up to this number is in a batch."
        self._committed = 0
        "All up to this number is in the database."
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._attempt: asyncio.Task[None] | None = None
        self._attempted: Entry | None = None
        self._kept = False
        "Whether the attempted entry is the first of the backlog."
        self._slow_at = 0.0
        self._retry_at = 0.0
        self._retry_s = RETRY_FIRST_S
        self._down = False
        self._due = False
        self._closing = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._taken_at = 0.0
        "When the last batch was taken, by the loop's clock."
        self._flush_at = 0.0
        "When the timer `flush` is due; uvloop's own cannot tell once it is."
        self._signal = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failures = 0
        "Commits that did not succeed."

    # What others do.

    @property
    def up(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return not self._down

    def counts(self) -> dict[str, int]:
        """For metrics: rows and files that wait, and what was lost or refused since the start."""
        return {
            "store_down": int(self._down),
            "store_failures": self.failures,
            "store_spool_files": self._backlog.files,
            "store_rows_in_memory": self._backlog.rows_in_memory,
            "store_rows_lost": self._backlog.lost_rows,
            "store_rows_refused": self._transfer.refused_rows,
        }

    def follow(self, bus: EventBus, people: People) -> None:
        """Write every event of `bus` from now on, and the sessions that they change; `people` says who takes part."""
        self._pending.people = people
        bus.follow(self._take_happening)

    def _take_happening(self, happening: Happening) -> None:
        self._pending.happenings.append(happening)
        self._written += 1
        if "flush" not in self._timers:
            self._arm(PROMPT_S if self.prompt() else FLUSH_S)
        elif len(self._pending.happenings) == BATCH:
            self._arm(self._taken_at + PAUSE_S - asyncio.get_running_loop().time())

    def touch(self, session: Session) -> None:
        """Write a session as it is at the next flush: something changed that was no event."""
        self._pending.touched.append(session)
        self._written += 1
        self._arm(FLUSH_S)

    def write(self, table: str, row: Row, mode: Mode = "upsert") -> None:
        """Take a row for the next flush (`Write` explains the modes); the rows of one table keep their order.

        KeyError for an unknown table or column, TypeError for a value that no column holds.
        """
        self._pending.rows.add(Write(table, row, mode))
        self._written += 1
        self._arm(PROMPT_S)

    @staticmethod
    def now_ms() -> int:
        """The instant, as rows have it."""
        return round(time.time() * 1000)

    async def settled(self) -> None:
        """Return when all that was written before is committed. StoreUnavailable (503) when the database is down."""
        if self._down:
            raise StoreUnavailable("the database is down")
        if self._committed >= self._written:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((self._written, waiter))
        self._due = True
        self._signal.set()
        try:
            async with asyncio.timeout(SETTLE_S):
                await waiter
        except TimeoutError:
            raise StoreUnavailable("the database is slow") from None

    async def start(self) -> None:
        """Begin to write: first what an earlier process had to leave on disk. Rows may be written before."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._signal.set()
        self._beat()

    async def caught_up(self) -> None:
        """Return when the database is up and nothing is left that had to be kept on disk."""
        while self._down or not self._backlog.empty:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((0, waiter))
            await waiter

    async def close(self) -> None:
        """Write what is pending, to the disk if the database does not take it, and stop."""
        self._closing = True
        self._signal.set()
        if self._task is not None:
            await self._task
        for timer in self._timers.values():
            timer.cancel()
        self._backlog.close()

    # The task.

    async def _run(self) -> None:
        while True:
            await self._signal.wait()
            self._signal.clear()
            try:
                await self._conclude()
                await self._move()
            except Exception as error:  # a disk that fails, or a fault of ours: later rows must be kept all the same
                log.exception("writer_failed")
                self._failed(error)
            if self._closing:
                break
        await self._finish()

    async def _move(self) -> None:
        """Put on its way whatever can go on."""
        now = asyncio.get_running_loop().time()
        if self._attempt is not None and not self._kept and now >= self._slow_at:
            await self._keep()
        behind = self._down or self._kept or not self._backlog.empty
        while self._due and (behind or self._attempt is None) and self._pending:
            entry = self._take()
            if behind:
                await self._backlog.append(entry)
            else:
                self._begin(entry, kept=False)
        if not self._pending:
            self._due = False
        if self._attempt is None and (self._down or not self._backlog.empty):
            if now < self._retry_at:
                self._wake_at("retry", self._retry_at)
            elif self._backlog.empty:
                self._begin(Entry([], self._taken), kept=False)  # nothing is left to write, but is it back?
            else:
                await self._begin_oldest()

    def _take(self) -> Entry:
        self._taken_at = asyncio.get_running_loop().time()
        batch = self._pending.take(self.before_commit)
        if not self._pending:
            self._taken = self._written
            self._due = False
            self._disarm("flush")
        if self.busy():
            batch.append(Run("settings", "upsert", ("name", "value"), [(ALIVE, str(self.now_ms()))]))
        return Entry(batch, self._taken)

    def _begin(self, entry: Entry, *, kept: bool) -> None:
        loop = asyncio.get_running_loop()
        self._attempted = entry
        self._kept = kept
        self._attempt = loop.create_task(self._transfer.write(entry.batch))
        self._attempt.add_done_callback(lambda _: self._signal.set())
        self._slow_at = loop.time() + SLOW_S
        if not kept:
            self._wake_at("slow", self._slow_at)

    async def _begin_oldest(self) -> None:
        try:
            await self._backlog.to_disk()
            entry = await self._backlog.first()
        except OSError as error:
            self._failed(error)
            return
        if entry is not None:
            self._begin(entry, kept=True)
        else:
            self._tell_waiters()

    async def _keep(self) -> None:
        """The entry under way takes its time: let it survive us, and what follows go behind it."""
        assert self._attempted is not None
        self._kept = True
        await self._backlog.append(self._attempted)

    async def _conclude(self) -> None:
        """Look at how an attempt went."""
        attempt, entry = self._attempt, self._attempted
        if attempt is None or entry is None or not attempt.done():
            return
        self._attempt = self._attempted = None
        self._disarm("slow")
        error = attempt.exception()
        if error is not None:
            if entry.batch and not self._kept:
                await self._backlog.append(entry)
            self._failed(error)
        else:
            if self._kept:
                await self._backlog.drop_first()
            self._succeeded(entry)
        self._kept = False

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        if not self._down:
            log.error("database_down", error=_first_line(error))
        self._down = True
        self._retry_at = asyncio.get_running_loop().time() + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_LIMIT_S)
        self._wake_at("retry", self._retry_at)
        waiters, self._waiters = self._waiters, []
        for number, waiter in waiters:
            if number == 0:
                self._waiters.append((number, waiter))
            elif not waiter.done():
                waiter.set_exception(StoreUnavailable("the database is down"))

    def _succeeded(self, entry: Entry) -> None:
        # With nothing left behind, all that was taken is there, or was given up for want of any place to keep it.
        self._committed = self._taken if self._backlog.empty else max(self._committed, entry.upto)
        self._retry_s = RETRY_FIRST_S
        if self._down:
            log.info("database_up")
        self._down = False
        self._tell_waiters()

    def _tell_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for number, waiter in waiters:
            if number > self._committed or (number == 0 and not self._backlog.empty):
                self._waiters.append((number, waiter))
            elif not waiter.done():
                waiter.set_result(None)

    async def _finish(self) -> None:
        """The last batches: into the database while that is up, else to the disk."""
        await self._end_attempt()
        while self._pending:
            entry = self._take()
            if self._down or not self._backlog.empty:
                await self._backlog.append(entry)
            else:
                self._begin(entry, kept=False)
                await self._end_attempt()
        if self._backlog.rows_in_memory:
            log.error("rows_lost", rows=self._backlog.rows_in_memory)

    async def _end_attempt(self) -> None:
        """Wait for it: SQLite's ends by itself, and PostgreSQL's has a limit."""
        if self._attempt is None:
            return
        await asyncio.wait([self._attempt], timeout=SLOW_S)
        if not self._attempt.done() and not self._kept:
            await self._keep()
        await asyncio.wait([self._attempt])
        await self._conclude()

    # Timers.

    def _arm(self, within_s: float) -> None:
        """Flush within so many seconds, at once if it is not above 0."""
        loop = asyncio.get_running_loop()
        due = loop.time() + within_s
        if "flush" not in self._timers or due < self._flush_at:
            self._disarm("flush")
            self._flush_at = due
            self._timers["flush"] = loop.call_at(due, self._on_flush)

    def _on_flush(self) -> None:
        self._due = True
        self._signal.set()

    def _wake_at(self, name: str, at: float) -> None:
        self._disarm(name)
        self._timers[name] = asyncio.get_running_loop().call_at(at, self._signal.set)

    def _disarm(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _beat(self) -> None:
        """While calls go on, note now and then that we live: it is when they ended, should we be killed."""
        if self.busy() and not self._pending:
            self.write("settings", {"name": ALIVE, "value": str(self.now_ms())})
        self._timers["beat"] = asyncio.get_running_loop().call_later(ALIVE_INTERVAL_S, self._beat)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
