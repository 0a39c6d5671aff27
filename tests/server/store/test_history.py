"""A session is the same to its readers while it is live, while it is retained, and when only the database has it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from server.store.records import CALL_COLUMNS, PARTICIPANT_COLUMNS, SESSION_COLUMNS, call_values, encoded
from server.store.schema import calls, participants, sessions
from signalling import CallRecord, Session
from tests.server.house import TENANT

from .desk import Desk, open_desk


def forget(desk: Desk, session: Session) -> None:
    """As when its time in memory is over (G9)."""
    desk.registry._ended.pop(session.id, None)
    assert desk.registry.get(session.id) is None


def test_5_the_records_are_the_columns() -> None:
    assert tuple(sessions.columns.keys()) == SESSION_COLUMNS
    assert tuple(participants.columns.keys()) == PARTICIPANT_COLUMNS
    assert tuple(calls.columns.keys()) == CALL_COLUMNS


async def test_g9_a_session_evicted_from_memory_is_read_from_the_database(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        session = desk.session(name="standup", meta={"a": [1, None]}, client_id="app")
        session.join("bob", display_name="Bob", custom_id="b-1", preset="guest", role="viewer")
        session.group_id, session.parent_id = "g", "p"
        session.leave("bob")
        session.join("bob")
        live = await desk.history.session(session.id)
        assert live is not None
        assert (live.participants_count, live.live_participants, live.max_participants) == (2, 2, 2), "B22"
        await session.end()
        ended, stays = await desk.history.session(session.id), await desk.history.participants(session.id)
        forget(desk, session)

        assert ended is not None
        assert await desk.history.session(session.id) == ended
        assert await desk.history.participants(session.id) == stays
        assert await desk.history.calls(session.id) == []
        assert [stay.user_id for stay in stays] == ["alice", "bob", "bob"]
        assert ended.participant_ms - sum((stay.left_at or 0) - stay.joined_at for stay in stays) in range(-3, 4)
        assert stays[1].user_number == desk.registry.people.number_of(TENANT, "bob")


async def test_g9_nobody_knows_what_never_was(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        assert await desk.history.session("1234567890123456789") is None
        assert await desk.history.participants("1234567890123456789") == []
        assert await desk.history.calls("1234567890123456789") == []


async def test_9_roles_are_known_of_past_sessions_too(database_url: str, tmp_path: Path) -> None:
    async with open_desk(database_url, tmp_path) as desk:
        rooms = desk.registry.rooms
        room = rooms.create(TENANT, "den", owner="olga")
        for user, role in (("mia", "member"), ("vera", "viewer"), ("vick", "viewer")):
            rooms.set_role(room, user, role)  # type: ignore[arg-type]  # they are roles
        session = desk.session("alice", channel=room)
        session.join("vera")
        session.join("peter", role="viewer")
        users = ("alice", "olga", "mia", "vera", "vick", "peter", "stranger")
        expected = {user: session.role_of(user) for user in users}
        live = await desk.history.session(session.id)
        await session.end()
        forget(desk, session)
        past = await desk.history.session(session.id)

        assert live is not None
        assert past is not None
        assert {user: past.role_of(user) for user in users} == expected
        assert {user: live.role_of(user) for user in users} == expected


async def test_5_a_call_is_recorded_by_the_monotonic_clock(tmp_path: Path) -> None:
    async with open_desk(f"sqlite:///{tmp_path}/r.db", tmp_path) as desk:
        clock = [100.0]
        record = CallRecord(
            "1001",
            "0049",
            "Desk",
            datetime.fromtimestamp(1_795_000_000, UTC),
            lambda: clock[0],
            trunk="carrier",
            user_data="order 7",
            codecs=("PCMU", "opus"),
        )
        session = desk.registry.new_session(record, owner="admin")
        clock[0] += 2.5
        record.answered = clock[0]
        clock[0] += 60
        record.ended, record.status, record.reason, record.hung_up_by = clock[0], 200, "hung up", "callee"
        row = dict(zip(CALL_COLUMNS, call_values(session, 0), strict=True))

        assert (row["started_at"], row["answered_at"], row["ended_at"]) == (
            1_795_000_000_000,
            1_795_000_002_500,
            1_795_000_062_500,
        )
        assert (row["talking_ms"], row["sip_status"], row["hung_up_by"]) == (60_000, 200, "callee")
        assert (row["codecs"], row["trunk"], row["user_data"]) == ("PCMU,opus", "carrier", "order 7")
        desk.registry.forget(session)


def test_json_that_is_no_utf_8_is_still_json() -> None:
    assert json.loads(encoded({"half": "\ud83d", "ü": 1})) == {"half": "\ud83d", "ü": 1}
