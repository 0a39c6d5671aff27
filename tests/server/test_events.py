"""Events as they happen, and afterwards: filters, resumption, who may see what, who is cut."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientResponse

from server import events as module
from server import tickets
from server.errors import ApiError
from server.events import BEHIND, Feed, FeedLimits, Filter, chunk, encode, kinds_of, position_of
from signalling import EVENT_KINDS, EventBus, Happening, Noted, Principal, Session, event_body, short_of_session

from .house import OTHER_TENANT, House, open_house

Event = dict[str, Any]
LIMIT_S = 20.0


@dataclass
class Stream:
    """The events of one stream, as they are read."""

    response: ClientResponse
    text: str = ""
    seen: list[Event] = field(default_factory=list)

    async def read(self, count: int) -> list[Event]:
        """Wait until `count` events in all have come."""
        async with asyncio.timeout(LIMIT_S):
            while len(self.seen) < count:
                data = await self.response.content.readany()
                assert data, f"the stream ended after {len(self.seen)} events"
                self._take(data.decode())
        return self.seen

    async def rest(self) -> list[Event]:
        """Read to the end of the stream."""
        async with asyncio.timeout(LIMIT_S):
            while data := await self.response.content.readany():
                self._take(data.decode())
        return self.seen

    def _take(self, data: str) -> None:
        self.text += data
        *blocks, self.text = self.text.split("\n\n")
        for block in blocks:
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "data" in lines:
                event = json.loads(lines["data"])
                assert (lines["id"], lines["event"]) == (event["id"], event["kind"])
                self.seen.append(event)

    @property
    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.seen]

    @property
    def positions(self) -> list[int]:
        return [int(event["id"][4:]) for event in self.seen]


@asynccontextmanager
async def stream(
    house: House, query: str = "", *, token: str | None = "alice", last: str | None = None
) -> AsyncIterator[Stream]:
    headers = {} if token is None else {"Authorization": f"Bearer {house.tokens[token]}"}
    headers |= {} if last is None else {"Last-Event-ID": last}
    async with house.client.get(f"/events{query}", headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        assert await response.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        await asyncio.sleep(0)
        yield Stream(response)


async def test_issue_12_a_stream_tells_what_happens_in_the_one_form_of_events(house: House) -> None:
    async with stream(house) as listening:
        session = house.session("alice", name="weekly")
        session.join("bob")
        session.say("bob", "hello\nthere")
        events = await listening.read(4)
        assert listening.kinds == ["session.started", "participant.joined", "participant.joined", "chat.sent"]
        assert [event["seq"] for event in events] == [1, 2, 3, 4]
        assert {event["session"] for event in events} == {session.id}
        assert {event["channel"] for event in events} == {session.channel_id}
        assert events[3]["data"]["payload"] == "hello\nthere"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", events[0]["at"])
        assert listening.positions == sorted(set(listening.positions))


async def test_c16_pause_and_resume_are_told_with_who_and_when(house: House) -> None:
    session = house.session("alice")
    async with stream(house, "?kind=session.paused,session.resumed") as listening:
        await session.pause("alice", "lunch")
        await session.resume("alice")
        paused, resumed = await listening.read(2)
    assert (paused["kind"], paused["data"]["paused_by"], paused["data"]["reason"]) == (
        "session.paused",
        "alice",
        "lunch",
    )
    assert (resumed["kind"], resumed["data"]["resumed_by"]) == ("session.resumed", "alice")
    assert paused["at"] <= resumed["at"]


async def test_issue_12_filters_by_session_channel_and_kind(house: House) -> None:
    first, second = house.session("alice"), house.session("alice")
    async with (
        stream(house, f"?session={short_of_session(first.id)}") as by_session,
        stream(house, f"?channel={second.channel_id}&kind=participant.*") as by_channel,
        stream(house, "?kind=chat.*,session.ended") as by_kind,
    ):
        for session in (first, second):
            session.join("bob")
            session.say("bob", "hi")
        await second.end()
        await first.end()
        assert [event["session"] for event in await by_session.read(5)] == [first.id] * 5
        await by_channel.read(3)
        assert by_channel.kinds == ["participant.joined", "participant.left", "participant.left"]
        await by_kind.read(4)
        assert by_kind.kinds == ["chat.sent", "chat.sent", "session.ended", "session.ended"]


async def test_what_is_no_filter_is_refused(house: House) -> None:
    bad = ("kind=leg", "kind=no.such", "kind=nothing.*", "kind=", "kind=leg.*,", "after=x", "kind=*&kind=*", "after=")
    for query in bad:
        for path in ("/events", "/events/history"):
            status, body = await house.get(f"{path}?{query}")
            assert (status, body["error_code"]) == (400, "BAD_REQUEST"), query
    for query in ("limit=0", "limit=501", "limit=x"):
        assert (await house.get(f"/events/history?{query}"))[0] == 400
    for session in ("", "x", "1", "sess_"):
        assert (await house.get(f"/events?session={session}"))[0] == 404
    assert (await house.call("GET", "/events", headers={"Last-Event-ID": "x"}))[0] == 400


async def test_a_session_of_nobody_of_others_and_of_another_tenant_cannot_be_listened_to(house: House) -> None:
    own, foreign = house.session("alice"), house.session("oscar", tenant=OTHER_TENANT)
    for path in ("/events", "/events/history"):
        assert (await house.get(f"{path}?session=1", token="stranger"))[0] == 404
        assert (await house.get(f"{path}?session={foreign.id}"))[0] == 404
        assert (await house.get(f"{path}?session={own.id}", token="stranger"))[0] == 403
        assert (await house.get(path, token=None))[0] == 401


async def test_issue_9_everybody_hears_of_what_they_may_see_and_of_nothing_else(house: House) -> None:
    async with (
        stream(house, token="admin") as admin,
        stream(house, token="viewer") as viewer,
        stream(house, token="stranger") as stranger,
        stream(house, token="other") as other,
    ):
        first = house.session("alice")
        await admin.read(2)
        second = house.session("stranger")
        first.join("stranger")
        foreign = house.session("oscar", tenant=OTHER_TENANT)
        await foreign.end()
        await first.end()
        await second.end()
        kinds = len(await admin.read(10))
        assert {event["session"] for event in admin.seen} == {first.id, second.id}
        assert [event["id"] for event in await viewer.read(kinds)] == [event["id"] for event in admin.seen]
        await other.read(4)
        assert {event["session"] for event in other.seen} == {foreign.id}
        # A stranger hears of a session from when it takes part.
        assert [event["id"] for event in await stranger.read(8)] == [event["id"] for event in admin.seen[2:]]


async def test_issue_12_last_event_id_resumes_from_memory(house: House) -> None:
    session = house.session("alice")
    async with stream(house) as listening:
        session.join("bob")
        (seen,) = await listening.read(1)
    session.say("bob", "one")
    session.say("bob", "two")
    async with stream(house, last=seen["id"]) as again:
        await again.read(2)
        session.say("bob", "three")
        events = await again.read(3)
    assert [event["data"]["payload"] for event in events] == ["one", "two", "three"]
    async with stream(house, f"?after={seen['id']}&kind=chat.sent") as by_query:
        assert len(await by_query.read(3)) == 3


async def test_issue_12_last_event_id_resumes_from_the_database_without_gap_or_double(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring is far too small, and events go on while the listener catches up."""
    feed = feed_of(house)
    feed._ring_size = 8
    session = house.session("alice")
    talking = True

    async def talk() -> None:
        while talking:
            session.say("alice", "x")
            await asyncio.sleep(0.0005)

    for _ in range(1300):
        session.say("alice", "x")
    assert len(feed._ring) <= 10
    task = asyncio.get_running_loop().create_task(talk())
    async with stream(house, last="evt_0", token="admin") as listening:
        await listening.read(1500)
        talking = False
        await task
        last = session.chat_count + 2
        await listening.read(last)
    assert [event["seq"] for event in listening.seen] == list(range(1, last + 1))
    assert listening.positions == sorted(set(listening.positions))


async def test_a_burst_larger_than_memory_reaches_a_listener_by_the_database(house: House) -> None:
    feed_of(house)._ring_size = 8
    session = house.session("alice")
    async with stream(house, token="admin") as listening:
        session.say("alice", "first")
        await listening.read(1)
        for n in range(100):
            session.say("alice", str(n))
        await listening.read(101)
        session.say("alice", "last")
        await listening.read(102)
    assert [event["seq"] for event in listening.seen] == list(range(3, 105))


async def test_history_and_stream_have_the_same_bodies_and_the_cursor_leads_through(house: House) -> None:
    async with stream(house, token="admin") as listening:
        session = house.session("alice", name="weekly")
        session.join("bob", display_name="Bob")
        for n in range(10):
            session.say("bob", f"{n} \u2028 \U0001f600")
        await session.pause("alice", None)
        await session.resume("alice")
        await session.end()
        live = list(await listening.read(18))
    stored: list[Event] = []
    after, pages = "", 0
    while True:
        status, page = await house.get(f"/events/history?session={session.id}&limit=7{after}")
        assert status == 200
        stored += page["events"]
        pages += 1
        after = f"&after={page['next']}"
        if not page["has_more"]:
            break
    live += [event for event in stored if event["kind"] == "chat.synced" and event not in live]
    assert stored == live
    assert pages == 3
    status, page = await house.get(f"/events/history?session={session.id}{after}")
    assert (status, page["events"], page["has_more"]) == (200, [], False)
    assert page["next"] == after.removeprefix("&after=")


async def test_the_database_shows_the_same_events_on_both_databases(tmp_path: Path, database_url: str) -> None:
    async for house in open_house(tmp_path, database_url=database_url):
        own, other = house.session("stranger"), house.session("alice")
        other.say("alice", "secret")
        _, page = await house.get("/events/history", token="stranger")
        assert [event["kind"] for event in page["events"]] == ["session.started", "participant.joined"]
        other.join("stranger")
        _, page = await house.get("/events/history?kind=chat.*,participant.joined", token="stranger")
        assert [event["session"] for event in page["events"]] == [own.id, other.id, other.id, other.id]
        _, page = await house.get(f"/events/history?channel={other.channel_id}&kind=chat.sent", token="admin")
        assert [event["data"]["payload"] for event in page["events"]] == ["secret"]
        feed_of(house).lost_to = feed_of(house).newest  # as if memory had nothing
        async with stream(house, last="evt_1", token="stranger") as listening:
            await listening.read(6)
        assert {event["session"] for event in listening.seen} == {own.id, other.id}


async def test_history_filters_and_shows_only_what_may_be_seen(house: House) -> None:
    own, other = house.session("stranger"), house.session("alice")
    house.session("oscar", tenant=OTHER_TENANT)
    other.say("alice", "secret")
    status, page = await house.get("/events/history", token="stranger")
    assert status == 200
    assert {event["session"] for event in page["events"]} == {own.id}
    other.join("stranger")
    _, page = await house.get("/events/history?kind=chat.*", token="stranger")
    assert [event["data"]["payload"] for event in page["events"]] == ["secret"]
    _, page = await house.get(f"/events/history?channel={own.channel_id}&kind=session.started", token="admin")
    assert [event["session"] for event in page["events"]] == [own.id]
    _, page = await house.get("/events/history", token="machine")
    assert page["events"] == []


async def test_history_finds_what_is_rare_among_many_in_bounded_steps(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.api import events as api
    from server.store.queries import events as queries

    monkeypatch.setattr(queries, "SCAN", 10)
    monkeypatch.setattr(api, "SCANS", 3)
    session = house.session("alice")
    for _ in range(95):
        session.say("alice", "x")
    await session.pause("alice", None)
    pages, after, found = 0, "", []
    while True:
        _, page = await house.get(f"/events/history?kind=session.paused{after}", token="admin")
        found += page["events"]
        after = f"&after={page['next']}"
        pages += 1
        if not page["has_more"]:
            break
    assert [event["kind"] for event in found] == ["session.paused"]
    assert pages == 4
    async with stream(house, "?kind=session.paused", last="evt_1", token="admin") as listening:
        feed_of(house).lost_to = feed_of(house).newest  # as if memory had nothing
        assert len(await listening.read(1)) == 1


async def ticket(house: House, token: str) -> str:
    """What a page puts into the address of its EventSource."""
    status, answer = await house.post("/events/tickets", token=token)
    assert (status, answer["expires_in_s"]) == (201, 60)
    return str(answer["ticket"])


async def test_12_a_ticket_is_heard_as_its_token_and_opens_nothing_else(house: House) -> None:
    theirs, mine = house.session("bob"), house.session("stranger")
    given = await ticket(house, "stranger")
    async with stream(house, f"?after=0&ticket={given}", token=None) as listening:
        mine.join("ann")
        theirs.join("ann")
        assert {event["session"] for event in await listening.read(3)} == {mine.id}
        last = listening.seen[0]["id"]
    async with stream(house, f"?ticket={given}", token=None, last=last) as again:
        assert [event["kind"] for event in await again.read(2)] == ["participant.joined"] * 2
    for method, path in (
        ("GET", "/events/history"), ("GET", "/api/sessions"), ("POST", "/events/tickets"), ("GET", "/channels"),
    ):  # fmt: skip
        status, _, response = await house.call(method, f"{path}?ticket={given}", token=None)
        assert (status, "WWW-Authenticate" in response.headers) == (401, True)
        assert (await house.call(method, path, token=given))[0] == 401
    assert (await house.get("/events?ticket=wrong", token=None))[0] == 401
    assert (await house.post("/events/tickets", token=None))[0] == 401


async def test_12_a_ticket_ends_soon_after_its_last_stream_and_with_its_token(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.api import events as api

    monkeypatch.setattr(module, "SWEEP_S", 0.02)
    monkeypatch.setattr(api, "HEARTBEAT_S", 0.05)
    assert house.services.authenticator is not None
    book = house.services.authenticator.tickets
    now = [0.0]
    monkeypatch.setattr(book, "_clock", lambda: now[0])
    given, late = await ticket(house, "alice"), await ticket(house, "alice")
    now[0] = 59.0
    async with stream(house, f"?ticket={given}", token=None):
        now[0] = 1000.0
        assert book.authorization(given) is not None
        assert (await house.get(f"/events?ticket={late}", token=None))[0] == 401
    await house.until(lambda: not any(known.streams for known in book._given.values()))
    now[0] = 1059.0
    assert book.authorization(given) is not None
    now[0] = 1061.0
    assert (await house.get(f"/events?ticket={given}", token=None))[0] == 401

    given = await ticket(house, "bob")
    async with stream(house, f"?ticket={given}", token=None) as listening:
        (key,) = [key for key in house.book.keys("default/default") if key.name == "bob"]
        house.book.revoke("default/default", key.id)
        assert await listening.rest() == []
    assert (await house.get(f"/events?ticket={given}", token=None))[0] == 401


def test_12_tickets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "MAX_TICKETS", 3)
    now = [0.0]
    book = tickets.Tickets(clock=lambda: now[0])
    given = [book.give("Bearer a") for _ in range(3)]
    with book.streaming(given[0]):
        given.append(book.give("Bearer a"))
        assert [book.authorization(text) is not None for text in given] == [True, False, True, True]
        now[0] = 100.0
        given.append(book.give("Bearer a"))
        assert [book.authorization(text) is not None for text in given] == [True, False, False, False, True]
    assert len(book._given) == 2


async def test_a_revoked_token_ends_its_stream(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.api import events as api

    monkeypatch.setattr(api, "HEARTBEAT_S", 0.05)
    async with stream(house, token="bob") as listening, stream(house, token="alice") as other:
        session = house.session("alice")
        await listening.read(2)
        (key,) = [key for key in house.book.keys("default/default") if key.name == "bob"]
        house.book.revoke("default/default", key.id)
        assert len(await listening.rest()) == 2
        session.join("bob")
        assert len(await other.read(3)) == 3


async def test_silence_is_broken_by_comments(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_S", 0.02)
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    async with stream(house) as listening:
        async with asyncio.timeout(LIMIT_S):
            assert await listening.response.content.readuntil(b"\n\n") == b":\n\n"


async def test_a_listener_that_leaves_is_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_S", 0.02)
    feed = feed_of(house)
    async with stream(house):
        assert feed.listeners == 1
    await house.until(lambda: feed.listeners == 0)
    assert feed._of_token == {}


async def test_listeners_are_bounded_for_a_token_and_in_all(house: House) -> None:
    feed_of(house)._limits = FeedLimits(listeners=3, a_token=2)
    async with stream(house), stream(house):
        status, body, response = await house.call("GET", "/events")
        assert (status, body["error_code"], response.headers["Retry-After"]) == (503, "TOO_MANY_LISTENERS", "5")
        async with stream(house, token="bob"):
            assert (await house.get("/events", token="viewer"))[0] == 503


async def test_http_1_0_gets_the_bare_bytes(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.client.port)
    try:
        writer.write(f"GET /events HTTP/1.0\r\nAuthorization: Bearer {house.tokens['alice']}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200")
        assert b"chunked" not in head.lower()
        assert await reader.readuntil(b"\n\n") == b"retry: 2000\n\n"
        house.session("alice")
        assert (await reader.readuntil(b"\n\n")).startswith(b"id: evt_")
    finally:
        writer.close()
        await writer.wait_closed()


async def test_streams_end_cleanly_when_the_server_stops(house: House) -> None:
    async with stream(house) as listening:
        session = house.session("alice")
        session.say("alice", "the last word")
        feed_of(house).close()
        await listening.rest()
        assert listening.kinds[-1] == "chat.sent"
        assert (await house.get("/events"))[0] == 503


async def test_one_that_stops_reading_is_cut_and_comes_back_with_nothing_lost(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_S", 0.02)
    monkeypatch.setattr(module, "STALL_S", 0.2)
    feed = feed_of(house)
    async with stream(house, token="admin") as listening:
        session = house.session("alice")
        await listening.read(1)
        # 40 MB: more than the sockets' buffers hold, while nobody reads.
        async with asyncio.timeout(LIMIT_S):
            while feed.listeners:
                for _ in range(20):
                    session.say("alice", "x" * 16_000)
                await asyncio.sleep(0.005)
        with pytest.raises((ClientError, ConnectionError)):
            await listening.rest()
        count = len(listening.seen)
        assert count < session.chat_count
    async with stream(house, token="admin", last=f"evt_{listening.positions[-1]}") as again:
        await again.read(session.chat_count + 2 - count)
    assert [event["seq"] for event in listening.seen + again.seen] == list(range(1, session.chat_count + 3))


def feed_of(house: House) -> Feed:
    """The feed behind /events."""
    return house.services.outward.feed


# Without a network.


class Pipe:
    """A socket that is read, or not."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.unread = 0
        self.closed = False
        self.reads = True

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if not self.reads:
            self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


def principal(name: str = "boss") -> Principal:
    return Principal(name, "admin", tenant="default/default")


def happening(session: Session, n: int, text: str = "") -> Happening:
    return Happening(10**15 + n, session, Noted, n, 1_800_000_000.0 + n, {"text": text or str(n)})


@pytest.fixture
def session() -> Session:
    def nothing(_session: Session) -> None:
        return None

    return Session(
        "1876946944000000001",
        bus=EventBus(),
        clock=time.monotonic,
        tenant="default/default",
        made_by="callsession",
        on_answer=nothing,
        on_end=nothing,
    )


async def test_an_event_is_encoded_once_for_all_and_the_same_bytes_go_to_those_with_the_same_filter(
    session: Session,
) -> None:
    feed = Feed()
    feed.lost_to = 0
    pipes = [Pipe() for _ in range(10)]
    for pipe in pipes:
        assert feed.go_live(feed.admit(principal(), Filter(), sees_all=True), 10**15, pipe)
    feed.follow(happening(session, 1))
    feed.follow(happening(session, 2))
    async with asyncio.timeout(LIMIT_S):
        while not all(pipe.written for pipe in pipes):  # noqa: ASYNC110 -- a pipe has no event
            await asyncio.sleep(0.001)
    expected = chunk(encode(event_body(happening(session, 1))) + encode(event_body(happening(session, 2))))
    assert all(pipe.written == [expected] for pipe in pipes)
    assert len({id(pipe.written[0]) for pipe in pipes}) == 1
    feed.close()


async def test_one_that_does_not_read_has_a_bounded_buffer_is_cut_by_time_or_by_the_ring(session: Session) -> None:
    now = [0.0]
    feed = Feed(ring=100, clock=lambda: now[0])
    feed.lost_to = 0
    deaf, good = Pipe(), Pipe()
    deaf.reads = False
    cut = feed.admit(principal(), Filter(), sees_all=True)
    kept = feed.admit(principal(), Filter(), sees_all=True)
    assert feed.go_live(cut, 10**15, deaf)
    assert feed.go_live(kept, 10**15, good)
    for n in range(60):
        feed.follow(happening(session, n + 1, "x" * 10_000))
        feed._tick()
    assert 128 * 1024 < deaf.unread < 150 * 1024
    assert not cut.ended.done()
    now[0] = 9.9
    feed._tick()
    assert not cut.ended.done()
    now[0] = 10.0
    feed._sweep()
    assert deaf.closed
    assert cut.ended.result() == "stopped reading"
    assert len(good.written) == 60

    slow = Pipe()
    slow.unread = 10**9
    behind = feed.admit(principal(), Filter(), sees_all=True)
    assert feed.go_live(behind, 10**15 + 60, slow)
    for n in range(200):
        feed.follow(happening(session, 100 + n))
    feed._tick()
    assert slow.closed
    assert behind.ended.result() == "fell behind"
    assert kept.ended.result() == BEHIND
    assert kept.position == 10**15 + 60
    kept.resume()
    assert feed.go_live(kept, 10**15 + 299, good)
    assert feed.go_live(feed.admit(principal(), Filter(), sees_all=True), 10**15 + 60, Pipe()) is False
    feed.close()
    assert kept.ended.result() == "the server stops"


def test_positions_are_read_from_ids_and_numbers() -> None:
    assert position_of("evt_12") == position_of("12") == 12
    assert [position_of(text) for text in ("", "evt_", "evt_x", "-1", "1" * 17, "evt_٣")] == [None] * 6


def test_kinds_are_names_and_beginnings() -> None:
    assert kinds_of("leg.*, session.ended") == (frozenset({"session.ended"}), ("leg.",))
    assert kinds_of("*") == (frozenset(), ())
    for text in ("", "leg", "leg.", "leg.an*", "LEG.*", ".*"):
        with pytest.raises(ApiError):
            kinds_of(text)


# The documentation.


def test_docs_tell_every_kind_with_all_its_data() -> None:
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
    told = {
        name: set(re.findall(r"`([a-z_]+)`", data))
        for name, data in re.findall(r"^\| `([a-z]+\.[a-z]+)` \|[^|]*\|([^|]*)\|$", page, re.MULTILINE)
    }
    common = {"session_id", "seq", "at"}
    assert told == {
        name: {field for field in kind.__dataclass_fields__ if field not in common}
        for name, kind in EVENT_KINDS.items()
    }
