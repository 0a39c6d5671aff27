"""With a million sessions in SQLite, each list call of the dialects answers in less than 50 ms (p95).

The time is that of the processor, and the best of three for each question: what else the machine does meanwhile is not
the database's doing. A processor that is shared runs slower all the same; a piece of work that never changes, done
before and after, says by how much. RINGWAY_TEST_SESSIONS makes a smaller database, for those who change a query.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from math import ceil

import pytest
from sqlalchemy import text

from server.store.database import Database
from server.store.derived import mistakes
from server.store.queries import channels, realtimekit
from server.store.retention import PAUSE, Retention

from .lists import LISTS, NOW_MS, Ask
from .million import TENANT, fill

SESSIONS = int(os.environ.get("RINGWAY_TEST_SESSIONS", "1000000"))
LIMIT_MS = 50.0
QUESTIONS = 5  # of each way to ask, each a little different
BEST_OF = 3
YARDSTICK = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT sum(i % 7) FROM n"
YARDSTICK_MS = 38.0  # on two cores of a Xeon whose neighbours rest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Filled once for all tests here; 1.2 GB."""
    file = tmp_path_factory.mktemp("million") / "ringway.db"

    async def make() -> None:
        await (await Database.open(f"sqlite:///{file}")).close()

    asyncio.run(make())
    fill(file, SESSIONS)
    yield f"sqlite:///{file}"
    shutil.rmtree(file.parent)


async def times_ms(database: Database, ask: Ask, name: str) -> list[float]:
    chance = random.Random(name)
    found = []
    for _ in range(QUESTIONS):
        state = chance.getstate()
        tries = []
        for _ in range(BEST_OF):
            chance.setstate(state)
            began = time.process_time()
            await ask(database, chance)
            tries.append((time.process_time() - began) * 1000)
        found.append(min(tries))
    return found


def slowness() -> float:
    """How many times slower than usual SQLite is at the moment; at least 1."""
    connection = sqlite3.connect(":memory:")
    tries = []
    for _ in range(5):
        began = time.process_time()
        connection.execute(YARDSTICK).fetchone()
        tries.append((time.process_time() - began) * 1000)
    connection.close()
    return max(1.0, sorted(tries)[2] / YARDSTICK_MS)


def p95(times: list[float]) -> float:
    return sorted(times)[ceil(0.95 * len(times)) - 1]


@pytest.mark.parametrize("name", LISTS)
async def test_each_list_answers_within_50_ms(url: str, name: str) -> None:
    asyncio.get_running_loop().set_debug(False)  # which costs more than the queries
    ways: Mapping[str, Ask] = LISTS[name]
    database = await Database.open(url)
    slower = slowness()
    times = {way: await times_ms(database, ask, way) for way, ask in ways.items()}
    slower = max(slower, slowness())
    await database.close()
    table = "\n".join(
        f"{max(found):8.1f} ms  {way}" for way, found in sorted(times.items(), key=lambda it: -max(it[1]))
    )
    every = [one for found in times.values() for one in found]
    print(f"{name}: p95 {p95(every):.1f} ms of {len(every)} questions, {slower:.1f} times slower than usual\n{table}")
    assert p95(every) < LIMIT_MS * slower, table


async def test_totals_are_exact(url: str) -> None:
    database = await Database.open(url)
    async with database.connect() as connection:
        for table, query in mistakes().items():
            assert (await connection.exec_driver_sql(query)).all() == [], table
        true = (
            await connection.execute(text("SELECT count(*) FROM sessions WHERE tenant = :t"), {"t": TENANT})
        ).scalar()
        assert (await channels.find_sessions(connection, channels.SessionFilter(TENANT), channels.Page()))[0] == true
        wanted = realtimekit.SessionFilter(TENANT)
        assert (await realtimekit.find_sessions(connection, wanted, realtimekit.Page(0, 1), now=NOW_MS))[1] == true
    await database.close()


async def test_pages_of_the_whole_list_do_not_overlap_however_far_down(url: str) -> None:
    database = await Database.open(url)
    wanted = channels.SessionFilter(TENANT)
    async with database.connect() as connection:
        total, _ = await channels.find_sessions(connection, wanted, channels.Page())
        for middle in (100, total // 2, total - 60):
            whole = await channels.find_sessions(connection, wanted, channels.Page(offset=middle - 50, limit=100))
            parts = [
                await channels.find_sessions(connection, wanted, channels.Page(offset=at, limit=50))
                for at in (middle - 50, middle)
            ]
            assert [one.id for one in whole[1]] == [one.id for part in parts for one in part[1]]
    await database.close()


async def test_retention_holds_the_writer_up_for_less_than_50_ms(url: str) -> None:
    """The oldest hundredth goes, with all that hangs on it."""
    asyncio.get_running_loop().set_debug(False)
    database = await Database.open(url)
    async with database.connect() as connection:
        oldest = (await connection.execute(text("SELECT min(ended_at) FROM sessions"))).scalar_one()

    class Days:
        events = chat = artefacts = app_sessions = delivered = dead = tokens = 0.0
        sessions = (NOW_MS - oldest) / 86_400_000 * 0.99

    took: list[float] = []

    async def sleep(pause_s: float) -> None:
        took.append(pause_s / PAUSE * 1000)
        await asyncio.sleep(0)

    retention = Retention(database, Days(), clock=lambda: NOW_MS / 1000, timer=time.process_time, sleep=sleep)
    gone = await retention.enforce()
    await database.close()
    slower = slowness()
    print(f"{gone} in {len(took)} transactions: p95 {p95(took):.0f} ms, at most {max(took):.0f} ms")
    assert gone["sessions"] >= SESSIONS // 200
    assert p95(took) < LIMIT_MS * slower, "a few carry SQLite's checkpoint"
