"""The app sessions of the channel dialect, point by point (conformance B8-B13, B14, B19, B20, B26)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from server.sections import Config
from server.store.app_sessions import AppSessions, IndexTaken, LogLimits, UnknownAppSession
from signalling import Channel, uuid_of_session

from .house import TENANT, House, open_house

NOWHERE = "0b0e6a38-8d0e-4a8f-9d6e-6f3a4ff1a111"


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    """A house on each kind of database."""
    async for house in open_house(tmp_path, database_url=database_url):
        yield house


def is_error(answer: Sequence[Any], status: int, code: str) -> bool:
    return bool(answer[0] == status and answer[1].keys() == {"message", "error"} and answer[1]["error"] == code)


def channel(house: House, name: str = "Board", owner: str = "alice") -> Channel:
    return house.registry.rooms.create(TENANT, name, owner=owner)


async def register(house: House, *, token: str | None = "alice", client: str = "web", **fields: Any) -> str:
    body = {"started": 1000, "url": "https://app.example/", **fields}
    status, answer = await house.post(f"/app_sessions/new/{client}", body, token=token)
    assert status == 200
    assert list(answer) == ["id"]
    return str(answer["id"])


async def log(house: House, app: str, data: str, index: int | None = None, *, time: int = 5, **more: Any) -> Any:
    body = {"time": time, "data": data, **({} if index is None else {"index": index})}
    return await house.post(f"/app_sessions/{app}/logs", body, **more)


async def link(house: House, app: str, token: str = "alice") -> None:
    assert await house.post(f"/app_sessions/{app}/link/user", token=token) == (200, {})


async def found(house: House, query: str = "", *, token: str = "admin") -> list[str]:
    status, body = await house.get(f"/app_sessions?{query}", token=token)
    assert status == 200
    assert body["total"] == len(body["results"])
    return [item["id"] for item in body["results"]]


async def test_b8_link_associates_the_authenticated_user_once(house: House) -> None:
    app = await register(house)
    await link(house, app)
    await link(house, app)
    await link(house, app, "bob")
    _, body = await house.get(f"/app_sessions/{app}")
    assert [user["handle"] for user in body["users"]] == ["alice", "bob"]
    answer = await house.post(f"/app_sessions/{app}/link/user", token="machine")
    assert is_error(answer, 403, "ACCESS_FORBIDDEN")
    assert (await house.post(f"/app_sessions/{app}/link/user", token=None))[0] == 401


@pytest.mark.parametrize("unknown", [NOWHERE, "nonsense", "x" * 36])
async def test_b8_to_b13_an_unknown_app_session_is_404(house: House, unknown: str) -> None:
    code = "APP_SESSION_NOT_FOUND"
    assert is_error(await house.post(f"/app_sessions/{unknown}/link/user"), 404, code)
    assert is_error(await house.get(f"/app_sessions/{unknown}"), 404, code)
    assert is_error(await house.get(f"/app_sessions/{unknown}/logs"), 404, code)
    assert is_error(await log(house, unknown, "data"), 404, code)


async def test_b8_to_b13_another_tenants_is_not_there(house: House) -> None:
    app = await register(house)
    code = "APP_SESSION_NOT_FOUND"
    for token in ("other", "other-admin"):
        assert is_error(await house.get(f"/app_sessions/{app}", token=token), 404, code)
        assert is_error(await house.get(f"/app_sessions/{app}/logs", token=token), 404, code)
        assert is_error(await log(house, app, "data", token=token), 404, code)
    assert is_error(await house.post(f"/app_sessions/{app}/link/user", token="other"), 404, code)
    assert await found(house, token="other-admin") == []


async def test_b9_details_with_channels_users_and_sessions(house: House) -> None:
    room = channel(house)
    app = await register(house, channel=room.id, started=1_764_000_000_000, url="https://app.example/x?y=1")
    _, joined = await house.post(f"/channels/{room.id}/session")
    await link(house, app)
    expected = {
        "id": app,
        "clientId": "web",
        "url": "https://app.example/x?y=1",
        "started": 1_764_000_000_000,
        "users": [{"id": house.registry.people.number_of(TENANT, "alice"), "handle": "alice"}],
        "channels": [room.id],
        "channelsSessions": [joined["id"]],
    }
    for base in ("", "/api/v1_0"):
        assert await house.get(f"{base}/app_sessions/{app}") == (200, expected)
        assert await house.get(f"{base}/app_sessions/{app.upper()}") == (200, expected)
    _, listed = await house.get("/app_sessions")
    assert listed == {"total": 1, "results": [expected]}


async def test_b9_an_app_session_follows_the_sessions_of_its_channel(house: House) -> None:
    room = channel(house)
    first = house.registry.create(tenant=TENANT, made_by="channels", host="alice", channel=room)
    app = await register(house, channel=room.id)
    await first.end()
    second = house.registry.create(tenant=TENANT, made_by="channels", host="alice", channel=room)
    await log(house, app, "another sitting")
    _, body = await house.get(f"/app_sessions/{app}", token="admin")
    assert body["channelsSessions"] == [uuid_of_session(first.id), uuid_of_session(second.id)]


async def test_b9_to_b11_are_for_linked_users_hosts_of_the_channel_and_admins(house: House) -> None:
    room = channel(house, owner="bob")
    app = await register(house, channel=room.id)
    await link(house, app, "alice")
    for token in ("alice", "bob", "admin", "host"):
        assert (await house.get(f"/app_sessions/{app}", token=token))[0] == 200
        assert (await house.get(f"/app_sessions/{app}/logs", token=token))[0] == 200
        assert await found(house, token=token) == [app]
    for token in ("viewer", "stranger", "machine"):
        assert is_error(await house.get(f"/app_sessions/{app}", token=token), 403, "ACCESS_FORBIDDEN")
        assert is_error(await house.get(f"/app_sessions/{app}/logs", token=token), 403, "ACCESS_FORBIDDEN")
        assert await found(house, token=token) == []
    house.registry.rooms.set_role(room, "stranger", "host")
    assert await found(house, token="stranger") == [app]
    assert (await house.get(f"/app_sessions/{app}", token="stranger"))[0] == 200


async def test_b10_logs_are_text_in_the_order_of_their_indices(house: House) -> None:
    app = await register(house)
    await link(house, app)
    for data, index in (("third", 7), ("first", 0), ("second\nof two lines", 3), ("fourth", None)):
        assert await log(house, app, data, index) == (200, {})
    text = "first\nsecond\nof two lines\nthird\nfourth\n"
    status, body, response = await house.call("GET", f"/app_sessions/{app}/logs")
    assert (status, body) == (200, text)
    assert (response.content_type, response.charset) == ("text/plain", "utf-8")
    for accept, kind in (
        ("application/json", "application/json"),
        ("application/json;q=1, text/html", "application/json"),
        ("application/json, */*", "text/plain"),
        ("text/plain", "text/plain"),
        ("*/*", "text/plain"),
    ):
        _, body, response = await house.call("GET", f"/app_sessions/{app}/logs", headers={"Accept": accept})
        assert (body, response.content_type) == (text, kind)


async def test_b10_logs_can_be_searched(house: House) -> None:
    app = await register(house)
    await link(house, app)
    for data in ("ICE failed", "100% done", "ice restarted", "1000 done"):
        await log(house, app, data)
    assert await house.get(f"/app_sessions/{app}/logs?search=ice") == (200, "ICE failed\nice restarted\n")
    assert await house.get(f"/app_sessions/{app}/logs?search=0%25%20d") == (200, "100% done\n")
    assert await house.get(f"/app_sessions/{app}/logs?search=nothing") == (200, None)


async def test_b11_criteria_are_anded(house: House) -> None:
    room = channel(house)
    session = house.registry.create(tenant=TENANT, made_by="channels", host="alice", channel=room)
    one = await register(house, channel=room.id, started=1000, url="https://App.example/one")
    two = await register(house, started=2000, url="https://app.example/two_x", client="ios")
    three = await register(house, started=3000, url="https://other.example/")
    await link(house, one)
    await link(house, two, "bob")
    bob = house.registry.people.number_of(TENANT, "bob")
    assert await found(house) == [three, two, one]
    assert await found(house, "user=alice") == [one]
    assert await found(house, f"user={bob}") == [two]
    assert await found(house, "user=5") == []
    assert await found(house, f"channel={room.id}") == [one]
    assert await found(house, f"channelSession={uuid_of_session(session.id)}") == [one]
    assert await found(house, f"channelSession={session.id}") == [one]
    assert await found(house, "channelSession=nonsense") == []
    assert await found(house, "url=app.example") == [two, one]
    assert await found(house, "url=o_x") == [two]
    assert await found(house, "url=p_e") == []
    assert await found(house, "startedBefore=3000&startedAfter=1000") == [two]
    assert await found(house, "startedBefore=2000") == [one]
    assert await found(house, "url=example&startedAfter=1999&user=bob") == [two]
    assert await found(house, "url=other&user=bob") == []


async def test_b11_pages_and_totals(house: House) -> None:
    apps = [await register(house, started=number // 2) for number in range(10)]
    whole = await found(house)
    assert sorted(whole) == sorted(apps)
    _, page = await house.get("/app_sessions?limit=3&offset=8", token="admin")
    assert (page["total"], [item["id"] for item in page["results"]]) == (10, whole[8:])
    assert await house.get("/app_sessions?limit=0", token="admin") == (200, {"total": 10, "results": []})


@pytest.mark.parametrize(
    "query", ["limit=501", "limit=-1", "offset=x", "startedBefore=now", "startedAfter=-1", f"url={'x' * 2049}"]
)
async def test_b14_bad_queries_are_400(house: House, query: str) -> None:
    assert is_error(await house.get(f"/app_sessions?{query}"), 400, "BAD_REQUEST")


async def test_b12_register_gives_an_id_that_cannot_be_guessed(house: House) -> None:
    first, second = await register(house), await register(house)
    assert first != second
    assert UUID(first).version == 4
    status, _ = await house.post("/api/v1_0/app_sessions/new/web", {"started": 1, "url": ""})
    assert status == 200


@pytest.mark.parametrize(
    "body",
    [
        {}, {"started": 1}, {"url": "x"}, {"started": "1", "url": "x"}, {"started": 1.5, "url": "x"},
        {"started": -1, "url": "x"}, {"started": 2**63, "url": "x"}, {"started": 1, "url": "x" * 2049},
        {"started": 1, "url": "a\nb"}, {"started": 1, "url": "x", "channel": ""}, {"started": True, "url": "x"},
    ],
)  # fmt: skip
async def test_b12_bad_bodies_are_400(house: House, body: object) -> None:
    assert is_error(await house.post("/app_sessions/new/web", body), 400, "BAD_REQUEST")


async def test_b12_the_channel_must_exist_and_new_wins_over_an_id(house: House) -> None:
    body = {"started": 1, "url": "x", "channel": NOWHERE}
    assert is_error(await house.post("/app_sessions/new/web", body), 404, "CHANNEL_NOT_FOUND")
    assert is_error(await house.post(f"/app_sessions/new/{'x' * 257}", {"started": 1, "url": ""}), 400, "BAD_REQUEST")
    # G2: a client may be called "logs", and POST /app_sessions/new/logs registers it.
    assert UUID(await register(house, client="logs"))


async def test_b13_an_index_is_unique_and_repeating_it_changes_nothing(house: House) -> None:
    app = await register(house)
    await link(house, app)
    assert await log(house, app, "one", 1) == (200, {})
    assert await log(house, app, "one", 1) == (200, {})
    assert is_error(await log(house, app, "other", 1), 409, "INDEX_CONFLICT")
    assert is_error(await log(house, app, "one", 1, time=6), 409, "INDEX_CONFLICT")
    assert await house.get(f"/app_sessions/{app}/logs") == (200, "one\n")


async def test_b13_without_an_index_it_is_appended(house: House) -> None:
    app = await register(house)
    await link(house, app)
    for data, index in (("a", None), ("b", None), ("c", 10), ("d", None)):
        await log(house, app, data, index)
    assert await log(house, app, "d", 11) == (200, {})
    assert is_error(await log(house, app, "d", 10), 409, "INDEX_CONFLICT")
    assert await house.get(f"/app_sessions/{app}/logs") == (200, "a\nb\nc\nd\n")


async def test_b13_of_many_at_once_with_one_index_one_wins(house: House) -> None:
    app = await register(house)
    await link(house, app)
    answers = await asyncio.gather(*(log(house, app, f"from {number}", 4) for number in range(50)))
    assert sorted(status for status, _ in answers) == [200] + [409] * 49
    winner = [status for status, _ in answers].index(200)
    assert await house.get(f"/app_sessions/{app}/logs") == (200, f"from {winner}\n")


async def test_b13_of_many_at_once_one_wins_also_when_only_the_database_knows_it(house: House) -> None:
    """Between two books that share a database through one writer, as if memory had been lost in between."""
    database, writer = house.services.database, house.services.writer
    before = AppSessions(database, writer)
    app = before.register(TENANT, "web", "https://app.example/", 1)
    before.append(app, 5, "there", 0)
    await writer.settled()
    after = AppSessions(database, writer)

    async def append(data: str, index: int) -> bool:
        try:
            after.append(await after.get(TENANT, app.id), 5, data, index)
        except IndexTaken:
            return False
        return True

    outcomes = await asyncio.gather(*(append(data, 0) for data in ("other", "there", "third")))
    assert outcomes == [False, True, False]
    outcomes = await asyncio.gather(*(append(f"new {number}", 1) for number in range(20)))
    assert outcomes.count(True) == 1
    entries = await after.log(app.id)
    assert [entry.idx for entry in entries] == [0, 1]
    assert entries[0].data == "there"


async def test_b13_memory_is_bounded_and_what_was_forgotten_is_read_back(house: House) -> None:
    book = AppSessions(house.services.database, house.services.writer, kept=10)
    apps = [book.register(TENANT, "web", "https://app.example/", 1) for _ in range(5)]
    for app in apps:
        for index in range(6):
            book.append(await book.get(TENANT, app.id), 5, f"{index}", index)
        book.link_user(await book.get(TENANT, app.id), "alice")
    assert len(book) == 1
    again = await book.get(TENANT, apps[0].id)
    assert again is not apps[0]
    assert (again.next_index, again.size, again.users) == (6, 6, {"alice"})
    with pytest.raises(IndexTaken):
        book.append(again, 5, "x", 3)
    with pytest.raises(UnknownAppSession):
        await book.get("other/app", apps[1].id)


async def test_b13_bad_bodies_are_400_and_a_full_log_409(tmp_path: Path) -> None:
    limits = {"app_session_logs": 3, "app_session_log_length": 10, "app_session_size": 15}
    async for house in open_house(tmp_path, config=Config.model_validate({"api": limits})):
        app = await register(house)
        path = f"/app_sessions/{app}/logs"
        for body in ({"time": 1}, {"data": "x"}, {"time": "1", "data": "x"}, {"time": 1, "data": "x", "index": -1}):
            assert is_error(await house.post(path, body), 400, "BAD_REQUEST")
        assert is_error(await log(house, app, "x" * 11), 400, "BAD_REQUEST")
        assert (await log(house, app, "x" * 10, 2**63 - 1))[0] == 200
        assert is_error(await log(house, app, "next"), 409, "LOG_FULL")
        assert is_error(await log(house, app, "too big", 5), 409, "LOG_FULL")
        assert (await log(house, app, "a", 0))[0] == 200
        assert (await log(house, app, "b", 1))[0] == 200
        assert is_error(await log(house, app, "c", 2), 409, "LOG_FULL")
        assert (await log(house, app, "b", 1))[0] == 200


async def test_b19_the_list_has_whole_objects(house: House) -> None:
    app = await register(house)
    _, body = await house.get("/app_sessions", token="admin")
    assert body["results"][0].keys() == {"id", "clientId", "url", "started", "users", "channels", "channelsSessions"}
    assert body["results"][0]["id"] == app


async def test_b20_users_are_objects_with_an_id(house: House) -> None:
    app = await register(house)
    await link(house, app)
    _, body = await house.get(f"/app_sessions/{app}")
    assert body["users"][0]["id"] == house.registry.people.number_of(TENANT, "alice")


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[House]:
    """A house with `open_app_sessions`."""
    async for house in open_house(
        tmp_path / "opened", config=Config.model_validate({"api": {"open_app_sessions": True}})
    ):
        yield house


async def test_b26_without_a_token_only_when_configured(house: House, opened: House) -> None:
    body = {"started": 1, "url": "x"}
    assert is_error(await house.post("/app_sessions/new/web", body, token=None), 401, "UNAUTHORIZED")
    assert is_error(await log(house, await register(house), "data", token=None), 401, "UNAUTHORIZED")
    app = await register(opened, token=None)
    assert await log(opened, app, "data", token=None) == (200, {})
    assert is_error(await opened.post(f"/app_sessions/{app}/link/user", token=None), 401, "UNAUTHORIZED")
    assert is_error(await opened.get(f"/app_sessions/{app}/logs", token=None), 401, "UNAUTHORIZED")
    await link(opened, app)
    assert await opened.get(f"/app_sessions/{app}/logs") == (200, "data\n")
    assert is_error(await opened.post("/app_sessions/new/web", body, token="revoked"), 401, "UNAUTHORIZED")


async def test_logs_are_bounded_in_bytes_as_well_as_in_entries(house: House) -> None:
    book = AppSessions(house.services.database, house.services.writer, limits=LogLimits(size=4))
    app = book.register(TENANT, "web", "", 1)
    book.append(app, 1, "ää")
    assert app.size == 4
