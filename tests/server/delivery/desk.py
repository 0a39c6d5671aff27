"""An outbox over a database in a file, with a clock that is set by hand and a deliverer that does what it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from server.delivery.outbox import Backoff, JsonObject, Outbox, Result, RetryLater
from server.store.database import Database
from server.store.writer import Writer

REAL_LIMIT_S = 20.0


async def until(condition: Callable[[], object]) -> None:
    """Wait for `condition` in real time; AssertionError when it does not come true."""
    give_up_at = time.monotonic() + REAL_LIMIT_S
    while not condition():
        assert time.monotonic() < give_up_at, "still waiting"
        await asyncio.sleep(0.002)


@dataclass
class Courier:
    """Delivers as `faults` say: the exceptions of the next attempts at a payload's "n"."""

    faults: dict[int, list[Exception]] = field(default_factory=dict)
    attempts: list[tuple[str, int]] = field(default_factory=list)
    "Id and n of each attempt, as it began."
    taken: list[int] = field(default_factory=list)
    "What arrived, in order."
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    "Target -> what its deliveries wait for."
    under_way: int = 0
    most_under_way: int = 0

    async def deliver(self, id: str, payload: JsonObject, target: str) -> None:
        n = payload["n"]
        self.attempts.append((id, n))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if target in self.gates:
                await self.gates[target].wait()
            if self.faults.get(n):
                raise self.faults[n].pop(0)
            self.taken.append(n)
        finally:
            self.under_way -= 1


@dataclass
class Desk:
    """The outbox and what is around it."""

    outbox: Outbox
    courier: Courier
    writer: Writer
    database: Database
    now: list[float]
    results: list[Result]

    def put(self, n: int, lane: str = "lane", target: str = "target", *, id: str | None = None) -> str:
        """Put the delivery number `n`."""
        return self.outbox.put("test", "default/default", lane, target, {"n": n}, id=id)

    def pass_time(self, seconds: float) -> None:
        """Let the outbox's clock go on."""
        self.now[0] += seconds
        self.outbox.look()

    async def states(self) -> dict[int, str]:
        """n -> state, of all that is in the database."""
        await self.writer.settled()
        async with self.database.connect() as connection:
            rows = await connection.execute(text("SELECT payload, state FROM outbox"))
            return {int(payload.split(":")[1].strip(" }")): state for payload, state in rows}


BACKOFF = Backoff(first_s=2.0, factor=4.0, limit_s=100.0, attempts=4)


@asynccontextmanager
async def open_desk(
    folder: Path,
    *,
    started: bool = True,
    now: list[float] | None = None,
    at_once: int = 128,
    kind: str = "test",
    url: str | None = None,
) -> AsyncIterator[Desk]:
    """A desk on the database at `url`, else in `folder`; `kind` is what its courier delivers."""
    now = [time.time()] if now is None else now
    database = await Database.open(url or f"sqlite:///{folder}/ringway.db")
    writer = Writer(database, spool=folder / "spool")
    await writer.start()
    outbox = Outbox(writer, database, lambda: now[0], at_once=at_once, chance=lambda: 0.0)
    courier = Courier()
    results: list[Result] = []
    outbox.register(kind, courier, backoff=BACKOFF, on_result=results.append)
    if started:
        await outbox.start()
    try:
        yield Desk(outbox, courier, writer, database, now, results)
    finally:
        await outbox.close()
        await writer.close()
        await database.close()


def later(times: int, after_s: float | None = None) -> list[Exception]:
    """So many failures."""
    return [RetryLater("busy", after_s) for _ in range(times)]
