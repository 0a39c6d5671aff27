"""The CallSession dialect, point by point (conformance A1-A16, G5-G8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.sections import Config
from signalling import OriginateRequest, Principal, Session, uuid_of_session
from tests.sim.phones import SimPhone

from .house import House, open_house

BASE = "/api/CallSession"


async def act(house: House, action: str, *, token: str | None = "alice", **body: Any) -> tuple[int, Any]:
    return await house.post(f"{BASE}/{action}", body, token=token)


async def create(house: House, host: str = "alice", *, token: str = "alice", **more: Any) -> str:
    status, body = await act(house, "createSession", token=token, host=host, **more)
    assert status == 200
    assert list(body) == ["session"]
    return str(body["session"])


async def users(house: House, session: str, *, token: str = "alice") -> list[str]:
    status, body = await act(house, "_getParticipants", token=token, session=session)
    assert status == 200
    return [item["user"] for item in body]


def live(house: House, session_id: str) -> Session:
    session = house.registry.get(session_id)
    assert session is not None
    return session


def is_error(status: int, answer: tuple[int, Any]) -> bool:
    """Whether an answer is of that status with nothing but a message (A7)."""
    return answer[0] == status and list(answer[1]) == ["error"] and isinstance(answer[1]["error"], str)


async def test_a1_create_gives_a_unique_id_and_the_host_takes_part(house: House) -> None:
    first = await create(house, name="Stand-up")
    second = await create(house)
    assert first != second
    assert await users(house, first) == ["alice"]
    assert live(house, first).host == "alice"


@pytest.mark.parametrize("host", ["", None, 7, ["alice"], "a" * 257, "al\r\nice"])
async def test_a2_a_host_must_be_a_valid_user_id(house: House, host: object) -> None:
    assert is_error(400, await act(house, "createSession", token="admin", host=host, name=""))


async def test_a2_host_must_be_given(house: House) -> None:
    assert is_error(400, await act(house, "createSession", name="no host"))


async def test_a3_join_adds_a_user_once(house: House) -> None:
    session = await create(house)
    assert await act(house, "joinSession", token="bob", user="bob", session=session) == (200, {})
    assert await users(house, session) == ["alice", "bob"]
    assert is_error(409, await act(house, "joinSession", token="bob", user="bob", session=session))
    assert await users(house, session) == ["alice", "bob"]


@pytest.mark.parametrize("unknown", ["1801439850948198400", "sess_0", "nonsense", uuid_of_session("77"), "9" * 40])
async def test_a3_a_session_must_exist(house: House, unknown: str) -> None:
    assert is_error(404, await act(house, "joinSession", user="alice", session=unknown))
    assert is_error(404, await act(house, "leaveSession", user="alice", session=unknown))
    assert is_error(404, await act(house, "endSession", user="alice", session=unknown))
    assert is_error(404, await act(house, "_getParticipants", session=unknown))


async def test_a4_leave_takes_a_present_user_away(house: House) -> None:
    session = await create(house)
    assert is_error(404, await act(house, "leaveSession", token="bob", user="bob", session=session))
    await act(house, "joinSession", token="bob", user="bob", session=session)
    assert await act(house, "leaveSession", token="bob", user="bob", session=session) == (200, {})
    assert await users(house, session) == ["alice"]
    assert is_error(404, await act(house, "leaveSession", token="bob", user="bob", session=session))


async def test_a5_only_the_host_ends_and_then_nobody_takes_part(house: House) -> None:
    session = await create(house)
    await act(house, "joinSession", token="bob", user="bob", session=session)
    assert is_error(403, await act(house, "endSession", token="bob", user="bob", session=session))
    assert not live(house, session).ended
    assert await act(house, "endSession", user="alice", session=session) == (200, {})
    assert live(house, session).ended
    assert live(house, session).present() == []


async def test_a5_an_admin_ends_only_as_the_host(house: House) -> None:
    session = await create(house)
    assert is_error(403, await act(house, "endSession", token="admin", user="bob", session=session))
    assert await act(house, "endSession", token="admin", user="alice", session=session) == (200, {})


async def test_a6_the_query_answers_objects_of_users(house: House) -> None:
    session = await create(house)
    assert await act(house, "_getParticipants", session=session) == (200, [{"user": "alice"}])


async def test_a7_action_query_and_error_differ_by_shape(house: House) -> None:
    session = await create(house)
    _, action = await act(house, "joinSession", token="bob", user="bob", session=session)
    _, query = await act(house, "_getParticipants", session=session)
    _, error = await act(house, "_getParticipants", session="1")
    assert isinstance(action, dict)
    assert "error" not in action
    assert isinstance(query, list)
    assert list(error) == ["error"]


async def test_a8_who_left_may_join_again_and_the_list_is_in_the_order_of_joining(house: House) -> None:
    session = await create(house)
    for user in ("bob", "carol", "dave"):
        assert (await act(house, "joinSession", token="admin", user=user, session=session))[0] == 200
    await act(house, "leaveSession", token="admin", user="bob", session=session)
    assert await users(house, session) == ["alice", "carol", "dave"]
    await act(house, "joinSession", token="admin", user="bob", session=session)
    assert await users(house, session) == ["alice", "carol", "dave", "bob"]
    await act(house, "leaveSession", user="alice", session=session)
    await act(house, "joinSession", user="alice", session=session)
    assert await users(house, session) == ["alice", "carol", "dave", "bob"]


async def test_a9_of_a_hundred_joins_of_a_user_one_succeeds(house: House) -> None:
    session = await create(house)
    joins = (act(house, "joinSession", token="bob", user="bob", session=session) for _ in range(100))
    statuses = [status for status, _ in await asyncio.gather(*joins)]
    assert sorted(statuses) == [200] + [409] * 99
    assert await users(house, session) == ["alice", "bob"]


async def test_a9_of_a_hundred_ends_one_succeeds(house: House) -> None:
    session = await create(house)
    ends = (act(house, "endSession", user="alice", session=session) for _ in range(100))
    assert sorted(status for status, _ in await asyncio.gather(*ends)) == [200] + [409] * 99


async def two_phones(house: House) -> tuple[SimPhone, SimPhone]:
    """1001 and 1002, which answer at once."""
    caller, callee = await house.phone("1001"), await house.phone("1002")
    caller.script.answer_after_s = callee.script.answer_after_s = 0.0
    return caller, callee


async def test_a10_end_hangs_up_every_leg(house: House) -> None:
    caller, callee = await two_phones(house)
    body = {"caller": "1001", "callee": "1002", "send_sdp": True}
    _, made = await house.post("/api/sessions", body, token="admin")
    session = live(house, made["id"])
    await house.until(lambda: session.call.answered is not None)
    assert await users(house, session.id, token="admin") == ["1001", "1002"]
    assert await act(house, "endSession", token="admin", user="1001", session=session.id) == (200, {})
    await house.until(lambda: caller.calls[0].state == callee.calls[0].state == "ended")
    assert "BYE" in caller.calls[0].received
    assert "BYE" in callee.calls[0].received
    assert session.ended
    assert await users(house, session.id, token="admin") == []


async def test_a10_leave_drops_the_legs_of_this_user_and_the_others_stay(house: House) -> None:
    caller, callee = await two_phones(house)
    session = live(house, await create(house))
    request = OriginateRequest(caller="1001", callee="1002", send_sdp=True)
    await house.registry.originate(request, Principal("test", "admin"), session)
    await house.until(lambda: session.participant("1002") is not None)
    assert await users(house, session.id, token="admin") == ["alice", "1001", "1002"]
    assert await act(house, "leaveSession", token="admin", user="alice", session=session.id) == (200, {})
    assert caller.calls[0].state == callee.calls[0].state == "talking"
    assert await act(house, "leaveSession", token="admin", user="1001", session=session.id) == (200, {})
    await house.until(lambda: "BYE" in caller.calls[0].received)
    assert "1001" not in await users(house, session.id, token="admin")
    assert not session.ended


async def test_a11_statuses_of_errors(house: House) -> None:
    session = await create(house)
    assert is_error(400, await act(house, "joinSession", user="alice"))
    assert is_error(403, await act(house, "endSession", token="host", user="alice", session=session))
    assert is_error(404, await act(house, "joinSession", user="alice", session="5"))
    assert is_error(409, await act(house, "joinSession", user="alice", session=session))


@pytest.fixture
async def legacy(tmp_path: Path) -> AsyncIterator[House]:
    """A house with `legacy_status`."""
    async for house in open_house(tmp_path, config=Config.model_validate({"api": {"legacy_status": True}})):
        yield house


async def test_a11_legacy_status_answers_200_to_what_is_refused(legacy: House) -> None:
    session = await create(legacy)
    for answer in (
        await act(legacy, "joinSession", user="alice", session=session),
        await act(legacy, "joinSession", user="alice", session="5"),
        await act(legacy, "leaveSession", token="bob", user="bob", session=session),
        await act(legacy, "endSession", token="bob", user="bob", session=session),
        await act(legacy, "_getParticipants", session="5"),
    ):
        assert is_error(200, answer)
    assert is_error(400, await act(legacy, "joinSession", user="alice"))
    assert is_error(401, await act(legacy, "joinSession", token=None, user="alice", session=session))


async def test_a12_an_id_is_opaque_and_a_strict_directory_must_have_it(house: House) -> None:
    odd = "Zoë O'Neil <42> 🦊"
    session = await create(house, odd, token="admin")
    assert await users(house, session, token="admin") == [odd]
    assert house.registry.people.get("default/default", odd) is not None
    house.registry.people.strict = True
    assert is_error(404, await act(house, "createSession", token="admin", host="nobody", name=""))
    assert is_error(404, await act(house, "joinSession", token="admin", user="nobody", session=session))
    assert await users(house, session, token="admin") == [odd]


async def test_a13_the_name_is_optional_and_shown_in_other_dialects(house: House) -> None:
    named = await create(house, name="Stand-up")
    assert live(house, named).name == "Stand-up"
    assert live(house, await create(house)).name == ""
    assert live(house, await create(house, name=None)).name == ""
    for wrong in (5, "x" * 257, "two\nlines"):
        assert is_error(400, await act(house, "createSession", host="alice", name=wrong))
    status, shown = await house.get(f"/sessions/{uuid_of_session(named)}")
    assert (status, shown["name"]) == (200, "Stand-up")


async def test_a14_the_host_leaves_and_may_still_end(house: House) -> None:
    session = await create(house)
    assert await act(house, "leaveSession", user="alice", session=session) == (200, {})
    assert await users(house, session) == []
    assert not live(house, session).ended
    assert await act(house, "endSession", user="alice", session=session) == (200, {})


async def test_a15_an_ended_session_is_kept_but_takes_nobody(house: House) -> None:
    session = await create(house)
    await act(house, "endSession", user="alice", session=session)
    assert is_error(409, await act(house, "joinSession", token="bob", user="bob", session=session))
    assert is_error(409, await act(house, "leaveSession", user="alice", session=session))
    assert is_error(409, await act(house, "endSession", user="alice", session=session))
    assert await act(house, "_getParticipants", session=session) == (200, [])


async def test_a15_also_once_only_the_database_knows_it(house: House) -> None:
    session = await create(house)
    await act(house, "endSession", user="alice", session=session)
    await house.services.writer.settled()
    house.registry._ended.clear()
    assert is_error(409, await act(house, "joinSession", token="bob", user="bob", session=session))
    assert is_error(409, await act(house, "endSession", user="alice", session=session))
    assert await act(house, "_getParticipants", session=session) == (200, [])
    assert is_error(404, await act(house, "_getParticipants", token="other", session=session))


async def test_a16_a_host_need_not_take_part_and_a_joining_user_is_held_to_the_same_rule(house: House) -> None:
    session = await create(house)
    await act(house, "leaveSession", user="alice", session=session)
    assert is_error(400, await act(house, "joinSession", token="admin", user="", session=session))
    assert await act(house, "endSession", user="alice", session=session) == (200, {})


async def test_g1_every_form_of_an_id_is_taken(house: House) -> None:
    session = await create(house)
    assert await users(house, uuid_of_session(session)) == ["alice"]
    assert session.isdigit()


async def test_g6_what_is_not_understood_is_told_in_this_dialect(house: House) -> None:
    for raw in (b"", b"{", b"[]", b'"text"', b"[" * 60_000, b'{"host": "\\u0000"}'):
        status, body, _ = await house.call("POST", f"{BASE}/createSession", raw=raw)
        assert is_error(400, (status, body))
    status, body, response = await house.call("GET", f"{BASE}/createSession")
    assert is_error(405, (status, body))
    assert "POST" in response.headers["Allow"]
    status, body, _ = await house.call("POST", f"{BASE}/createSession", raw=b"x" * 100_000)
    assert is_error(413, (status, body))
    assert is_error(404, await house.post(f"{BASE}/noSuchAction", {}))
    assert (await act(house, "createSession", host="alice", name="", more={"ignored": True}))[0] == 200


async def test_g8_the_acting_user_is_the_tokens_own(house: House) -> None:
    status, body, response = await house.call("POST", f"{BASE}/createSession", json={"host": "alice"}, token=None)
    assert is_error(401, (status, body))
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert is_error(403, await act(house, "createSession", host="bob"))
    assert is_error(403, await act(house, "createSession", token="machine", host="alice"))
    session = await create(house, "bob", token="admin")
    assert is_error(403, await act(house, "joinSession", token="alice", user="carol", session=session))
    assert is_error(403, await act(house, "leaveSession", token="alice", user="bob", session=session))
    assert is_error(403, await act(house, "endSession", token="alice", user="bob", session=session))


async def test_g8_another_tenants_session_is_not_there(house: House) -> None:
    session = await create(house)
    assert is_error(404, await act(house, "joinSession", token="other", user="oscar", session=session))
    assert is_error(404, await act(house, "endSession", token="other-admin", user="alice", session=session))
    assert is_error(404, await act(house, "_getParticipants", token="other", session=session))
