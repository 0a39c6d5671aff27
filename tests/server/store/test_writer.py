"""The batching writer: order, one write of each row, what readers wait for, and a database that fails."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from server.store import backlog
from server.store import database as database_module
from server.store import writer as writer_module
from server.store.pending import Write
from server.store.spool import Spool, SpoolFull
from server.store.writer import StoreUnavailable
from signalling import ChatSent, Happening
from tests.server.postgres import Cluster

from .desk import WAIT_S, Desk, open_desk, set_pragma


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again soon."""
    monkeypatch.setattr(writer_module, "RETRY_LIMIT_S", 0.5)


async def test_4_what_happened_is_there_once_settled(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        session = desk.session(name="standup", meta={"topic": "ü"})
        session.join("bob")
        session.say("bob", "hello")
        session.leave("bob")
        await desk.writer.settled()

        await desk.check(session)
        (row,) = await desk.rows("sessions")
        assert (row["name"], row["meta"], row["max_participants"]) == ("standup", '{"topic":"ü"}', 2)
        assert [(stay["user_id"], stay["left_at"] is None) for stay in await desk.rows("participants")] == [
            ("alice", True),
            ("bob", False),
        ]
        assert [said["payload"] for said in await desk.rows("chat_messages")] == ["hello"]
        kinds = [row["kind"] for row in await desk.rows("events")]
        assert kinds == [
            "session.started",
            "participant.joined",
            "participant.joined",
            "chat.sent",
            "participant.left",
        ]


async def test_4_it_is_written_soon_without_anybody_waiting(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        session = desk.session()
        give_up_at = time.monotonic() + 10
        while not await desk.rows("sessions"):
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.02)
        await desk.check(session)


async def test_4_settled_waits_for_nothing_when_nothing_was_written(tmp_path: Path) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        desk.session()
        await desk.writer.settled()
        task = asyncio.ensure_future(desk.writer.settled())
        await asyncio.sleep(0)
        assert task.done()


async def test_4_a_session_that_came_and_went_costs_one_row(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        batches: list[Any] = []
        write = desk.writer._transfer.write

        async def spy(batch: Any) -> None:
            batches.append(batch)
            await write(batch)

        desk.writer._transfer.write = spy  # type: ignore[method-assign]  # to see what is written
        session = desk.session()
        session.join("bob")
        await session.end()
        await desk.writer.settled()

        (batch,) = batches
        written = {run.table: len(run.rows) for run in batch}
        assert written == {"sessions": 1, "participants": 2, "events": 6}
        await desk.check(session)


async def test_4_a_full_batch_that_is_due_already_takes_more(tmp_path: Path) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        session = desk.session()
        for n in range(writer_module.BATCH):
            session.note(f"{n}")
        desk.writer.touch(session)
        desk.writer.write("settings", {"name": "a", "value": "b"})
        await desk.writer.settled()

        assert len(await desk.rows("events")) == writer_module.BATCH + 2
        await desk.check(session)


async def test_4_under_load_a_batch_waits_for_more_but_not_for_long(tmp_path: Path) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        session = desk.session()
        session.note("first")
        await desk.writer.settled()
        taken_at = desk.writer._taken_at
        for n in range(writer_module.BATCH):
            session.note(f"{n}")
        assert desk.writer._flush_at == pytest.approx(taken_at + writer_module.PAUSE_S, abs=1e-3)


async def test_4_rows_of_one_table_keep_their_order(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        for value in ("first", "second"):
            desk.writer.write("settings", {"name": "a", "value": value})
        desk.writer.write("settings", {"name": "b", "value": "gone"})
        desk.writer.write("settings", {"name": "b"}, "delete")
        desk.writer.write("settings", {"value": "back", "name": "b"})
        desk.writer.write("settings", {"name": "b", "value": "too late"}, "insert")
        await desk.writer.settled()

        assert await desk.rows("settings") == [{"name": "a", "value": "second"}, {"name": "b", "value": "back"}]


async def test_4_a_row_without_all_its_columns_changes_the_one_that_is_there(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        channel = desk.registry.rooms.create("a/b", "den")
        desk.writer.write("channels", {"name": "lair", "id": channel.id})
        desk.writer.write("channels", {"id": "unknown", "name": "nothing"})
        await desk.writer.settled()

        assert [(row["tenant"], row["name"]) for row in await desk.rows("channels")] == [("a/b", "lair")]


@pytest.mark.parametrize(
    ("table", "row", "mode", "error"),
    [
        ("nonsense", {"id": 1}, "upsert", KeyError),
        ("settings", {"name": "a", "colour": "b"}, "upsert", KeyError),
        ("settings", {"value": "b"}, "upsert", KeyError),
        ("settings", {}, "delete", KeyError),
        ("users", {"tenant": "a/b", "id": "u"}, "insert", KeyError),
        ("users", {"tenant": "a/b", "id": "u"}, "upsert", KeyError),
        ("settings", {"name": "a", "value": b"b"}, "upsert", TypeError),
    ],
)
async def test_a_row_that_can_never_be_written_is_refused_at_once(
    tmp_path: Path, table: str, row: dict[str, Any], mode: Any, error: type[Exception]
) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        with pytest.raises(error):
            desk.writer.write(table, row, mode)


async def test_12_rows_of_a_hook_are_committed_with_their_events(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:

        def note(happenings: Sequence[Happening]) -> Iterable[Write]:
            for happening in happenings:
                if happening.kind is ChatSent:
                    yield Write("settings", {"name": f"said {happening.seq}", "value": happening.fields["payload"]})

        def fail(happenings: Sequence[Happening]) -> Iterable[Write]:
            raise RuntimeError("a fault")

        desk.writer.before_commit += [fail, note]
        session = desk.session()
        session.say("alice", "hello")
        await desk.writer.settled()

        assert await desk.rows("settings") == [{"name": "said 3", "value": "hello"}]
        await desk.check(session)


@pytest.mark.parametrize("text", ["half \ud83d of a face", "NUL \0 inside"])
async def test_4_text_that_no_database_holds_does_not_stop_the_others(
    database_url: str, tmp_path: Path, text: str
) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        before = desk.session(name="before")
        odd = desk.session(name=text)
        odd.say("alice", text)
        after = desk.session(name="after")
        await desk.writer.settled()

        await desk.check(before, odd, after)
        names = [row["name"] for row in await desk.rows("sessions")]
        assert (names[0], names[2]) == ("before", "after")
        assert desk.writer.counts()["store_rows_refused"] == 0


async def test_4_a_name_too_long_for_an_index_is_cut_rather_than_lost(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        name = "".join(map(str, range(3000)))  # PostgreSQL would compress a repetition
        long, after = desk.session(name=name), desk.session(name="after")
        await desk.writer.settled()

        await desk.check(long, after)
        stored = (await desk.rows("sessions"))[0]["name"]
        assert len(stored) >= 2000
        assert name.startswith(stored)
        assert desk.writer.counts()["store_rows_refused"] == 0


async def test_4_a_row_that_the_database_refuses_does_not_stop_the_others(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        user = {"tenant": "a/b", "number": 7, "handle": "x", "created_at": 0}
        desk.writer.write("users", {**user, "id": "first"})
        desk.writer.write("users", {**user, "id": "second"})  # its number is taken
        desk.writer.write("users", {**user, "id": "third", "number": 8})
        session = desk.session()
        await desk.writer.settled()

        assert [row["id"] for row in await desk.rows("users") if row["tenant"] == "a/b"] == ["first", "third"]
        assert desk.writer.counts()["store_rows_refused"] == 1
        assert desk.writer.up
        await desk.check(session)


async def test_4_a_fault_of_ours_in_one_session_does_not_stop_the_others(tmp_path: Path) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        odd = desk.session(name="odd")
        odd.max_present = None  # type: ignore[assignment]  # what no code of ours should do
        odd.updated_at = None  # type: ignore[assignment]
        after = desk.session(name="after")
        await desk.writer.settled()

        assert [row["name"] for row in await desk.rows("sessions")] == ["after"]
        await desk.check(after)
        odd.max_present, odd.updated_at = 1, 0.0


async def test_4_a_spool_that_cannot_be_read_does_not_stop_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        end = set_pragma(desk, "query_only=ON")
        lived = await live_through(desk, 20)
        await desk.until(lambda: not desk.writer.up)

        def broken(*_: object) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as failing:
            failing.setattr(Spool, "first", broken)
            failing.setattr(Spool, "drop_first", broken)
            end()
            set_pragma(desk, "query_only=OFF")
            failures = desk.writer.failures
            lived += await live_through(desk, 20)
            await desk.until(lambda: desk.writer.failures > failures + 1)
        await desk.all_written()

        await desk.check(*lived)


# A database that fails. What goes on is told apart by the sequence numbers of the events.


async def live_through(desk: Desk, count: int = 40) -> list[Any]:
    """Sessions that begin, are spoken in and partly end, over several batches; nothing of it may wait."""
    lived = []
    for number in range(count):
        began = time.perf_counter()
        session = desk.session(name=f"session {number}")
        session.say("alice", "hello")
        if number % 2:
            session.abandon("over")
        assert time.perf_counter() - began < 0.5, "a call waited for the database"
        lived.append(session)
        if number % 10 == 9 and number < 60:
            await asyncio.sleep(0.12)
    return lived


async def refuses_to_answer(desk: Desk) -> None:
    """Lists are answered 503 while the database is down; a live session is still known."""
    session = desk.session()
    with pytest.raises(StoreUnavailable) as refused:
        await desk.writer.settled()
    assert refused.value.status == 503
    with pytest.raises(StoreUnavailable):
        await desk.history.session("1234567890123456789")
    record = await desk.history.session(session.id)
    assert record is not None
    assert record.live_participants == 1


async def test_4_postgresql_stopped_and_started_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    async with open_desk(cluster.current(), tmp_path) as desk:
        before = await live_through(desk, 10)
        await desk.writer.settled()
        await asyncio.to_thread(cluster.stop)
        try:
            during = await live_through(desk)
            await desk.until(lambda: not desk.writer.up and desk.writer.counts()["store_spool_files"])
            await refuses_to_answer(desk)
            await desk.until(lambda: desk.writer.counts()["store_rows_in_memory"] == 0)
        finally:
            cluster.start()  # here, for it ends with the thread that started it
        after = await live_through(desk, 10)
        await desk.all_written()

        await desk.check(*before, *during, *after)
        assert desk.writer.counts()["store_spool_files"] == 0
        assert [path.name for path in desk.spool.iterdir()] == ["spare"]


async def test_4_sqlite_on_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        before = await live_through(desk, 10)
        await desk.writer.settled()
        with sqlite3.connect(tmp_path / "r.db") as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        end = set_pragma(desk, f"max_page_count={pages}")
        during = await live_through(desk, 400)
        await desk.until(lambda: not desk.writer.up)
        await refuses_to_answer(desk)
        end()
        set_pragma(desk, "max_page_count=1000000")
        after = await live_through(desk, 10)
        await desk.all_written()

        await desk.check(*before, *during, *after)
        assert desk.writer.counts()["store_rows_lost"] == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MB. Needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


async def test_4_a_disk_that_is_full_for_the_spool_too_loses_nothing(small_disk: Path) -> None:
    async with open_desk(f"sqlite:///{small_disk}/r.db", small_disk) as desk:
        before = await live_through(desk, 10)
        await desk.writer.settled()
        filler = os.open(small_disk / "filler", os.O_WRONLY | os.O_CREAT)
        size = 64 * 1024
        while size:
            try:
                os.write(filler, bytes(size))
            except OSError:
                size //= 2
        os.close(filler)
        during = await live_through(desk, 400)
        await desk.until(lambda: not desk.writer.up)
        # What was taken beforehand is enough for the spool.
        await desk.until(lambda: desk.writer.counts()["store_rows_in_memory"] == 0)
        (small_disk / "filler").unlink()
        after = await live_through(desk, 10)
        await desk.all_written()

        await desk.check(*before, *during, *after)
        assert desk.writer.counts()["store_rows_lost"] == 0


async def test_4_sqlite_that_may_only_be_read_loses_nothing(tmp_path: Path) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        end = set_pragma(desk, "query_only=ON")
        during = await live_through(desk)
        await desk.until(lambda: not desk.writer.up)
        end()
        set_pragma(desk, "query_only=OFF")
        await desk.all_written()

        await desk.check(*during)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process writes into it for as long."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def test_4_a_locked_database_delays_nobody_and_is_on_disk_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SQLite waits for as long as the lock may last, however long the disk takes meanwhile.
    monkeypatch.setattr(database_module, "BUSY_MS", 10_000 * int(WAIT_S))
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        with locked(tmp_path / "r.db"):
            during = await live_through(desk)
            # Nothing failed yet, for SQLite waits; but should we be killed now, the disk knows.
            await desk.until(lambda: desk.writer.counts()["store_spool_files"])
            assert desk.writer.up
        await desk.all_written()

        await desk.check(*during)
        assert desk.writer.counts()["store_failures"] == 0


async def test_4_readers_do_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SETTLE_S", 0.05)
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        with locked(tmp_path / "r.db"):
            desk.session()
            with pytest.raises(StoreUnavailable):
                await desk.writer.settled()


async def test_4_what_a_former_process_spooled_comes_first(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/r.db"
    async with open_desk(url, tmp_path) as desk:
        set_pragma(desk, "query_only=ON")
        first = await live_through(desk)
        desk.writer.write("settings", {"name": "who", "value": "first"})
        await desk.until(lambda: not desk.writer.up)
    async with open_desk(url, tmp_path) as desk:
        desk.writer.write("settings", {"name": "who", "value": "second"})
        await desk.all_written()

        await desk.check(*first)
        assert await desk.rows("settings") == [{"name": "who", "value": "second"}]


async def test_4_memory_is_bounded_when_there_is_no_disk_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(spool: Spool, entry: object) -> None:
        raise SpoolFull("no space left on device")

    monkeypatch.setattr(Spool, "append", full)
    monkeypatch.setattr(backlog, "MAX_ROWS_IN_MEMORY", 100)
    monkeypatch.setattr(writer_module, "FLUSH_S", 0.05)  # batches of fewer rows than may be kept
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        end = set_pragma(desk, "query_only=ON")
        lived = await live_through(desk, 100)
        await desk.until(lambda: desk.writer.counts()["store_rows_lost"] and not desk.writer.up)
        assert desk.writer.counts()["store_rows_in_memory"] <= 100
        end()
        set_pragma(desk, "query_only=OFF")
        await desk.all_written()

        await desk.check(lived[0])
