"""The invitation dialect, point by point (document 002, conformance C1-C24, G3-G6), over real HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, cast

import pytest
import structlog

from server.sections import Config
from signalling import Happening, OriginateRequest, Principal, Session, event_body, session_id_of, uuid_of_session
from tests.media.fake import FakeMediaLeg
from tests.sim.phones import SimPhone

from .house import TENANT, House, open_house

SESSIONS = "/api/v1/sessions"
INVITATIONS = "/api/v1/invitations"
EMAIL = {"inviteEmail": "partner@example.com", "inviteName": "Alex", "context": "about household responsibilities"}
DAY = 86_400.0
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOT_BEGUN = {"stage": 0, "status": "NOT_STARTED", "startedAt": None, "completedAt": None}


@pytest.fixture
def clock(house: House) -> list[float]:
    """Seconds to add to the clock of the invitations."""
    ahead = [0.0]
    real = house.services.inviting.clock
    house.services.inviting.clock = lambda: real() + ahead[0]
    return ahead


@pytest.fixture
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """Every line that is logged, whatever its level."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("debug"))
    with structlog.testing.capture_logs() as logged:
        yield logged
    structlog.configure(**before)


async def create(house: House, token: str = "alice", **body: Any) -> dict[str, Any]:
    """The data of a create that succeeds."""
    status, answer = await house.post(SESSIONS, body or EMAIL, token=token)
    assert status == 201, answer
    assert answer["success"] is True
    data: dict[str, Any] = answer["data"]
    return data


async def invited(house: House, token: str = "alice", **body: Any) -> tuple[str, str]:
    """Ids of a new session and its invitation."""
    data = await create(house, token, **body)
    return data["session"]["id"], data["invitationId"]


async def accepted(house: House, by: str = "bob") -> tuple[str, str]:
    """The same, accepted."""
    session, invitation = await invited(house)
    status, answer = await house.post(f"{INVITATIONS}/{invitation}/accept", token=by)
    assert status == 200, answer
    return session, invitation


def known(house: House, *users: str, **fields: Any) -> None:
    """Users of the directory."""
    for user in users:
        house.registry.people.see(TENANT, user, display_name=fields.get("display_name"))


async def detail(house: House, session: str, token: str = "alice") -> dict[str, Any]:
    status, answer = await house.get(f"{SESSIONS}/{session}", token=token)
    assert status == 200, answer
    data: dict[str, Any] = answer["data"]
    return data


async def listed(house: House, query: str = "", token: str = "alice") -> list[dict[str, Any]]:
    status, answer = await house.get(f"{SESSIONS}{query}", token=token)
    assert status == 200, answer
    sessions: list[dict[str, Any]] = answer["data"]["sessions"]
    return sessions


def live(house: House, session: str) -> Session:
    found = house.registry.get(session_id_of(session) or "")
    assert found is not None
    return found


def is_error(answer: tuple[int, Any], status: int, code: str) -> bool:
    """Whether it is the error body of this dialect (C11)."""
    body = answer[1]
    assert answer[0] == status, answer
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    assert set(body["error"]) == {"code", "message"}  # `details?`: left out where there are none (C11)
    assert isinstance(body["error"]["message"], str)
    return bool(body["error"]["code"] == code)


# Creating.


async def test_c4_c5_create_answers_with_the_session_the_invitation_and_its_link(house: House) -> None:
    data = await create(house)
    session = data["session"]
    assert set(data) == {"session", "invitationId", "invitationUrl"}
    assert list(session) == [
        "id", "relationshipId", "status", "createdAt", "partner", "myProgress", "partnerProgress", "isMyTurn",
        "waitingOnPartner",
    ]  # fmt: skip
    assert session["id"].startswith("sess_")
    assert session["relationshipId"].startswith("rel_")
    assert re.fullmatch("inv_[0-9a-f]{32}", data["invitationId"])
    assert data["invitationUrl"].endswith(f"/join/{data['invitationId']}")
    assert session["status"] == "INVITED"
    assert INSTANT.fullmatch(session["createdAt"])
    assert session["partner"] == {"id": "user_pending", "name": "Alex"}
    assert session["myProgress"] == session["partnerProgress"] == NOT_BEGUN
    assert (session["isMyTurn"], session["waitingOnPartner"]) == (False, True)


async def test_c22_create_answers_201(house: House) -> None:
    assert (await house.post(SESSIONS, EMAIL))[0] == 201


async def test_c4_the_scheme_of_the_link_is_configurable(tmp_path: Path) -> None:
    config = Config.model_validate({"invitations": {"link": "beheard://invite/{id}"}})
    async for house in open_house(tmp_path, config=config):
        data = await create(house)
        assert data["invitationUrl"] == f"beheard://invite/{data['invitationId']}"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inviteName": "Alex"},
        {"personId": None},
        {"inviteEmail": "no address"},
        {"inviteEmail": ""},
        {"inviteEmail": "a@b.example\r\nBcc: c@d.example"},
        {"inviteEmail": "Alex <alex@example.com>"},
        {"invitePhone": "12345"},
        {"invitePhone": "abc"},
        {"invitePhone": "+33 1 99 00 12 34 ext. 5"},
        {"invitePhone": 33199001234},
        {"personId": "bob", "inviteEmail": "bob@example.com"},
        {"personId": "bob", "invitePhone": "+33199001234"},
        {"inviteEmail": "a@example.com", "inviteName": ""},
        {"inviteEmail": "a@example.com", "inviteName": "a" * 101},
        {"inviteEmail": "a@example.com", "inviteName": "A\nB"},
        {"inviteEmail": "a@example.com", "context": "a" * 501},
        {"inviteEmail": "a@example.com", "context": "a\0b"},
        {"inviteEmail": "a@example.com", "context": 5},
        {"personId": ""},
        {"personId": "alice"},
        [],
    ],
)
async def test_c1_c2_c15_c18_what_cannot_be_invited_is_a_validation_error(house: House, body: Any) -> None:
    known(house, "alice", "bob")
    assert is_error(await house.post(SESSIONS, body), 400, "VALIDATION_ERROR")
    assert house.registry.sessions() == []


async def test_c1_a_person_a_mail_address_or_a_number_can_be_invited(house: House) -> None:
    known(house, "bob")
    by_id = await create(house, personId="bob")
    assert by_id["session"]["partner"] == {"id": "bob", "name": None}
    await create(house, inviteEmail="a@example.com")
    await create(house, invitePhone="+33 1 99 00 12 34")


async def test_c15_the_limits_themselves_are_allowed(house: House) -> None:
    await create(house, inviteEmail="a@example.com", inviteName="a" * 100, context="é" * 499 + "\n")


async def test_c19_mail_and_telephone_together_are_one_person(house: House) -> None:
    await create(house, inviteEmail="a@example.com", invitePhone="+33199001234")
    for again in ({"inviteEmail": "A@EXAMPLE.com"}, {"invitePhone": "+33-1-99-00-12-34"}):
        assert is_error(await house.post(SESSIONS, again), 409, "CONFLICT")


async def test_numbers_of_the_configured_country_need_no_prefix(tmp_path: Path) -> None:
    config = Config.model_validate({"invitations": {"default_region": "FR"}})
    async for house in open_house(tmp_path, config=config):
        await create(house, invitePhone="01 99 00 12 34")
        assert is_error(await house.post(SESSIONS, {"invitePhone": "+33199001234"}), 409, "CONFLICT")


async def test_c2_an_unknown_person_is_not_found(house: House) -> None:
    assert is_error(await house.post(SESSIONS, {"personId": "nobody"}), 404, "NOT_FOUND")


async def test_c2_a_person_of_another_tenant_is_not_found(house: House) -> None:
    house.registry.people.see("other/app", "oscar")
    assert is_error(await house.post(SESSIONS, {"personId": "oscar"}), 404, "NOT_FOUND")


@pytest.mark.parametrize("state", ["INVITED", "ACTIVE", "PAUSED"])
async def test_c14_a_second_session_with_the_same_person_is_a_conflict_while_one_is_open(
    house: House, state: str
) -> None:
    known(house, "bob")
    session, invitation = await invited(house, personId="bob")
    if state != "INVITED":
        await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
    if state == "PAUSED":
        await house.post(f"{SESSIONS}/{session}/pause")
    assert (await detail(house, session))["status"] == state
    assert is_error(await house.post(SESSIONS, {"personId": "bob"}), 409, "CONFLICT")
    assert is_error(await house.post(SESSIONS, {"personId": "alice"}, token="bob"), 409, "CONFLICT")
    assert len(house.registry.sessions()) == 1
    assert (await house.post(f"{SESSIONS}/{session}/resolve"))[0] == 200
    await create(house, personId="bob")


async def test_c14_of_two_creates_at_the_same_time_one_wins(house: House) -> None:
    known(house, "bob")
    answers = await asyncio.gather(*(house.post(SESSIONS, {"personId": "bob"}) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 7
    assert len(house.registry.sessions()) == 1


async def test_c14_a_session_of_another_dialect_with_that_person_is_a_conflict_too(house: House) -> None:
    known(house, "bob")
    session = house.session("alice")
    session.join("bob")
    assert is_error(await house.post(SESSIONS, {"personId": "bob"}), 409, "CONFLICT")
    await session.end()
    await create(house, personId="bob")


async def test_c14_a_meeting_of_three_is_no_conflict(house: House) -> None:
    known(house, "bob")
    session = house.session("alice")
    session.join("bob")
    session.join("carol")
    await create(house, personId="bob")


async def test_c14_the_address_of_a_known_user_is_that_user(house: House) -> None:
    user = house.registry.people.see(TENANT, "bob")
    house.registry.people.put(type(user)(TENANT, "bob", user.number, "bob", email="bob@example.com"))
    await create(house, personId="bob")
    assert is_error(await house.post(SESSIONS, {"inviteEmail": "Bob@Example.com"}), 409, "CONFLICT")


# Listing.


async def test_c6_the_newest_comes_first_and_only_ones_own_are_shown(house: House) -> None:
    mine = [(await invited(house, inviteEmail=f"p{n}@example.com"))[0] for n in range(3)]
    await invited(house, "bob", inviteEmail="p@example.com")
    assert [session["id"] for session in await listed(house)] == mine[::-1]


async def test_c6_c24_pages_are_complete_and_stay_so_when_sessions_are_added(house: House) -> None:
    mine = [(await invited(house, inviteEmail=f"p{n}@example.com"))[0] for n in range(7)]
    seen: list[str] = []
    query = "?limit=3"
    for turn in range(3):
        status, answer = await house.get(SESSIONS + query)
        assert status == 200
        data = answer["data"]
        seen += [session["id"] for session in data["sessions"]]
        assert data["hasMore"] is (turn < 2)
        assert ("cursor" in data) is (turn < 2)  # `cursor?: string`: never null
        query = f"?limit=3&cursor={data.get('cursor')}"
        await invited(house, inviteEmail=f"later{turn}@example.com")
    assert seen == mine[::-1]


@pytest.mark.parametrize("status", ["INVITED", "RESOLVED"])
async def test_c6_c24_pages_of_one_status(house: House, status: str) -> None:
    mine = []
    for n in range(5):
        session, invitation = await invited(house, inviteEmail=f"p{n}@example.com")
        mine.append(session)
        if status == "RESOLVED":
            await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
            await house.post(f"{SESSIONS}/{session}/resolve")
    seen: list[str] = []
    cursor = ""
    while len(seen) < 5:
        _, answer = await house.get(f"{SESSIONS}?limit=2&status={status}{cursor}")
        seen += [session["id"] for session in answer["data"]["sessions"]]
        cursor = f"&cursor={answer['data'].get('cursor')}"
    assert seen == mine[::-1]


async def test_c6_the_default_is_twenty(house: House) -> None:
    for n in range(21):
        await invited(house, inviteEmail=f"p{n}@example.com")
    assert len(await listed(house)) == 20
    assert len(await listed(house, "?limit=50")) == 21


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=51", "limit=x", "limit=-1", "status=OPEN", "status=active", "status=", "limit=2&limit=3"],
)
async def test_c15_a_bad_query_is_a_validation_error(house: House, query: str) -> None:
    assert is_error(await house.get(f"{SESSIONS}?{query}"), 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("cursor", ["x", "%20", "czox", "bTox", "czotMQ", "czowMQ", "c" * 65, "====", "czpfMQ", "é"])
async def test_c24_an_unknown_cursor_is_refused(house: House, cursor: str) -> None:
    answer = await house.get(f"{SESSIONS}?cursor={cursor}")
    if cursor == "czox":  # "s:1": ours, and nothing is behind it
        assert answer[1]["data"]["sessions"] == []
    else:
        assert is_error(answer, 400, "VALIDATION_ERROR")


async def test_c13_every_status_can_be_asked_for(house: House) -> None:
    known(house, "bob", "carol", "dan", "eve")
    ids = {}
    ids["INVITED"], _ = await invited(house)
    ids["ACTIVE"], invitation = await invited(house, personId="bob")
    await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
    ids["ABANDONED"], invitation = await invited(house, inviteEmail="n@example.com")
    await house.post(f"{INVITATIONS}/{invitation}/decline", token="bob")
    ids["RESOLVED"], invitation = await invited(house, inviteEmail="m@example.com")
    await house.post(f"{INVITATIONS}/{invitation}/accept", token="stranger")
    await house.post(f"{SESSIONS}/{ids['RESOLVED']}/resolve")
    ids["PAUSED"] = house.session("alice").id
    await house.post(f"{SESSIONS}/{ids['PAUSED']}/pause")
    for status, session in ids.items():
        (found,) = await listed(house, f"?status={status}")
        assert found["status"] == status
        assert session_id_of(found["id"]) == session_id_of(session)
    assert await listed(house, "?status=WAITING") == []
    assert await listed(house, "?status=CREATED") == []


async def test_c7_a_person_asked_by_name_sees_the_session_before_answering(house: House) -> None:
    known(house, "bob")
    session, _ = await invited(house, personId="bob")
    for query in ("", "?status=INVITED"):
        (found,) = await listed(house, query, token="bob")
        assert found["id"] == session
        assert (found["isMyTurn"], found["waitingOnPartner"]) == (True, False)
        assert found["partner"] == {"id": "alice", "name": None}
    assert (await detail(house, session, "bob"))["partner"]["id"] == "alice"


# One session.


async def test_c7_detail_has_more_than_the_summary(house: House) -> None:
    data = await create(house)
    found = await detail(house, data["session"]["id"])
    assert {name: found[name] for name in data["session"]} == data["session"]
    more = found.keys() - data["session"].keys()
    assert more == {"updatedAt", "relationship", "currentGates", "resolvedAt", "invitation"}
    assert INSTANT.fullmatch(found["updatedAt"])
    assert found["relationship"] == {
        "id": found["relationshipId"],
        "createdAt": found["createdAt"],
        "sessionCount": 1,
    }
    (gate,) = found["currentGates"]
    assert set(gate) == {"id", "description", "satisfied", "requiredForAdvance"}
    assert gate["satisfied"] is False
    assert found["resolvedAt"] is None


async def test_c7_an_unknown_session_is_not_found(house: House) -> None:
    for unknown in ("sess_1m80vtm2h36bs", "1", "x", "sess_", uuid_of_session("1801439850948198400")):
        assert is_error(await house.get(f"{SESSIONS}/{unknown}"), 404, "NOT_FOUND")


async def test_c20_who_has_no_part_in_it_is_forbidden(house: House) -> None:
    session, _ = await accepted(house)
    for method, path in (
        ("GET", ""),
        ("GET", "/messages"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/resolve"),
    ):
        status, body, _ = await house.call(method, f"{SESSIONS}/{session}{path}", token="stranger")
        assert is_error((status, body), 403, "FORBIDDEN")
    answer = await house.post(f"{SESSIONS}/{session}/messages", {"content": "hello"}, token="stranger")
    assert is_error(answer, 403, "FORBIDDEN")


async def test_c20_after_its_end_a_session_is_still_forbidden_to_others(house: House) -> None:
    session, _ = await accepted(house)
    await house.post(f"{SESSIONS}/{session}/resolve")
    assert is_error(await house.get(f"{SESSIONS}/{session}", token="stranger"), 403, "FORBIDDEN")
    assert is_error(await house.post(f"{SESSIONS}/{session}/pause", token="stranger"), 403, "FORBIDDEN")


async def test_sessions_and_invitations_of_another_tenant_are_not_found(house: House) -> None:
    session, invitation = await invited(house)
    for method, path in (
        ("GET", f"{SESSIONS}/{session}"),
        ("GET", f"{SESSIONS}/{session}/messages"),
        ("POST", f"{SESSIONS}/{session}/pause"),
        ("POST", f"{SESSIONS}/{session}/join"),
        ("POST", f"{SESSIONS}/{session}/leave"),
        ("POST", f"{INVITATIONS}/{invitation}/accept"),
        ("POST", f"{INVITATIONS}/{invitation}/decline"),
        ("POST", f"{INVITATIONS}/{invitation}/resend"),
    ):
        for token in ("other", "other-admin"):
            headers = {"Ringway-User": "oscar"}
            status, body, _ = await house.call(method, path, token=token, headers=headers)
            assert is_error((status, body), 404, "NOT_FOUND")
    assert await listed(house, token="other") == []


async def test_g1_every_form_of_the_id_is_accepted(house: House) -> None:
    session, _ = await invited(house)
    inside = session_id_of(session) or ""
    for form in (session, inside, uuid_of_session(inside)):
        assert (await detail(house, form))["id"] == session


# The life of an invitation.


async def test_c17_accepting_makes_the_session_active_and_both_begin(house: House) -> None:
    known(house, "alice", display_name="Alice")
    session, invitation = await invited(house)
    status, answer = await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
    assert status == 200
    mine = answer["data"]["session"]
    assert mine["status"] == "ACTIVE"
    assert mine["partner"] == {"id": "alice", "name": "Alice"}
    theirs = await detail(house, session)
    assert theirs["partner"] == {"id": "bob", "name": "Alex"}
    for progress in (mine["myProgress"], mine["partnerProgress"], theirs["myProgress"], theirs["partnerProgress"]):
        assert progress["status"] == "IN_PROGRESS"
        assert INSTANT.fullmatch(progress["startedAt"])
    assert theirs["currentGates"][0]["satisfied"] is True
    assert (theirs["isMyTurn"], theirs["waitingOnPartner"]) == (False, False)
    assert [one.user for one in live(house, session).present()] == ["alice", "bob"]


async def test_c17_the_inviter_cannot_accept_or_decline(house: House) -> None:
    _, invitation = await invited(house)
    for answer in ("accept", "decline"):
        assert is_error(await house.post(f"{INVITATIONS}/{invitation}/{answer}"), 403, "FORBIDDEN")


async def test_c17_somebody_else_cannot_accept_what_is_for_a_person(house: House) -> None:
    known(house, "bob")
    _, invitation = await invited(house, personId="bob")
    assert is_error(await house.post(f"{INVITATIONS}/{invitation}/accept", token="viewer"), 403, "FORBIDDEN")


async def test_c17_of_two_who_accept_at_the_same_time_one_does(house: House) -> None:
    session, invitation = await invited(house)
    answers = await asyncio.gather(
        *(house.post(f"{INVITATIONS}/{invitation}/accept", token=who) for who in ("bob", "viewer", "host", "stranger"))
    )
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    assert len(live(house, session).present()) == 2


async def test_c17_of_accept_and_decline_at_the_same_time_one_counts(house: House) -> None:
    session, invitation = await invited(house)
    answers = await asyncio.gather(
        house.post(f"{INVITATIONS}/{invitation}/accept", token="bob"),
        house.post(f"{INVITATIONS}/{invitation}/decline", token="viewer"),
    )
    assert sorted(status for status, _ in answers) == [200, 409]
    assert (await detail(house, session))["status"] in ("ACTIVE", "ABANDONED")


async def test_c17_declining_abandons_the_session_and_tells_the_inviter_why(house: House) -> None:
    session, invitation = await invited(house)
    path = f"{INVITATIONS}/{invitation}/decline"
    status, answer = await house.post(path, {"reason": "no time"}, token="bob")
    assert status == 200
    decliners = answer["data"]["session"]
    assert decliners["status"] == "ABANDONED"
    assert decliners["myProgress"] == decliners["partnerProgress"] == NOT_BEGUN
    found = await detail(house, session)
    assert found["status"] == "ABANDONED"
    assert found["resolvedAt"] is None
    assert found["myProgress"] == NOT_BEGUN
    assert found["invitation"]["status"] == "DECLINED"
    assert found["invitation"]["declineReason"] == "no time"
    assert is_error(await house.post(path, token="bob"), 409, "CONFLICT")
    assert is_error(await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob"), 409, "CONFLICT")


async def test_c15_a_reason_to_decline_has_five_hundred_characters(house: House) -> None:
    _, invitation = await invited(house)
    path = f"{INVITATIONS}/{invitation}/decline"
    assert is_error(await house.post(path, {"reason": "a" * 501}, token="bob"), 400, "VALIDATION_ERROR")
    assert (await house.post(path, {"reason": "a" * 500}, token="bob"))[0] == 200


async def test_c17_after_seven_days_it_is_too_late(house: House, clock: list[float]) -> None:
    session, invitation = await invited(house)
    clock[0] = 7 * DAY + 1
    for answer in ("accept", "decline"):
        refused = await house.post(f"{INVITATIONS}/{invitation}/{answer}", token="bob")
        assert is_error(refused, 410, "INVITATION_EXPIRED")
    house.services.inviting.run_out()
    await house.until(lambda: live(house, session).ended)
    assert (await detail(house, session))["status"] == "ABANDONED"
    assert (await house.get(f"{INVITATIONS}/{invitation}", token=None))[1]["data"]["status"] == "EXPIRED"
    refused = await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
    assert is_error(refused, 410, "INVITATION_EXPIRED")
    await create(house)


async def test_c17_the_timer_is_set_for_the_first_to_expire(house: House, clock: list[float]) -> None:
    clock[0] = 0.2 - 7 * DAY
    session, _ = await invited(house)
    clock[0] = 0.0
    house.services.inviting.run_out()
    assert not live(house, session).ended
    await house.until(lambda: live(house, session).ended)


async def test_c17_a_session_that_was_ended_takes_its_invitation_along(house: House) -> None:
    session, invitation = await invited(house)
    await live(house, session).end()
    refused = await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
    assert is_error(refused, 410, "INVITATION_EXPIRED")
    assert (await detail(house, session))["status"] == "ABANDONED"


async def test_c17_resend_is_the_inviters_and_comes_a_day_later(house: House, clock: list[float]) -> None:
    _, invitation = await invited(house)
    path = f"{INVITATIONS}/{invitation}/resend"
    assert is_error(await house.post(path, token="bob"), 403, "FORBIDDEN")
    status, body, response = await house.call("POST", path)
    assert is_error((status, body), 429, "RATE_LIMITED")
    assert 86_000 < int(response.headers["Retry-After"]) <= 86_400
    for turn in (1, 2, 3):
        clock[0] += DAY + 1
        status, answer = await house.post(path)
        assert status == 200
        assert answer["data"]["invitation"]["resendsLeft"] == 3 - turn
    clock[0] += DAY + 1
    assert is_error(await house.post(path), 409, "CONFLICT")


async def test_c17_resend_keeps_it_open_for_another_week(house: House, clock: list[float]) -> None:
    _, invitation = await invited(house)
    clock[0] = 6 * DAY
    assert (await house.post(f"{INVITATIONS}/{invitation}/resend"))[0] == 200
    clock[0] = 12 * DAY
    assert (await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob"))[0] == 200


async def test_c17_the_preview_needs_no_token_and_tells_little(house: House) -> None:
    known(house, "alice", display_name="Alice")
    _, invitation = await invited(house)
    status, answer = await house.get(f"{INVITATIONS}/{invitation}", token=None)
    assert status == 200
    expires = answer["data"].pop("expiresAt")
    assert INSTANT.fullmatch(expires)
    assert answer == {
        "success": True,
        "data": {"id": invitation, "status": "PENDING", "invitedBy": {"name": "Alice"}},
    }


@pytest.mark.parametrize("unknown", ["inv_" + "0" * 32, "inv_x", "x", "sess_1m80vtm2h36bs"])
async def test_c17_an_unknown_invitation_is_not_found(house: House, unknown: str) -> None:
    assert is_error(await house.get(f"{INVITATIONS}/{unknown}", token=None), 404, "NOT_FOUND")
    for answer in ("accept", "decline", "resend"):
        assert is_error(await house.post(f"{INVITATIONS}/{unknown}/{answer}"), 404, "NOT_FOUND")


async def test_c17_joining_through_another_dialect_accepts_what_is_for_that_person(house: House) -> None:
    known(house, "bob")
    session, invitation = await invited(house, personId="bob")
    live(house, session).join("bob")
    await house.until(lambda: live(house, session).status == "ACTIVE")
    assert (await house.get(f"{INVITATIONS}/{invitation}", token=None))[1]["data"]["status"] == "ACCEPTED"


async def test_somebody_else_who_joins_leaves_an_invitation_by_contact_open(house: House) -> None:
    session, invitation = await invited(house)
    live(house, session).join("carol")
    await house.until(lambda: live(house, session).status == "ACTIVE")
    assert (await house.post(f"{INVITATIONS}/{invitation}/decline", token="bob"))[0] == 200
    assert not live(house, session).ended


async def test_c17_invitations_survive_a_restart(tmp_path: Path) -> None:
    async for house in open_house(tmp_path):
        session, invitation = await invited(house)
        known(house, "bob")
    async for house in open_house(tmp_path):
        if not house.registry.sessions():  # whatever restores sessions is not part of this house
            house.registry.restore(
                session_id_of(session) or "", tenant=TENANT, made_by="invitations", owner="token:alice", host="alice"
            ).join("alice")
        async with house.services.database.connect() as connection:
            from server.store.queries import invitations as queries

            found = await queries.open_invitations(connection)
        inviting = house.services.inviting
        if inviting.invitations.get(invitation) is None:
            inviting.restore(found, [])
            inviting.start()
        assert (await detail(house, session))["status"] == "INVITED"
        assert (await detail(house, session))["invitation"]["context"] == EMAIL["context"]
        assert is_error(await house.post(SESSIONS, EMAIL), 409, "CONFLICT")
        assert (await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob"))[0] == 200


# What is private.


async def test_c10_the_context_is_for_its_creator_alone(
    house: House, caplog: pytest.LogCaptureFixture, lines: list[MutableMapping[str, Any]]
) -> None:
    secret = "a secret of the tests"
    happened: list[Happening] = []
    house.registry.bus.follow(happened.append)
    session, invitation = await invited(house, inviteEmail="a@example.com", context=secret)
    assert (await detail(house, session))["invitation"]["context"] == secret
    seen = [
        await house.get(f"{INVITATIONS}/{invitation}", token=None),
        await house.get(f"/join/{invitation}", token=None),
        await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob"),
        await house.get(SESSIONS, token="bob"),
        await house.get(SESSIONS),
        *[await house.get(f"{SESSIONS}/{session}", token=who) for who in ("bob", "viewer", "host", "admin")],
        await house.post(f"{SESSIONS}/{session}/resolve"),
        await house.get(f"{SESSIONS}/{session}", token="bob"),
        await house.get(f"{SESSIONS}/{session}", token="admin"),
    ]
    assert all(status == 200 for status, _ in seen), seen
    assert secret not in json.dumps(seen)
    assert secret not in repr(lines) + caplog.text
    assert any(line["event"] == "invitation_sent" for line in lines)
    assert secret not in json.dumps([event_body(happening) for happening in happened])
    assert {"invitation.created", "invitation.accepted"} <= {event_body(happening)["kind"] for happening in happened}


async def test_the_invitation_behind_a_session_is_shown_to_its_two_alone(house: House) -> None:
    session, invitation = await accepted(house)
    own, theirs, other = [await detail(house, session, who) for who in ("alice", "bob", "viewer")]
    assert own["invitation"]["url"].endswith(invitation)
    assert theirs["invitation"]["id"] == invitation
    assert theirs["invitation"]["url"] is None
    assert other["invitation"] is None


# Pausing.


async def test_c8_c9_c16_pause_and_resume(house: House) -> None:
    happened: list[Happening] = []
    session, _ = await accepted(house)
    house.registry.bus.follow(happened.append)
    status, answer = await house.post(f"{SESSIONS}/{session}/pause", {"reason": "cooling down"}, token="bob")
    assert status == 200
    assert answer["data"]["session"]["status"] == "PAUSED"
    assert INSTANT.fullmatch(answer["data"]["pausedAt"])
    assert (await listed(house, "?status=PAUSED"))[0]["id"] == session
    status, answer = await house.post(f"{SESSIONS}/{session}/resume")
    assert status == 200
    assert answer["data"]["session"]["status"] == "ACTIVE"
    assert INSTANT.fullmatch(answer["data"]["resumedAt"])
    told = {event_body(one)["kind"]: one.fields for one in happened}
    assert told["session.paused"]["paused_by"] == "bob"
    assert told["session.resumed"]["resumed_by"] == "alice"


async def test_c8_while_paused_nothing_can_be_said_and_all_can_be_read(house: House) -> None:
    session, _ = await accepted(house)
    said = {"content": "before"}
    assert (await house.post(f"{SESSIONS}/{session}/messages", said))[0] == 201
    await house.post(f"{SESSIONS}/{session}/pause")
    for who in ("alice", "bob"):
        refused = await house.post(f"{SESSIONS}/{session}/messages", {"content": "while"}, token=who)
        assert is_error(refused, 400, "SESSION_NOT_ACTIVE")
        refused = await house.post(f"{SESSIONS}/{session}/dtmf", {"digits": "1"}, token=who)
        assert is_error(refused, 400, "SESSION_NOT_ACTIVE")
        _, answer = await house.get(f"{SESSIONS}/{session}/messages", token=who)
        assert [message["content"] for message in answer["data"]["messages"]] == ["before"]
    await house.post(f"{SESSIONS}/{session}/resume", token="bob")
    assert (await house.post(f"{SESSIONS}/{session}/messages", {"content": "after"}, token="bob"))[0] == 201


@pytest.mark.parametrize("state", ["INVITED", "PAUSED", "RESOLVED", "ABANDONED"])
async def test_c16_only_an_active_session_can_be_paused(house: House, state: str) -> None:
    session, invitation = await invited(house)
    if state == "ABANDONED":
        await house.post(f"{INVITATIONS}/{invitation}/decline", token="bob")
    elif state != "INVITED":
        await house.post(f"{INVITATIONS}/{invitation}/accept", token="bob")
        await house.post(f"{SESSIONS}/{session}/{'pause' if state == 'PAUSED' else 'resolve'}")
    assert (await detail(house, session))["status"] == state
    assert is_error(await house.post(f"{SESSIONS}/{session}/pause"), 400, "SESSION_NOT_ACTIVE")


async def test_c16_only_a_paused_session_can_be_resumed(house: House) -> None:
    session, _ = await accepted(house)
    assert is_error(await house.post(f"{SESSIONS}/{session}/resume"), 400, "VALIDATION_ERROR")


async def test_c15_a_reason_to_pause_has_two_hundred_characters(house: House) -> None:
    session, _ = await accepted(house)
    assert is_error(await house.post(f"{SESSIONS}/{session}/pause", {"reason": "a" * 201}), 400, "VALIDATION_ERROR")
    assert (await house.post(f"{SESSIONS}/{session}/pause", {"reason": "a" * 200}))[0] == 200


async def test_c12_a_session_that_is_over_is_not_active(house: House) -> None:
    session, _ = await accepted(house)
    assert (await house.post(f"{SESSIONS}/{session}/resolve"))[0] == 200
    content, digits = {"content": "x"}, {"digits": "1"}
    for kept in ("in memory", "in the database"):
        for path, body in (
            ("/messages", content), ("/resolve", None), ("/dtmf", digits), ("/pause", None), ("/resume", None),
            ("/join", None), ("/leave", None),
        ):  # fmt: skip
            answer = await house.post(f"{SESSIONS}/{session}{path}", body)
            assert is_error(answer, 400, "SESSION_NOT_ACTIVE"), (kept, path)
        await house.services.writer.settled()
        house.registry._ended.clear()


# Ending, coming and going.


async def test_resolving_ends_the_session_for_both(house: House) -> None:
    session, _ = await accepted(house)
    status, answer = await house.post(f"{SESSIONS}/{session}/resolve")
    assert status == 200
    assert answer["data"]["session"]["status"] == "RESOLVED"
    for who in ("alice", "bob"):
        found = await detail(house, session, who)
        assert INSTANT.fullmatch(found["resolvedAt"])
        assert found["myProgress"]["status"] == found["partnerProgress"]["status"] == "COMPLETED"
        assert found["myProgress"]["completedAt"] == found["resolvedAt"]
    assert live(house, session).ended


async def test_the_partner_cannot_resolve_but_leave_and_come_back(house: House) -> None:
    session, _ = await accepted(house, by="stranger")
    refused = await house.post(f"{SESSIONS}/{session}/resolve", token="stranger")
    assert is_error(refused, 403, "FORBIDDEN")
    assert (await house.post(f"{SESSIONS}/{session}/leave", token="stranger"))[0] == 200
    waiting = await detail(house, session)
    assert (waiting["isMyTurn"], waiting["waitingOnPartner"]) == (False, True)
    assert is_error(await house.post(f"{SESSIONS}/{session}/leave", token="stranger"), 404, "NOT_FOUND")
    assert (await house.post(f"{SESSIONS}/{session}/join", token="stranger"))[0] == 200
    assert is_error(await house.post(f"{SESSIONS}/{session}/join", token="stranger"), 409, "CONFLICT")


async def test_a_session_of_another_dialect_can_be_joined(house: House) -> None:
    session = house.session("bob")
    status, answer = await house.post(f"{SESSIONS}/{session.id}/join", token="stranger")
    assert status == 200
    assert answer["data"]["session"]["partner"]["id"] == "bob"
    assert [one.user for one in session.present()] == ["bob", "stranger"]


async def test_joining_accepts_for_the_person_and_is_forbidden_to_others_meanwhile(house: House) -> None:
    known(house, "stranger")
    session, _ = await invited(house, personId="stranger")
    status, answer = await house.post(f"{SESSIONS}/{session}/join", token="stranger")
    assert (status, answer["data"]["session"]["status"]) == (200, "ACTIVE")
    other, _ = await invited(house, "bob", inviteEmail="x@example.com")
    assert is_error(await house.post(f"{SESSIONS}/{other}/join", token="stranger"), 403, "FORBIDDEN")


async def test_messages_come_in_order_and_in_pages(house: House) -> None:
    session, _ = await accepted(house)
    for n in range(5):
        status, answer = await house.post(f"{SESSIONS}/{session}/messages", {"content": f"no. {n}\n"}, token="bob")
        assert status == 201
        assert answer["data"]["message"]["senderId"] == "bob"
    seen: list[str] = []
    cursor = ""
    for turn in range(3):
        _, answer = await house.get(f"{SESSIONS}/{session}/messages?limit=2{cursor}")
        data = answer["data"]
        seen += [message["content"] for message in data["messages"]]
        assert data["hasMore"] is (turn < 2)
        cursor = f"&cursor={data.get('cursor')}"
    assert seen == [f"no. {n}\n" for n in range(5)]


@pytest.mark.parametrize("content", ["", "a" * 16_385, 5, None, "a\0b"])
async def test_a_message_is_a_text_of_a_bounded_length(house: House, content: Any) -> None:
    session, _ = await accepted(house)
    answer = await house.post(f"{SESSIONS}/{session}/messages", {"content": content})
    assert is_error(answer, 400, "VALIDATION_ERROR")


# What is of all dialects.


async def test_g1_a_session_of_another_dialect_is_in_the_list_of_who_takes_part(house: House) -> None:
    session = house.session("alice", name="stand-up")
    session.join("bob", display_name="Bob")
    (found,) = await listed(house)
    assert session_id_of(found["id"]) == session.id
    assert found["status"] == "ACTIVE"
    assert found["partner"] == {"id": "bob", "name": "Bob"}
    assert found["relationshipId"] == (await listed(house, token="bob"))[0]["relationshipId"]
    await session.end()
    (found,) = await listed(house, token="bob")
    assert (found["status"], found["partner"]["id"]) == ("RESOLVED", "alice")
    assert (await detail(house, session.id))["relationship"]["sessionCount"] == 1


async def test_c7_the_relationship_counts_the_sessions_of_both(house: House) -> None:
    session, _ = await accepted(house)
    first = await detail(house, session)
    await house.post(f"{SESSIONS}/{session}/resolve")
    later = house.session("bob")
    later.join("alice")
    found = await detail(house, later.id)
    assert found["relationship"] == {
        "id": first["relationshipId"],
        "createdAt": first["createdAt"],
        "sessionCount": 2,
    }


@pytest.fixture
async def talk(house: House) -> tuple[SimPhone, SimPhone, Session]:
    """Phones of alice and bob in a call that a program made."""
    for user, extension in (("alice", "1001"), ("bob", "1002")):
        person = house.registry.people.see(TENANT, user)
        house.registry.people.put(type(person)(TENANT, user, person.number, user, extensions=(extension,)))
    one, two = await house.phone("1001"), await house.phone("1002")
    one.script.answer_after_s = two.script.answer_after_s = 0.0
    request = OriginateRequest("1001", "1002", send_sdp=True)
    session = await house.registry.originate(request, Principal("test", "admin"))
    await house.until(lambda: session.status == "ACTIVE")
    return one, two, session


async def test_g1_a_phone_call_is_active_then_resolved_for_both(
    house: House, talk: tuple[SimPhone, SimPhone, Session]
) -> None:
    _, two, session = talk
    for who, partner in (("alice", "bob"), ("bob", "alice")):
        (found,) = await listed(house, "?status=ACTIVE", token=who)
        assert session_id_of(found["id"]) == session.id
        assert found["partner"]["id"] == partner
        assert found["myProgress"]["status"] == found["partnerProgress"]["status"] == "IN_PROGRESS"
    two.call.bye()
    await house.until(lambda: session.ended)
    for who in ("alice", "bob"):
        assert [found["status"] for found in await listed(house, token=who)] == ["RESOLVED"]


async def test_c5_a_call_that_nobody_answered_has_begun_for_neither(house: House) -> None:
    one, _ = await house.phone("1001"), await house.phone("1002")
    one.script.answer_after_s = 0.0
    request = OriginateRequest("1001", "1002", send_sdp=True)
    session = await house.registry.originate(request, Principal("test", "admin"))
    await house.until(session.present)
    await session.end()
    for reader in ("1001", "1002"):
        _, answer, _ = await house.call(
            "GET", f"{SESSIONS}/{session.id}", token="admin", headers={"Ringway-User": reader}
        )
        found = answer["data"]
        assert found["status"] == "ABANDONED"
        assert found["myProgress"] == found["partnerProgress"] == NOT_BEGUN


async def test_c14_a_phone_call_of_the_two_is_a_conflict(
    house: House, talk: tuple[SimPhone, SimPhone, Session]
) -> None:
    assert is_error(await house.post(SESSIONS, {"personId": "bob"}), 409, "CONFLICT")


async def test_c23_pausing_holds_both_phones_and_refuses_digits(
    house: House, talk: tuple[SimPhone, SimPhone, Session]
) -> None:
    one, two, session = talk
    assert (await house.post(f"{SESSIONS}/{session.id}/dtmf", {"digits": "12#"}))[0] == 200
    assert [cast(FakeMediaLeg, leg.media).digits for leg in session.legs] == ["", "12#"]
    assert (await house.post(f"{SESSIONS}/{session.id}/pause"))[0] == 200
    await house.until(lambda: all(ways_of(phone) & {"a=sendonly", "a=inactive"} for phone in (one, two)))
    await house.until(lambda: all(leg.established and leg.established.can_reinvite for leg in session.legs))
    refused = await house.post(f"{SESSIONS}/{session.id}/dtmf", {"digits": "1"})
    assert is_error(refused, 400, "SESSION_NOT_ACTIVE")
    assert [cast(FakeMediaLeg, leg.media).digits for leg in session.legs] == ["", "12#"]
    assert (await house.post(f"{SESSIONS}/{session.id}/resume", token="bob"))[0] == 200
    await house.until(lambda: not any(ways_of(phone) & {"a=sendonly", "a=inactive"} for phone in (one, two)))


def ways_of(phone: SimPhone) -> set[str]:
    """The lines of the server's latest description to this phone, the direction among them."""
    return set(phone.call.remote_sdp.splitlines())


async def test_resolving_hangs_up_the_phones(house: House, talk: tuple[SimPhone, SimPhone, Session]) -> None:
    one, two, session = talk
    assert (await house.post(f"{SESSIONS}/{session.id}/resolve", token="admin"))[0] == 200
    await house.until(lambda: one.call.state == two.call.state == "ended")


@pytest.mark.parametrize("digits", ["", "x", "1" * 65, 1, None])
async def test_digits_are_those_of_a_telephone(house: House, digits: Any) -> None:
    session, _ = await accepted(house)
    answer = await house.post(f"{SESSIONS}/{session}/dtmf", {"digits": digits})
    assert is_error(answer, 400, "VALIDATION_ERROR")


async def test_digits_need_a_call(house: House) -> None:
    session, _ = await accepted(house)
    assert is_error(await house.post(f"{SESSIONS}/{session}/dtmf", {"digits": "1"}), 409, "CONFLICT")


# Errors.


async def test_c11_c12_without_a_token_the_answer_is_401_in_the_envelope(house: House) -> None:
    for method, path in (("GET", SESSIONS), ("POST", SESSIONS), ("POST", f"{INVITATIONS}/inv_x/accept")):
        status, body, response = await house.call(method, path, token=None)
        assert is_error((status, body), 401, "UNAUTHORIZED")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_token_without_a_user_has_no_sessions_of_its_own(house: House) -> None:
    assert is_error(await house.get(SESSIONS, token="machine"), 403, "FORBIDDEN")
    assert is_error(await house.get(SESSIONS, token="admin"), 403, "FORBIDDEN")
    session, _ = await invited(house)
    status, answer = await house.get(SESSIONS, token="admin", headers={"Ringway-User": "alice"})
    assert (status, answer["data"]["sessions"][0]["id"]) == (200, session)


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"5", b'"text"', b"[" * 100_000, b'{"inviteEmail": "\xff"}'])
async def test_g6_a_body_that_is_no_object_is_a_validation_error(house: House, raw: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    status, body, _ = await house.call("POST", SESSIONS, raw=raw or b" ", headers=headers)
    assert status in (400, 413)
    assert body["success"] is False
    assert body["error"]["code"] in ("VALIDATION_ERROR", "TOO_LARGE")


async def test_g6_wrong_method_and_size_and_unknown_fields(house: House) -> None:
    status, body, response = await house.call("DELETE", SESSIONS)
    assert is_error((status, body), 405, "METHOD_NOT_ALLOWED")
    assert "POST" in response.headers["Allow"]
    status, body, _ = await house.call("POST", SESSIONS, json={"context": "a" * 100_000})
    assert is_error((status, body), 413, "TOO_LARGE")
    assert (await house.post(SESSIONS, {**EMAIL, "unknown": {"a": 1}}))[0] == 201
