"""From one process to the next: what was live goes on, or is closed as interrupted, once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from server.store import writer as writer_module
from signalling import CallRecord, Session, SessionNotActive, SessionStarted, User, WrongState
from tests.server.house import TENANT

from .desk import WAIT_S, Desk, open_desk


def call(desk: Desk, caller: str = "1001", callee: str = "1002") -> Session:
    """A session with a call that was answered and goes on."""
    registry = desk.registry
    session = registry.new_session(CallRecord(caller, callee, None, *registry.clocks()), owner="admin")
    session.emit(SessionStarted, caller=caller, callee=callee)
    session.join(caller)
    session.join(callee)
    session.answered()
    return session


def known(users: list[User]) -> list[User]:
    """In order of their ids, and to the millisecond."""
    return sorted((replace(user, created_at=round(user.created_at, 3)) for user in users), key=lambda user: user.id)


async def test_6_calls_in_progress_are_closed_as_interrupted_once(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        desk.writer.busy = lambda: True
        session = call(desk)
        desk.writer.touch(session)
        await desk.writer.settled()
        (alive,) = await desk.rows("settings")
        await desk.die()
    async with open_desk(database_url, tmp_path) as desk:
        restored = await desk.restore()
        assert restored == (0, 1)
        assert desk.registry.sessions() == []
        await desk.writer.settled()

        record = await desk.history.session(session.id)
        assert record is not None
        assert (record.status, record.end_cause, record.live_participants) == ("RESOLVED", "interrupted", 0)
        assert record.ended_at is not None
        assert record.ended_at == int(alive["value"]), "the last instant that is known"
        (row,) = await desk.history.calls(session.id)
        assert (row.reason, row.hung_up_by, row.sip_status) == ("interrupted", "server", 503)
        assert row.ended_at == record.ended_at
        assert row.answered_at is not None
        assert abs(row.talking_ms - (row.ended_at - row.answered_at)) <= 1
        stays = await desk.history.participants(session.id)
        assert [(stay.user_id, stay.left_at) for stay in stays] == [
            ("1001", record.ended_at),
            ("1002", record.ended_at),
        ]
        events = await desk.rows("events")
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["kind"] for event in events[-4:]] == [
            "call.ended",
            "participant.left",
            "participant.left",
            "session.ended",
        ]
    async with open_desk(database_url, tmp_path) as desk:
        assert await desk.restore() == (0, 0)
        assert await desk.rows("events") == events


async def test_6_a_second_kill_before_it_was_written_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/r.db"
    async with open_desk(url, tmp_path) as desk:
        session = call(desk)
        await desk.writer.settled()
        await desk.die()
    async with open_desk(url, tmp_path) as desk:
        assert await desk.restore() == (0, 1)
        await desk.die()
    async with open_desk(url, tmp_path) as desk:
        assert await desk.restore() == (0, 1)
        await desk.writer.settled()
        ended = [event for event in await desk.rows("events") if event["kind"] == "session.ended"]
        assert len(ended) == 1
        assert len(await desk.history.calls(session.id)) == 1


async def test_6_a_call_within_a_room_is_interrupted_with_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/r.db"
    async with open_desk(url, tmp_path) as desk:
        over, going = desk.session(), desk.session()
        for session in (over, going):
            session.calls.append(CallRecord("1001", "1002", None, *desk.registry.clocks(), user_data="x"))
        over.calls[0].ended = over.now()
        for session in (over, going):
            desk.writer.touch(session)
        await desk.writer.settled()
        await desk.die()
    async with open_desk(url, tmp_path) as desk:
        assert await desk.restore() == (1, 1)
        assert [session.id for session in desk.registry.sessions()] == [over.id]
        (session,) = desk.registry.sessions()
        assert (len(session.calls), session.calls[0].user_data) == (1, "x")
        record = await desk.history.session(going.id)
        assert record is not None
        assert record.end_cause == "interrupted"


async def test_3_pause_and_resume_survive_a_restart(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        session = desk.session(name="standup", meta={"topic": "x"}, client_id="phone app")
        session.join("bob", display_name="Bob", role="viewer")
        session.leave("bob")
        session.join("bob")
        session.say("bob", "first")
        await session.pause("bob")
        await desk.writer.settled()
        before = await desk.history.session(session.id)
        stays = await desk.history.participants(session.id)
        await desk.die()
    async with open_desk(database_url, tmp_path) as desk:
        assert await desk.restore() == (1, 0)
        (again,) = desk.registry.sessions()
        record = await desk.history.session(session.id)
        assert before is not None
        assert record is not None
        assert replace(record, participant_ms=0) == replace(before, participant_ms=0)
        assert abs(record.participant_ms - before.participant_ms) <= 3, "instants are kept to the millisecond"
        assert await desk.history.participants(session.id) == stays
        assert (again.status, again.paused_by, again.host) == ("PAUSED", "bob", "alice")
        with pytest.raises(SessionNotActive):
            again.say("bob", "unheard")
        with pytest.raises(SessionNotActive):
            await again.pause("alice")
        await again.resume("bob")
        assert again.say("bob", "second").index == 1
        await desk.writer.settled()
        await desk.check(again)
        positions = [event["position"] for event in await desk.rows("events")]
        assert positions == sorted(set(positions))
        await desk.die()
    async with open_desk(database_url, tmp_path) as desk:
        await desk.restore()
        (again,) = desk.registry.sessions()
        assert again.status == "ACTIVE"
        with pytest.raises(WrongState):
            await again.resume("bob")
        await again.end()
        await desk.writer.settled()
        await desk.check(again)


async def test_6_users_rooms_and_roles_are_kept(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        people, rooms = desk.registry.people, desk.registry.rooms
        people.put(
            User(TENANT, "alice", 0, "alice", "Alice", email="a@b.example", extensions=("1001",), created_at=1.5)
        )
        people.see(TENANT, "bob")
        people.see(TENANT, "gone")
        people.remove(TENANT, "gone")
        room = rooms.create(TENANT, "den", owner="alice", client_id="app")
        rooms.set_role(room, "bob", "member")
        rooms.set_role(room, "carol", "viewer")
        rooms.set_role(room, "carol", None)
        rooms.remove(rooms.create(TENANT, "gone"))
        session = desk.session(channel=room)
        await desk.writer.settled()
        users = people.users(TENANT)
        await desk.die()
    async with open_desk(database_url, tmp_path) as desk:
        await desk.restore()
        people, rooms = desk.registry.people, desk.registry.rooms
        assert known(people.users(TENANT)) == known(users)
        assert rooms.channels(TENANT) == [replace(room, created_at=round(room.created_at, 3))]
        assert rooms.channels(TENANT)[0].roles == {"bob": "member"}
        sitting = rooms.active_session(room.id)
        assert sitting is not None
        assert sitting.id == session.id
        assert sitting.channel is rooms.get(TENANT, room.id)


async def test_5_rooms_and_users_keep_their_order_whatever_is_changed(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        rooms, people = desk.registry.rooms, desk.registry.people
        for name in ("c", "b", "a"):
            rooms.create(TENANT, name)
            people.see(TENANT, name)
            await asyncio.sleep(0.003)  # no two of one millisecond
        await desk.writer.settled()
        rooms.put(replace(rooms.channels(TENANT)[0], name="c"))
        people.put(replace(people.see(TENANT, "c"), display_name="C"))
        await desk.writer.settled()
    async with open_desk(database_url, tmp_path) as desk:
        await desk.restore()
        assert [channel.name for channel in desk.registry.rooms.channels(TENANT)] == ["c", "b", "a"]
        assert [user.id for user in desk.registry.people.users(TENANT)] == ["c", "b", "a"]


async def test_6_who_is_in_the_configuration_stays_as_it_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/r.db"
    async with open_desk(url, tmp_path) as desk:
        desk.registry.people.put(User(TENANT, "alice", 0, "old"))
        desk.registry.people.put(User(TENANT, "mallory", 0, "mallory", email="a@b.example"))
        await desk.writer.settled()
        await desk.die()
    async with open_desk(url, tmp_path) as desk:
        desk.registry.people.restore([User(TENANT, "alice", 1, "new", email="a@b.example")])
        await desk.restore()
        assert [user.handle for user in desk.registry.people.users(TENANT)] == ["new"]


async def test_6_positions_rise_even_when_the_clock_went_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/r.db"
    ahead = round((time.time() + 3600) * 1_000_000)
    async with open_desk(url, tmp_path) as desk:
        desk.registry.bus._position = ahead
        desk.session()
        await desk.writer.settled()
        await desk.die()
    async with open_desk(url, tmp_path) as desk:
        await desk.restore()
        desk.session()
        await desk.writer.settled()
        positions = [event["position"] for event in await desk.rows("events")]
        assert positions == sorted(set(positions))
        assert len(positions) == 4


async def test_6_an_idle_process_notes_that_it_lives_while_calls_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "ALIVE_INTERVAL_S", 0.05)
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        await asyncio.sleep(0.15)
        assert await desk.rows("settings") == []
        desk.writer.busy = lambda: True
        async with asyncio.timeout(WAIT_S):
            while not (rows := await desk.rows("settings")):  # noqa: ASYNC110 -- a row has no event
                await asyncio.sleep(0.02)
        (row,) = rows
        assert abs(int(row["value"]) / 1000 - time.time()) < 5
