"""One live session, seen by all five dialects: made by each, then found, read, joined and ended by each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from signalling import User, session_id_of, short_of_session, uuid_of_session
from tests.server.house import ACCOUNT, APP, House

KIT = f"/accounts/{ACCOUNT}/realtime/kit/{APP}"


class Speaker(Protocol):
    """What a client of one dialect does; alice is the host, and all ids are this dialect's own."""

    async def make(self, house: House) -> str:
        """Alice starts a session; its id."""

    async def listed(self, house: House) -> set[str] | None:
        """Ids of alice's live sessions; None where the dialect has no list."""

    async def live(self, house: House, session: str) -> bool:
        """Whether alice sees the session going on."""

    async def join(self, house: House, session: str) -> None:
        """Bob takes part."""

    async def present(self, house: House, session: str) -> set[str] | None:
        """Who takes part; None where the dialect does not tell."""

    async def end(self, house: House, session: str) -> None:
        """Alice ends it."""


class CallSession:
    """A."""

    async def make(self, house: House) -> str:
        status, made = await house.post("/api/CallSession/createSession", {"host": "alice", "name": "Talk"})
        assert status == 200
        return str(made["session"])

    async def listed(self, house: House) -> None:
        return None

    async def live(self, house: House, session: str) -> bool:
        return bool(await self.present(house, session))

    async def join(self, house: House, session: str) -> None:
        body = {"user": "bob", "session": session}
        assert await house.post("/api/CallSession/joinSession", body, token="bob") == (200, {})

    async def present(self, house: House, session: str) -> set[str]:
        status, users = await house.post("/api/CallSession/_getParticipants", {"session": session})
        assert status == 200
        return {user["user"] for user in users}

    async def end(self, house: House, session: str) -> None:
        assert await house.post("/api/CallSession/endSession", {"user": "alice", "session": session}) == (200, {})


class Channels:
    """B."""

    async def make(self, house: House) -> str:
        status, channel = await house.post("/channels", {"name": "Talk"})
        assert status == 200
        status, session = await house.post(f"/channels/{channel['id']}/session")
        assert status == 200
        return str(session["id"])

    async def listed(self, house: House) -> set[str]:
        status, page = await house.get("/sessions", token="host")
        assert status == 200
        return {item["id"] for item in page["results"] if "ended" not in item}

    async def _item(self, house: House, session: str) -> dict[str, object]:
        status, item = await house.get(f"/sessions/{session}")
        assert status == 200
        assert isinstance(item, dict)
        return item

    async def live(self, house: House, session: str) -> bool:
        return "ended" not in await self._item(house, session)

    async def join(self, house: House, session: str) -> None:
        channel = (await self._item(house, session))["channel"]
        assert (await house.post(f"/channels/{channel}/session", token="bob"))[0] == 200

    async def present(self, house: House, session: str) -> set[str]:
        status, users = await house.get(f"/sessions/{session}/participants")
        assert status == 200
        return {user["handle"] for user in users}

    async def end(self, house: House, session: str) -> None:
        channel = (await self._item(house, session))["channel"]
        assert (await house.delete(f"/channels/{channel}/session/{session}"))[0] == 200


class Invitations:
    """C."""

    async def make(self, house: House) -> str:
        house.registry.people.see("default/default", "bob")
        status, made = await house.post("/api/v1/sessions", {"personId": "bob", "context": "between us"})
        assert status == 201, made
        return str(made["data"]["session"]["id"])

    async def listed(self, house: House) -> set[str]:
        status, page = await house.get("/api/v1/sessions?limit=50")
        assert status == 200
        over = ("RESOLVED", "ABANDONED")
        return {item["id"] for item in page["data"]["sessions"] if item["status"] not in over}

    async def _detail(self, house: House, session: str, token: str = "alice") -> dict[str, object]:
        status, answer = await house.get(f"/api/v1/sessions/{session}", token=token)
        assert status == 200, answer
        detail = answer["data"].get("session", answer["data"])
        assert isinstance(detail, dict)
        return detail

    async def live(self, house: House, session: str) -> bool:
        return (await self._detail(house, session))["status"] in ("CREATED", "INVITED", "ACTIVE", "PAUSED")

    async def join(self, house: House, session: str) -> None:
        assert (await house.post(f"/api/v1/sessions/{session}/join", token="bob"))[0] == 200

    async def present(self, house: House, session: str) -> set[str]:
        partner = (await self._detail(house, session))["partner"]
        assert isinstance(partner, dict)
        return {"alice", str(partner["id"])}

    async def end(self, house: House, session: str) -> None:
        assert (await house.post(f"/api/v1/sessions/{session}/resolve"))[0] == 200


class Pbx:
    """D. Its users are telephones: alice's is 1001, bob's 1002."""

    async def make(self, house: House) -> str:
        phone = await house.phone("1001")
        phone.script.answer_after_s = 0.0
        other = await house.phone("1002")
        status, made = await house.post("/api/sessions", {"caller": "1001", "callee": "1002", "send_sdp": True})
        assert status == 200
        await house.until(lambda: other.calls)
        return str(made["id"])

    async def listed(self, house: House) -> set[str]:
        status, page = await house.get("/api/sessions?top=100")
        assert status == 200
        assert page["count"] == len(page["items"])
        return {item["id"] for item in page["items"]}

    async def live(self, house: House, session: str) -> bool:
        status, item = await house.get(f"/api/sessions/{session}")
        assert status == 200
        assert item["id"] == session_id_of(session)
        return session_id_of(session) in await self.listed(house)

    async def join(self, house: House, session: str) -> None:
        live = house.registry.get(session)
        assert live is not None
        if not live.has_task:
            caller = await house.phone("1001")
            caller.script.answer_after_s = 0.0
            callee = await house.phone("1002")
            body = {"caller": "1001", "callee": "1002", "send_sdp": True}
            assert await house.post(f"/api/sessions/{session}/calls", body) == (200, {"id": session})
            await house.until(lambda: callee.calls)
        house.phones["1002"].call.accept()
        await house.until(lambda: live.participant("bob"))

    async def present(self, house: House, session: str) -> None:
        return None  # it tells numbers and no people

    async def end(self, house: House, session: str) -> None:
        assert await house.post(f"/api/sessions/{session}/destroy") == (200, {"id": session})


class RealtimeKit:
    """E."""

    async def make(self, house: House) -> str:
        status, meeting = await house.post(f"{KIT}/meetings", {"title": "Talk"})
        assert status == 201
        await self._add(house, meeting["data"]["id"], "alice")
        status, active = await house.get(f"{KIT}/meetings/{meeting['data']['id']}/active-session")
        assert status == 200
        return str(active["data"]["id"])

    async def _add(self, house: House, meeting: str, user: str) -> None:
        preset = "group_call_host" if user == "alice" else "group_call_participant"
        body = {"name": user.title(), "preset_name": preset, "custom_participant_id": user}
        status, answer = await house.post(f"{KIT}/meetings/{meeting}/participants", body, token=user)
        assert status == 201, answer

    async def _item(self, house: House, session: str) -> dict[str, object]:
        status, answer = await house.get(f"{KIT}/sessions/{session}")
        assert status == 200
        assert isinstance(answer["data"], dict)
        return answer["data"]

    async def listed(self, house: House) -> set[str]:
        status, page = await house.get(f"{KIT}/sessions?status=LIVE")
        assert status == 200
        return {item["id"] for item in page["data"]["sessions"]}

    async def live(self, house: House, session: str) -> bool:
        return (await self._item(house, session))["status"] == "LIVE"

    async def join(self, house: House, session: str) -> None:
        await self._add(house, str((await self._item(house, session))["associated_id"]), "bob")

    async def present(self, house: House, session: str) -> set[str]:
        status, answer = await house.get(f"{KIT}/sessions/{session}/participants")
        assert status == 200
        return {person["user_id"] for person in answer["data"]["participants"] if "left_at" not in person}

    async def end(self, house: House, session: str) -> None:
        meeting = (await self._item(house, session))["associated_id"]
        assert (await house.post(f"{KIT}/meetings/{meeting}/active-session/kick-all"))[0] == 200


FORMS: dict[str, Callable[[str], str]] = {
    "CallSession": str,
    "Channels": uuid_of_session,
    "Invitations": short_of_session,
    "Pbx": str,
    "RealtimeKit": uuid_of_session,
}
SPEAKERS: dict[str, Speaker] = {
    kind.__name__: kind() for kind in (CallSession, Channels, Invitations, Pbx, RealtimeKit)
}


async def settled(house: House) -> None:
    await house.services.writer.settled()


@pytest.mark.parametrize("other", SPEAKERS)
@pytest.mark.parametrize("maker", SPEAKERS)
async def test_g1_a_session_of_one_dialect_is_found_joined_and_ended_in_another(
    house: House, maker: str, other: str
) -> None:
    for user, extension in (("alice", "1001"), ("bob", "1002")):
        house.registry.people.put(User("default/default", user, 0, user, extensions=(extension,)))
    made = await SPEAKERS[maker].make(house)
    session = session_id_of(made)
    assert session is not None
    assert FORMS[maker](session) == made
    speaker, known_as = SPEAKERS[other], FORMS[other](session)

    listed = await speaker.listed(house)
    assert listed is None or known_as in listed
    assert await speaker.live(house, known_as)
    assert await speaker.live(house, made)  # any dialect's form of the id is understood

    await speaker.join(house, known_as)
    for name, each in SPEAKERS.items():
        seen = await each.present(house, FORMS[name](session))
        assert seen is None or seen == {"alice", "bob"}, name

    await speaker.end(house, known_as)
    for name, each in SPEAKERS.items():
        assert not await each.live(house, FORMS[name](session)), name
        listed = await each.listed(house)
        assert listed is None or FORMS[name](session) not in listed, name
    calls = [call for phone in house.phones.values() for call in phone.calls]
    await house.until(lambda: all(call.state == "ended" for call in calls))
