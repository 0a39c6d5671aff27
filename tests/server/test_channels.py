"""The channel dialect, point by point: channels and sessions (conformance B1-B7, B14-B25; G1-G8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from server.store.records import SESSION_COLUMNS, session_record
from signalling import Channel, Session, session_id_of, short_of_session, uuid_of_channel, uuid_of_session

from .house import OTHER_TENANT, TENANT, House, open_house

NOWHERE = "0b0e6a38-8d0e-4a8f-9d6e-6f3a4ff1a111"


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    """A house on each kind of database."""
    async for house in open_house(tmp_path, database_url=database_url):
        yield house


def channel(house: House, name: str = "Board", *, owner: str | None = "alice", **more: Any) -> Channel:
    return house.registry.rooms.create(more.pop("tenant", TENANT), name, owner=owner, **more)


def sitting(house: House, room: Channel, host: str | None = "alice") -> Session:
    return house.registry.create(tenant=room.tenant, made_by="channels", host=host, channel=room, name=room.name)


def past(house: House, session: Session, **changes: Any) -> None:
    """Put a session like `session` into the history, with these columns changed."""
    record = replace(session_record(session), **changes)
    row = {name: getattr(record, name) for name in SESSION_COLUMNS}
    house.services.writer.write("sessions", {**row, "id": int(row["id"])})


async def found(house: House, query: str = "", *, token: str = "admin") -> list[str]:
    """Names of the sessions that a list shows."""
    status, body = await house.get(f"/sessions?{query}", token=token)
    assert status == 200
    assert body["total"] == len(body["results"])
    return [item["name"] for item in body["results"]]


def is_error(answer: Sequence[Any], status: int, code: str) -> bool:
    return bool(answer[0] == status and answer[1].keys() == {"message", "error"} and answer[1]["error"] == code)


# B1, B2: ending.


@pytest.mark.parametrize("base", ["", "/api/v1_0"])
@pytest.mark.parametrize("tail", ["", "/"])
async def test_b1_without_an_id_the_active_session_ends(house: House, base: str, tail: str) -> None:
    room = channel(house)
    session = sitting(house, room)
    session.join("bob")
    assert await house.delete(f"{base}/channels/{room.id}/session{tail}") == (200, {})
    assert session.ended
    assert session.present() == []


@pytest.mark.parametrize("form", [str, uuid_of_session, short_of_session])
async def test_b1_with_an_id_only_that_session_ends(house: House, form: Any) -> None:
    room = channel(house)
    first = sitting(house, room)
    await first.end()
    second = sitting(house, room)
    assert await house.delete(f"/channels/{room.id}/session/{form(first.id)}") == (200, {})
    assert await house.delete(f"/channels/{room.id}/session/nonsense") == (200, {})
    assert not second.ended
    assert await house.delete(f"/channels/{room.id}/session/{form(second.id)}") == (200, {})
    assert second.ended


async def test_b1_a_session_without_a_room_ends_by_its_own_channel(house: House) -> None:
    session = house.session()
    assert await house.delete(f"/channels/{uuid_of_channel(session.id)}/session") == (200, {})
    assert session.ended


async def test_b1_every_phone_is_hung_up(house: House) -> None:
    caller, callee = await house.phone("1001"), await house.phone("1002")
    caller.script.answer_after_s = callee.script.answer_after_s = 0.0
    body = {"caller": "1001", "callee": "1002", "send_sdp": True}
    _, made = await house.post("/api/sessions", body, token="admin")
    session = house.registry.get(made["id"])
    assert session is not None
    await house.until(lambda: session.call.answered is not None)
    assert (await house.delete(f"/channels/{session.channel_id}/session", token="admin"))[0] == 200
    await house.until(lambda: caller.calls[0].state == callee.calls[0].state == "ended")
    assert session.ended


async def test_b2_nothing_to_end_is_no_error_and_of_many_at_once_all_are_content(house: House) -> None:
    room = channel(house)
    assert await house.delete(f"/channels/{room.id}/session") == (200, {})
    sitting(house, room)
    ends = (house.delete(f"/channels/{room.id}/session") for _ in range(20))
    assert await asyncio.gather(*ends) == [(200, {})] * 20


async def test_b2_an_unknown_channel_is_404_and_who_is_no_host_403(house: House) -> None:
    room = channel(house)
    session = sitting(house, room)
    for unknown in (NOWHERE, "nonsense", uuid_of_session("7")):
        assert is_error(await house.delete(f"/channels/{unknown}/session"), 404, "CHANNEL_NOT_FOUND")
    for token in ("bob", "viewer", "stranger", "machine"):
        answer = await house.delete(f"/channels/{room.id}/session", token=token)
        assert is_error(answer, 403, "ACCESS_FORBIDDEN")
    answer = await house.delete(f"/channels/{room.id}/session", token="other")
    assert is_error(answer, 404, "CHANNEL_NOT_FOUND")
    assert not session.ended
    house.registry.rooms.set_role(room, "bob", "host")
    assert (await house.delete(f"/channels/{room.id}/session", token="bob"))[0] == 200


# B3: a session.


async def test_b3_a_running_session(house: House) -> None:
    room = channel(house, service_mode="panel", client_id="web")
    session = sitting(house, room)
    status, body = await house.get(f"/sessions/{uuid_of_session(session.id)}")
    assert status == 200
    assert body == {
        "id": uuid_of_session(session.id),
        "name": "Board",
        "channel": room.id,
        "serviceMode": "panel",
        "participantsCount": 1,
        "clientId": "web",
        "hadRecording": False,
        "created": round(session.created_at * 1000),
        "started": round((session.started_at or 0) * 1000),
    }


async def test_b3_ended_group_parent_and_image_are_there_when_they_are(house: House) -> None:
    session = house.session(name="Breakout")
    session.group_id, session.parent_id = "g1", "p1"
    await session.end()
    _, body = await house.get(f"/api/v1_0/sessions/{session.id}?imgSize=small")
    assert body["ended"] >= body["started"] >= body["created"]
    assert (body["groupId"], body["parentId"]) == ("g1", "p1")
    assert "imageUrl" not in body


async def test_b3_also_once_only_the_database_knows_it(house: House) -> None:
    session = house.session(name="Long ago")
    await session.end()
    _, before = await house.get(f"/sessions/{session.id}")
    await house.services.writer.settled()
    house.registry._ended.clear()
    assert house.registry.get(session.id) is None
    assert await house.get(f"/sessions/{session.id}") == (200, before)


@pytest.mark.parametrize("unknown", ["1801439850948198400", "nonsense", NOWHERE, uuid_of_session("7"), "0"])
async def test_b3_an_unknown_session_is_404(house: House, unknown: str) -> None:
    for tail in ("", "/participants", "/recordings"):
        assert is_error(await house.get(f"/sessions/{unknown}{tail}"), 404, "SESSION_NOT_FOUND")


async def test_b3_others_may_not_see_it(house: House) -> None:
    session = house.session(host="alice")
    for tail in ("", "/participants", "/recordings"):
        path = f"/sessions/{session.id}{tail}"
        assert is_error(await house.get(path, token="stranger"), 403, "ACCESS_FORBIDDEN")
        assert is_error(await house.get(path, token="other"), 404, "SESSION_NOT_FOUND")
        assert is_error(await house.get(path, token="other-admin"), 404, "SESSION_NOT_FOUND")
        assert (await house.get(path, token="viewer"))[0] == 200
    house.registry.rooms.put(room := channel(house, owner="stranger"))
    session.channel = room
    assert (await house.get(f"/sessions/{session.id}", token="stranger"))[0] == 200


# B4: who took part.


async def test_b4_all_who_took_part_each_once(house: House) -> None:
    people = house.registry.people
    people.put(replace(people.see(TENANT, "bob"), handle="bobby", image_url="https://img.example/bob.png"))
    session = house.session()
    session.join("bob")
    session.leave("bob")
    session.join("bob")
    session.join("+33123456789")
    session.leave("alice")
    status, body = await house.get(f"/sessions/{session.id}/participants?imgSize=medium")
    assert status == 200
    assert body == [
        {"id": people.number_of(TENANT, "alice"), "handle": "alice"},
        {"id": people.number_of(TENANT, "bob"), "handle": "bobby", "imageUrl": "https://img.example/bob.png"},
        {"id": people.number_of(TENANT, "+33123456789"), "handle": "+33123456789"},
    ]
    await session.end()
    await house.services.writer.settled()
    house.registry._ended.clear()
    assert await house.get(f"/sessions/{session.id}/participants") == (200, body)


# B5: recordings.


async def test_b5_recordings_with_their_optional_fields(house: House) -> None:
    session = house.session()
    assert await house.get(f"/sessions/{session.id}/recordings") == (200, [])
    row = {
        "id": "a1", "session_id": int(session.id), "tenant": TENANT, "recording_id": "r1", "format": "MP4",
        "state": "Uploaded", "label": "Everything", "kind": "video", "is_individual": False, "start_time": 2000,
    }  # fmt: skip
    more = {
        "end_time": 3000, "size": 12, "url": "https://files.example/a.mp4", "relative_path": "a.mp4",
        "stream_user_id": 5, "user_id": 6, "group": "g", "kind": "audio", "is_individual": True,
    }  # fmt: skip
    house.services.writer.write("recordings", row)
    house.services.writer.write("recordings", {**row, **more, "id": "a0", "start_time": 1000})
    status, body = await house.get(f"/sessions/{session.id}/recordings")
    assert status == 200
    assert body == [
        {
            "id": "a0", "recordingId": "r1", "format": "MP4", "state": "Uploaded", "label": "Everything",
            "kind": "audio", "isIndividual": True, "startTime": 1000, "endTime": 3000, "size": 12,
            "url": "https://files.example/a.mp4", "relativePath": "a.mp4", "streamUserId": 5, "userId": 6,
            "group": "g",
        },
        {
            "id": "a1", "recordingId": "r1", "format": "MP4", "state": "Uploaded", "label": "Everything",
            "kind": "video", "isIndividual": False, "startTime": 2000,
        },
    ]  # fmt: skip


# B6: who was in a channel.


async def test_b6_the_users_of_a_channel_who_was_there_last_first(house: House) -> None:
    room = channel(house)
    joined_at = 1_700_000_000.0
    for users in (("carol", "bob"), ("alice", "bob"), ("dave",)):
        session = sitting(house, room, host=None)
        for user in users:
            house.registry.people.see(TENANT, user)
            joined_at += 1
            session.join(user).joined_at = joined_at
        await session.end()
    sitting(house, channel(house, "elsewhere"), host="eve")
    status, body = await house.get(f"/channels/{room.id}/participants")
    assert status == 200
    assert body["total"] == 4
    assert [user["handle"] for user in body["results"]] == ["dave", "bob", "alice", "carol"]
    assert body["results"][0]["id"] == house.registry.people.number_of(TENANT, "dave")
    _, body = await house.get(f"/channels/{room.id}/participants?offset=1&limit=2&imgSize=small")
    assert (body["total"], [user["handle"] for user in body["results"]]) == (4, ["bob", "alice"])
    _, body = await house.get(f"/api/v1_0/channels/{room.id}/participants?search=A")
    assert (body["total"], [user["handle"] for user in body["results"]]) == (3, ["dave", "alice", "carol"])
    _, body = await house.get(f"/channels/{room.id}/participants?search=%25")
    assert body == {"total": 0, "results": []}
    _, body = await house.get(f"/channels/{room.id}/participants?offset=9")
    assert body == {"total": 4, "results": []}
    assert await house.get(f"/channels/{room.id}/participants?limit=0") == (200, {"total": 4, "results": []})
    people = house.registry.people
    people.put(replace(people.see(TENANT, "dave"), handle="Big Dave"))
    _, body = await house.get(f"/channels/{room.id}/participants?search=big")
    assert [user["handle"] for user in body["results"]] == ["Big Dave"]


async def test_b6_needs_a_known_channel_and_a_role_in_it(house: House) -> None:
    room = channel(house)
    assert is_error(await house.get(f"/channels/{NOWHERE}/participants"), 404, "CHANNEL_NOT_FOUND")
    answer = await house.get(f"/channels/{room.id}/participants", token="stranger")
    assert is_error(answer, 403, "ACCESS_FORBIDDEN")


async def test_b6_also_for_the_own_channel_of_a_session_long_ended(house: House) -> None:
    session = house.session(name="Past")
    session.join("bob").joined_at += 1
    await session.end()
    await house.services.writer.settled()
    house.registry._ended.clear()
    _, body = await house.get(f"/channels/{session.channel_id}/participants")
    assert [user["handle"] for user in body["results"]] == ["bob", "alice"]
    answer = await house.get(f"/channels/{session.channel_id}/participants", token="other-admin")
    assert is_error(answer, 404, "CHANNEL_NOT_FOUND")


# B7: lists of sessions.


async def three(house: House) -> list[Session]:
    """In the order of making: ended, running with three users, running with two."""
    first, second, third = (
        sitting(house, channel(house, name)) for name in ("Budget", "aardvark review", "Budget 2027")
    )
    for user in ("bob", "carol"):
        second.join(user)
    third.join("bob")
    await asyncio.sleep(0.002)
    await first.end()
    return [first, second, third]


async def test_b7_sort_started_is_the_default_newest_first(house: House) -> None:
    await three(house)
    assert await found(house) == ["Budget 2027", "aardvark review", "Budget"]
    assert await found(house, "sort=started&order=desc") == await found(house)
    assert await found(house, "order=asc") == ["Budget", "aardvark review", "Budget 2027"]


async def test_b7_sort_ended_puts_running_first(house: House) -> None:
    _, second, _ = await three(house)
    assert await found(house, "sort=ended") == ["Budget 2027", "aardvark review", "Budget"]
    await asyncio.sleep(0.002)
    await second.end()
    assert await found(house, "sort=ended") == ["Budget 2027", "aardvark review", "Budget"]
    assert await found(house, "sort=ended&order=asc") == ["Budget", "aardvark review", "Budget 2027"]


async def test_b7_sort_name_and_presence(house: House) -> None:
    await three(house)
    assert await found(house, "sort=name&order=asc") == ["Budget", "Budget 2027", "aardvark review"]
    assert await found(house, "sort=name") == ["aardvark review", "Budget 2027", "Budget"]
    assert await found(house, "sort=presence") == ["aardvark review", "Budget 2027", "Budget"]
    assert await found(house, "sort=presence&order=asc") == ["Budget", "Budget 2027", "aardvark review"]


async def test_b7_from_and_to_are_strict(house: House) -> None:
    session = house.session()
    for name, started in (("a", 1000), ("b", 2000), ("c", 3000), ("never", None)):
        past(house, session, id=str(int(session.id) + ord(name[0])), name=name, started_at=started, ended_at=9000)
    past(house, session, name="now")
    assert await found(house, "from=1000&to=3000") == ["b"]
    assert await found(house, "from=999&to=3001&order=asc") == ["a", "b", "c"]
    assert await found(house, "from=2000&to=9000") == ["c"]
    assert await found(house, "to=2000") == ["a"]
    assert await found(house, "from=3000&to=2000") == []


async def test_b7_from_and_to_across_the_slots_of_the_tallies(house: House) -> None:
    session = house.session()
    hour = 3_600_000
    for number in range(40):
        past(house, session, id=str(int(session.id) + number), name=f"{number:02}", started_at=number * hour)
    for first, last in ((-1, 40), (0, 39), (5, 30), (5, 7), (6, 12), (11, 13), (12, 24)):
        names = await found(house, f"from={max(0, first) * hour}&to={last * hour}&order=asc")
        assert names == [f"{number:02}" for number in range(max(0, first) + 1, min(40, last))]


async def test_b7_has_recording(house: House) -> None:
    session = house.session(name="without")
    past(house, session, id=str(int(session.id) + 1), name="with", had_recording=True)
    assert await found(house, "hasRecording=true") == ["with"]
    assert await found(house, "hasRecording=false") == ["without"]
    assert await found(house, "hasRecording=true&from=0") == ["with"]


async def test_b7_search_looks_at_the_channels_name(house: House) -> None:
    await three(house)
    assert await found(house, "search=bUDg") == ["Budget 2027", "Budget"]
    assert await found(house, "search=bu") == ["Budget 2027", "Budget"]
    assert await found(house, "search=7") == ["Budget 2027"]
    assert await found(house, "search=%25") == []
    assert await found(house, "search=B_d") == []
    assert await found(house, "search=%22b") == []
    assert await found(house, "search=budget&from=0&sort=name") == ["Budget 2027", "Budget"]


async def test_b7_channel_narrows_to_one(house: House) -> None:
    first, *_ = await three(house)
    assert await found(house, f"channel={first.channel_id}") == ["Budget"]
    assert await found(house, f"channel={first.channel_id.upper()}") == ["Budget"]
    assert await found(house, f"channel={first.channel_id}&search=aardvark") == []
    assert await found(house, f"channel={NOWHERE}") == []


async def test_b7_shows_what_the_token_is_an_operator_of(house: House) -> None:
    owned = sitting(house, channel(house, "owned", owner="stranger"), host="bob")
    given = channel(house, "given", owner="bob")
    house.registry.rooms.set_role(given, "stranger", "host")
    sitting(house, given, host="bob")
    member = channel(house, "member", owner="bob")
    house.registry.rooms.set_role(member, "stranger", "member")
    sitting(house, member, host="bob").join("stranger")
    hosted = house.session("stranger", name="hosted")
    house.session("bob", name="bobs")
    sitting(house, channel(house, "elsewhere", owner="stranger", tenant=OTHER_TENANT), host="stranger")
    assert await found(house, token="stranger") == ["hosted", "given", "owned"]
    assert await found(house, "sort=name&order=asc", token="stranger") == ["given", "hosted", "owned"]
    assert await found(house, "search=iv", token="stranger") == ["given"]
    assert await found(house, f"channel={member.id}", token="stranger") == []
    everything = ["bobs", "hosted", "member", "given", "owned"]
    assert await found(house, token="host") == everything
    assert await found(house, token="admin") == everything
    assert await found(house, token="viewer") == []
    assert await found(house, token="other") == ["elsewhere"]
    house.registry.rooms.set_role(given, "stranger", None)
    assert await found(house, token="stranger") == ["hosted", "owned"]
    assert {owned.ended, hosted.ended} == {False}


async def test_b7_shows_what_the_token_made_and_what_it_hosts_itself(house: House) -> None:
    room = channel(house, "by token", owner=None)
    _, secret = house.book.create(TENANT, "robot", channel_roles={room.id: "host"})
    key_id = secret.split("_")[1]
    house.registry.create(tenant=TENANT, made_by="pbx", owner=f"token:key:{key_id}", name="made")
    sitting(house, room, host="bob")
    house.session("bob")
    names = await found(house, token=secret)
    assert "by token" in names
    assert len(names) <= 2


async def test_b7_pages_of_many_are_whole_in_every_order(house: House) -> None:
    session = house.session(name="base")
    await session.end()
    for number in range(1, 60):
        past(
            house,
            session,
            id=str(int(session.id) + number),
            name=f"n{number % 7}",
            channel_id=str(uuid4()),
            channel_name=f"room {number % 3}",
            started_at=None if number % 5 == 0 else 1_000 + number % 11,
            ended_at=None if number % 4 == 0 else 2_000 + number % 13,
            participants_count=number % 6,
            host="stranger" if number % 2 else "bob",
        )
    for token in ("admin", "stranger"):
        for query in ("", "search=room%201&", "from=1003&to=1009&"):
            for sort in ("started", "ended", "name", "presence"):
                await pages_are_whole(house, token, f"{query}sort={sort}")


async def pages_are_whole(house: House, token: str, query: str) -> None:
    """Whether pages of 7 together are the whole list, and the other order is its reverse."""
    _, whole = await house.get(f"/sessions?{query}&limit=500", token=token)
    ids = [item["id"] for item in whole["results"]]
    assert len(ids) == len(set(ids)) == whole["total"] > 0
    paged: list[str] = []
    for offset in range(0, whole["total"] + 7, 7):
        _, page = await house.get(f"/sessions?{query}&limit=7&offset={offset}", token=token)
        assert page["total"] == whole["total"]
        paged += [item["id"] for item in page["results"]]
    assert paged == ids
    _, reverse = await house.get(f"/sessions?{query}&limit=500&order=asc", token=token)
    assert [item["id"] for item in reverse["results"]] == ids[::-1]


# B14-B17: numbers, totals, images, errors.


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1", "limit=501", "limit=ten", "limit=1.5", "limit=", "offset=-1", "offset=9223372036854775808",
        "sort=id", "order=up", "from=yesterday", "to=-5", "hasRecording=1", "hasRecording=maybe", "limit=1&limit=2",
        f"search={'x' * 257}", "search=a%00b",
    ],
)  # fmt: skip
async def test_b14_bad_numbers_and_words_are_400(house: House, query: str) -> None:
    assert is_error(await house.get(f"/sessions?{query}", token="admin"), 400, "BAD_REQUEST")


async def test_b14_limit_is_50_unless_said(house: House) -> None:
    for _ in range(51):
        house.session()
    _, body = await house.get("/sessions", token="admin")
    assert (body["total"], len(body["results"])) == (51, 50)
    _, body = await house.get("/sessions?limit=500&offset=0", token="admin")
    assert len(body["results"]) == 51


async def test_b15_total_counts_all_that_match(house: House) -> None:
    for _ in range(5):
        house.session()
    _, body = await house.get("/sessions?limit=2&offset=4", token="admin")
    assert (body["total"], len(body["results"])) == (5, 1)
    assert await house.get("/sessions?limit=0", token="admin") == (200, {"total": 5, "results": []})
    assert await house.get("/sessions?offset=99", token="admin") == (200, {"total": 5, "results": []})


async def test_b16_imgsize_is_taken_and_images_are_left_out(house: House) -> None:
    session = house.session()
    for path in (f"/sessions/{session.id}", f"/sessions/{session.id}/participants", "/sessions"):
        status, body = await house.get(f"{path}?imgSize=medium", token="admin")
        assert status == 200
        assert "imageUrl" not in str(body)


async def test_b17_errors_have_a_message_and_a_code(house: House) -> None:
    session = house.session()
    status, body, response = await house.call("GET", "/sessions", token=None)
    assert is_error((status, body), 401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert is_error(await house.get("/sessions?sort=x"), 400, "BAD_REQUEST")
    assert is_error(await house.get(f"/sessions/{session.id}", token="stranger"), 403, "ACCESS_FORBIDDEN")
    assert is_error(await house.get("/sessions/1"), 404, "SESSION_NOT_FOUND")
    assert is_error(await house.get(f"/channels/{NOWHERE}"), 404, "CHANNEL_NOT_FOUND")
    assert is_error(await house.get("/channels/a/b/c/d"), 404, "NOT_FOUND")
    status, body, response = await house.call("PATCH", "/api/v1_0/sessions")
    assert is_error((status, body), 405, "METHOD_NOT_ALLOWED")
    assert "GET" in response.headers["Allow"]
    answer = await house.call("POST", "/channels", raw=b"x" * 100_000)
    assert is_error(answer, 413, "TOO_LARGE")
    for raw in (b"", b"{", b"[]", b'{"name": 5}', b'{"name": ""}', b'{"name": "a\\u0000"}'):
        assert is_error(await house.call("POST", "/channels", raw=raw), 400, "BAD_REQUEST")


async def test_b18_no_operation_tells_more_than_the_document(house: House) -> None:
    """The signature of webhooks is the webhooks' own matter: no path of this dialect speaks of it."""
    assert is_error(await house.get("/channels/webhooks"), 404, "CHANNEL_NOT_FOUND")


# B21-B25.


async def test_b21_numbers_of_users_are_stable_and_below_2_53(house: House) -> None:
    session = house.session("alice")
    session.join("+4912345")
    _, first = await house.get(f"/sessions/{session.id}/participants")
    _, second = await house.get(f"/sessions/{session.id}/participants")
    assert first == second
    for user in first:
        assert isinstance(user["id"], int)
        assert 0 < user["id"] < 2**53


async def test_b22_participants_count_is_of_distinct_users_over_its_life(house: House) -> None:
    session = house.session()
    for user in ("bob", "bob", "carol"):
        session.join(user)
        session.leave(user)
    _, body = await house.get(f"/sessions/{session.id}")
    assert body["participantsCount"] == 3
    _, body = await house.get("/sessions", token="admin")
    assert body["results"][0]["participantsCount"] == 3


async def test_b23_what_has_not_ended_or_begun_counts_as_the_last_to_do_so(house: House) -> None:
    house.session(None, name="not begun")
    await three(house)
    assert (await found(house))[0] == "not begun"
    assert (await found(house, "order=asc"))[-1] == "not begun"
    assert (await found(house, "sort=ended&order=asc"))[0] == "Budget"
    assert "not begun" not in await found(house, "from=0")


async def test_b24_created_is_there_at_once_and_started_with_the_first_who_comes(house: House) -> None:
    session = house.session(None)
    _, body = await house.get(f"/sessions/{session.id}", token="admin")
    assert body["created"] == round(session.created_at * 1000)
    assert "started" not in body
    session.join("bob")
    _, body = await house.get(f"/sessions/{session.id}", token="admin")
    assert body["started"] >= body["created"]


async def test_b25_a_second_join_reuses_the_session_and_a_new_one_starts_after_its_end(house: House) -> None:
    _, room = await house.post("/channels", {"name": "Board", "serviceMode": "panel", "clientId": "web"})
    path = f"/channels/{room['id']}/session"
    status, first = await house.post(path)
    assert status == 200
    assert (first["channel"], first["serviceMode"], first["clientId"]) == (room["id"], "panel", "web")
    _, second = await house.post(path, token="bob")
    assert (second["id"], second["participantsCount"]) == (first["id"], 2)
    _, again = await house.post(path, token="bob")
    assert (again["id"], again["participantsCount"]) == (first["id"], 2)
    _, shown = await house.get(f"/channels/{room['id']}")
    assert shown["session"] == first["id"]
    assert (await house.delete(path))[0] == 200
    _, shown = await house.get(f"/channels/{room['id']}")
    assert "session" not in shown
    _, third = await house.post(path)
    assert third["id"] != first["id"]


async def test_b25_of_many_who_come_at_once_one_starts_the_session(house: House) -> None:
    room = channel(house)
    tokens = ["alice", "bob", "host"] * 30
    answers = await asyncio.gather(*(house.post(f"/channels/{room.id}/session", token=token) for token in tokens))
    assert {status for status, _ in answers} == {200}
    assert len({body["id"] for _, body in answers}) == 1
    session = house.registry.rooms.active_session(room.id)
    assert session is not None
    assert sorted(participant.user for participant in session.participants) == ["alice", "bob", "hanna"]


# Channels: ours.


async def test_channels_are_made_listed_and_read(house: House) -> None:
    status, made = await house.post("/api/v1_0/channels", {"name": "Board"})
    assert status == 200
    alice = house.registry.people.number_of(TENANT, "alice")
    assert made == {
        "id": made["id"], "name": "Board", "serviceMode": "conference", "clientId": "", "created": made["created"],
        "owner": alice,
    }  # fmt: skip
    channel(house, "Other", owner="bob")
    channel(house, "Foreign", tenant=OTHER_TENANT)
    assert await house.get(f"/channels/{made['id']}") == (200, made)
    _, body = await house.get("/channels?search=o&limit=1", token="admin")
    assert (body["total"], [item["name"] for item in body["results"]]) == (2, ["Other"])
    _, body = await house.get("/channels", token="stranger")
    assert body == {"total": 0, "results": []}
    assert is_error(await house.get(f"/channels/{made['id']}", token="stranger"), 403, "ACCESS_FORBIDDEN")
    assert is_error(await house.get(f"/channels/{made['id']}", token="other"), 404, "CHANNEL_NOT_FOUND")


async def test_who_starts_a_session_without_being_a_host_does_not_become_one(house: House) -> None:
    room = channel(house, owner="alice")
    _, session = await house.post(f"/channels/{room.id}/session", token="bob")
    assert is_error(await house.delete(f"/channels/{room.id}/session", token="bob"), 403, "ACCESS_FORBIDDEN")
    assert await found(house, token="bob") == []
    status, body = await house.post(
        "/api/CallSession/endSession", {"user": "bob", "session": session["id"]}, token="bob"
    )
    assert status == 403
    assert "host" in body["error"]
    assert await found(house, token="alice") == ["Board"]


async def test_joining_needs_a_member_and_admins_name_whom_they_act_for(house: House) -> None:
    room = channel(house)
    path = f"/channels/{room.id}/session"
    for token in ("viewer", "stranger"):
        assert is_error(await house.post(path, token=token), 403, "ACCESS_FORBIDDEN")
    assert is_error(await house.post(path, token="admin"), 403, "ACCESS_FORBIDDEN")
    assert is_error(await house.post(path, {"handle": "carol"}, token="bob"), 403, "ACCESS_FORBIDDEN")
    assert (await house.post(path, {"handle": "carol"}, token="admin"))[0] == 200
    dave = house.registry.people.see(TENANT, "dave")
    assert (await house.post(path, {"userId": dave.number}, token="admin"))[0] == 200
    assert is_error(await house.post(path, {"userId": 1}, token="admin"), 404, "USER_NOT_FOUND")
    assert is_error(await house.post(path, {"userId": 1, "handle": "x"}, token="admin"), 400, "BAD_REQUEST")
    session = house.registry.rooms.active_session(room.id)
    assert session is not None
    assert [participant.user for participant in session.present()] == ["carol", "dave"]


async def test_leaving_takes_one_user_away(house: House) -> None:
    room = channel(house)
    path = f"/channels/{room.id}/session/leave"
    assert is_error(await house.post(path), 404, "NOT_PARTICIPANT")
    session = sitting(house, room)
    session.join("bob")
    assert await house.post(path, token="bob") == (200, {})
    assert is_error(await house.post(path, token="bob"), 404, "NOT_PARTICIPANT")
    assert [participant.user for participant in session.present()] == ["alice"]
    assert is_error(await house.post(f"/channels/{NOWHERE}/session/leave"), 404, "CHANNEL_NOT_FOUND")


async def test_roles_are_given_and_taken(house: House) -> None:
    room = channel(house)
    bob = house.registry.people.see(TENANT, "bob").number
    path = f"/channels/{room.id}/roles"
    assert is_error(await house.put(f"{path}/bob", {"role": "host"}, token="bob"), 403, "ACCESS_FORBIDDEN")
    status, given = await house.put(f"{path}/{bob}", {"role": "host"})
    assert (status, given) == (200, {"user": {"id": bob, "handle": "bob"}, "role": "host"})
    assert (await house.put(f"{path}/new", {"role": "viewer"}))[0] == 200
    _, roles = await house.get(path, token="bob")
    assert [(item["user"]["handle"], item["role"]) for item in roles] == [
        ("alice", "host"),
        ("bob", "host"),
        ("new", "viewer"),
    ]
    assert await house.delete(f"{path}/bob") == (200, {})
    assert room.role_of("bob") is None
    assert is_error(await house.put(f"{path}/bob", {"role": "king"}), 400, "BAD_REQUEST")
    assert is_error(await house.put(f"{path}/{'x' * 300}", {"role": "host"}), 400, "BAD_REQUEST")


async def test_the_own_channel_of_an_ended_session_becomes_a_room_when_somebody_joins_again(house: House) -> None:
    session = house.session(name="Again")
    path = f"/channels/{session.channel_id}/session"
    _, joined = await house.post(path, token="bob")
    assert joined["id"] == uuid_of_session(session.id)
    await session.end()
    _, second = await house.post(path, token="alice")
    assert second["id"] != joined["id"]
    assert second["channel"] == session.channel_id
    assert await found(house, f"channel={session.channel_id}", token="alice") == ["Again", "Again"]
    _, body = await house.get(f"/channels/{session.channel_id}/participants")
    assert {user["handle"] for user in body["results"]} == {"alice", "bob"}
    _, page = await house.get(f"/events/history?channel={session.channel_id}&kind=session.started", token="admin")
    assert [event["session"] for event in page["events"]] == [session.id, session_id_of(second["id"])]
    assert {event["channel"] for event in page["events"]} == {session.channel_id}
    room = house.registry.rooms.get(session.tenant, session.channel_id)
    assert room is not None
    house.registry.rooms.set_role(room, "stranger", "viewer")
    await house.services.writer.settled()
    _, page = await house.get("/events/history?kind=session.started", token="stranger")
    assert [event["session"] for event in page["events"]] == [session.id, session_id_of(second["id"])]
