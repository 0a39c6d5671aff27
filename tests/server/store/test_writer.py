"""The batching writer: order, one write of each row, and what readers wait for."""

from __future__ import annotations

from pathlib import Path

from tests.server.house import open_house


async def test_4_a_session_of_the_past_is_read_from_the_database(tmp_path: Path) -> None:
    async for house in open_house(tmp_path):
        session = house.session("alice", name="standup")
        session.join("bob")
        live = await house.services.history.session(session.id)
        people = await house.services.history.participants(session.id)
        await session.end()
        ended = await house.services.history.session(session.id)
        house.registry._ended.clear()
        past = await house.services.history.session(session.id)
        assert past == ended
        print(past, live, people)
