"""The rows and queries of the invitation dialect, on SQLite and PostgreSQL, through a whole server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from server.store.queries import invitations as queries
from signalling import Delivery, Invitation, Invitee, Relationship, Session, session_id_of
from tests.server.house import TENANT, House, open_house

SESSIONS = "/api/v1/sessions"
INVITATIONS = "/api/v1/invitations"
INVITATION = Invitation(
    "inv_" + "0" * 32,
    "1801439850948198400",
    TENANT,
    "alice",
    Invitee(None, "partner@example.com", "+33199001234", "Alex"),
    created_at=1_700_000_000.123,
    expires_at=1_700_604_800.123,
    relationship_id="rel_1",
    status="DECLINED",
    resent_count=2,
    last_sent_at=1_700_000_001.0,
    responded_at=1_700_000_002.0,
    responded_by="bob",
    decline_reason='nö ☃ "\\\n',
    context="between us",
    deliveries={
        "email": Delivery("email", "email", "FAILED", "422 no", 1_700_000_003.5),
        "phone": Delivery("phone", "sms"),
    },
)
PAIR = Relationship("rel_1", TENANT, "alice", "bob", "email:partner@example.com", 1_700_000_000.5)
HALF = Relationship("rel_2", TENANT, "alice", None, "phone:+33199001234", 1_700_000_000.25)


async def create(house: House, token: str = "alice", **body: Any) -> tuple[str, str]:
    status, answer = await house.post(SESSIONS, body, token=token)
    assert status == 201, answer
    return answer["data"]["session"]["id"], answer["data"]["invitationId"]


def live(house: House, session: str) -> Session:
    found = house.registry.get(session_id_of(session) or "")
    assert found is not None
    return found


async def test_what_is_written_is_read_again(tmp_path: Path, database_url: str) -> None:
    async for house in open_house(tmp_path, database_url=database_url):
        writer, database = house.services.writer, house.services.database
        writer.write("invitations", queries.invitation_row(INVITATION))
        writer.write("relationships", queries.relationship_row(HALF), "insert")
        writer.write("relationships", queries.relationship_row(PAIR))
        await writer.settled()
        async with database.connect() as connection:
            assert await queries.invitation(connection, INVITATION.id) == INVITATION
            assert await queries.invitation(connection, "inv_x") is None
            assert await queries.relationships_of_pairs(connection) == [PAIR]
            assert await queries.open_invitations(connection) == []


async def test_c6_lists_and_counts_of_sessions_that_are_over(tmp_path: Path, database_url: str) -> None:
    async for house in open_house(tmp_path, database_url=database_url):
        house.registry.people.see(TENANT, "bob")
        first, invitation = await create(house, personId="bob")
        await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
        for session in (live(house, first),):
            session.leave("bob")
            session.join("bob")  # two stays are one session in a list
            session.join("carol")
            await session.end()
        second = house.session("bob")
        second.join("alice")
        await second.end()
        declined, invitation = await create(house, personId="bob")
        await house.post(f"{INVITATIONS}/{invitation}/decline", {"reason": "no"}, token="bob")
        await house.services.writer.settled()
        async with house.services.database.connect() as connection:
            for user, count in (("alice", 3), ("bob", 3), ("carol", 1), ("nobody", 0)):
                ids = await queries.session_ids(connection, TENANT, user, limit=10, before=None, status=None)
                assert len(ids) == count
                assert ids == sorted(ids, reverse=True)
                shown = await queries.sittings(connection, ids, user)
                assert [int(sitting.session.id) for sitting in shown] == ids
            ids = await queries.session_ids(connection, TENANT, "bob", limit=10, before=None, status="ABANDONED")
            assert ids == [int(session_id_of(declined) or 0)]
            assert await queries.session_ids(connection, "other/app", "bob", limit=9, before=None, status=None) == []
            (asked,) = await queries.sittings(connection, ids, "bob")
            assert asked.mine is None
            assert asked.other is not None
            assert asked.other.user == "alice"
            assert asked.invitation is not None
            assert asked.invitation.decline_reason == "no"
            relationship = house.services.inviting.invitations.relationship_id(TENANT, "alice", "bob")
            shared = await queries.shared_sessions(connection, TENANT, "alice", "bob", relationship)
            assert shared == (3, int(session_id_of(first) or 0))


async def test_c8_messages_in_their_order(tmp_path: Path, database_url: str) -> None:
    async for house in open_house(tmp_path, database_url=database_url):
        session = house.session("alice")
        for n in range(5):
            session.say("alice", f"no. {n}")
        await house.services.writer.settled()
        async with house.services.database.connect() as connection:
            said = await queries.messages(connection, int(session.id), limit=3, after=0)
        assert [(message.index, message.payload) for message in said] == [(n, f"no. {n}") for n in (1, 2, 3)]
        assert said[0].at > 1_700_000_000


async def test_c17_open_invitations_are_found_after_a_restart(tmp_path: Path, database_url: str) -> None:
    async for house in open_house(tmp_path, database_url=database_url):
        house.registry.people.see(TENANT, "bob")
        _, pending = await create(house, inviteEmail="a@example.com", context="between us")
        _, accepted = await create(house, personId="bob")
        await house.post(f"{INVITATIONS}/{accepted}/accept", token="bob")
        _, declined = await create(house, inviteEmail="b@example.com")
        await house.post(f"{INVITATIONS}/{declined}/decline", token="bob")
    async for house in open_house(tmp_path, database_url=database_url):
        async with house.services.database.connect() as connection:
            found = await queries.open_invitations(connection)
        assert [(one.id, one.status, one.context) for one in found] == [
            (pending, "PENDING", "between us"),
            (accepted, "ACCEPTED", None),
        ]
