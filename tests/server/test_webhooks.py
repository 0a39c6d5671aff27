"""Webhooks: endpoints, forms, signatures, failures, dead letters, and where they must not go."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import re
import sqlite3
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.app import Server
from server.delivery import webhook as module
from server.delivery.endpoints import Endpoints, checked_url
from server.delivery.forms import FORMS, MEETING_EVENTS
from server.delivery.outbox import Backoff
from server.delivery.webhook import Guard, is_refused, literal_address
from server.errors import ApiError
from server.sections import Config, Webhooks
from server.vault import Vault
from signalling import EVENT_KINDS, SummaryReady, TranscriptReady, uuid_of_peer, uuid_of_session

from .delivery.desk import until
from .house import House, open_house
from .test_app import ask, settings

DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"


def recipe() -> Callable[[str, Mapping[str, str], bytes], bool]:
    """The function that the documentation gives to receivers."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    function: Callable[[str, Mapping[str, str], bytes], bool] = names["is_from_ringway"]
    return function


is_from_ringway = recipe()


@dataclass
class Got:
    """A request that a receiver got."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def id(self) -> str:
        return self.headers["Ringway-Id"]

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body


@dataclass
class Receiver:
    """Somebody's server; `answers` are statuses for the next requests, then 200."""

    server: TestServer
    got: list[Got] = field(default_factory=list)
    answers: list[int | web.StreamResponse] = field(default_factory=list)
    broken: Callable[[Got], bool] = lambda got: False
    "Requests that are answered 500."
    hang: asyncio.Event | None = None

    @property
    def url(self) -> str:
        return str(self.server.make_url("/hook"))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        got = Got(request.path, request.headers, await request.read())
        self.got.append(got)
        if self.hang is not None:
            await self.hang.wait()
        if self.broken(got):
            return web.Response(status=500, text="oops")
        answer = self.answers.pop(0) if self.answers else 200
        return web.Response(status=answer) if isinstance(answer, int) else answer

    def kinds(self) -> list[str]:
        return [got.body["kind"] for got in self.got]


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    app = web.Application()
    server = TestServer(app, scheme="https" if context else "http")
    receiver = Receiver(server)
    app.router.add_post("/{any}", receiver.answer)
    await server.start_server(ssl=context)
    try:
        yield receiver
    finally:
        if receiver.hang is not None:
            receiver.hang.set()
        await server.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A house that may send to this machine, and tries again soon."""
    monkeypatch.setattr(module, "BACKOFF", Backoff(first_s=0.02, factor=1.0, attempts=4))
    monkeypatch.setattr(module, "TIME_LIMIT_S", 0.5)
    config = Config(webhooks=Webhooks(allow_private=True))
    async for house in open_house(tmp_path, config=config):
        yield house


async def make(house: House, receiver: Receiver, **fields: Any) -> dict[str, Any]:
    status, body = await house.post("/webhooks", {"url": receiver.url, **fields}, token="admin")
    assert status == 201, body
    hook: dict[str, Any] = body
    return hook


async def dead_letters(house: House) -> list[dict[str, Any]]:
    """Those there are, once there are any."""
    for _ in range(1000):
        _, page = await house.get("/webhooks/dead", token="admin")
        if page["deliveries"]:
            letters: list[dict[str, Any]] = page["deliveries"]
            return letters
        await asyncio.sleep(0.01)
    raise AssertionError("nothing died")


# Endpoints.


async def test_webhooks_are_made_listed_changed_and_removed(house: House) -> None:
    status, made = await house.post(
        "/webhooks", {"url": "https://example.net/hook", "kinds": ["leg.*", "session.ended"]}, token="admin"
    )
    assert status == 201
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert len(secret) >= 48
    assert (made["active"], made["format"], made["kinds"]) == (True, "ringway", ["leg.*", "session.ended"])
    path = f"/webhooks/{made['id']}"
    assert await house.get("/webhooks", token="admin") == (200, {"webhooks": [made]})
    assert await house.get(path, token="admin") == (200, made)
    status, changed = await house.patch(path, {"active": False, "kinds": []}, token="admin")
    assert (status, changed) == (200, {**made, "active": False, "kinds": [], "secret": None})
    status, changed = await house.patch(path, {"new_secret": True}, token="admin")
    assert changed["secret"] not in (None, secret)
    status, changed = await house.patch(path, {"secret": "of my own choosing"}, token="admin")
    assert status == 400, "no spaces in a secret"
    status, changed = await house.patch(path, {"secret": "of-my-own-choosing"}, token="admin")
    assert changed["secret"] == "of-my-own-choosing"
    assert (await house.delete(path, token="admin"))[0] == 200
    assert (await house.get(path, token="admin"))[0] == 404
    assert await house.get("/webhooks", token="admin") == (200, {"webhooks": []})


async def test_issue_9_webhooks_are_for_admins_and_of_their_tenant(house: House) -> None:
    _, made = await house.post("/webhooks", {"url": "https://example.net/hook"}, token="admin")
    path = f"/webhooks/{made['id']}"
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/webhooks", None),
        ("POST", "/webhooks", {"url": "https://example.net/"}),
        ("GET", path, None),
        ("PATCH", path, {"active": False}),
        ("DELETE", path, None),
        ("GET", "/webhooks/dead", None),
        ("POST", "/webhooks/dead/x/redeliver", None),
        ("POST", "/webhooks/dead/redeliver", None),
    ]
    for method, where, body in requests:
        for token, expected in ((None, 401), ("alice", 403), ("host", 403), ("expired", 401), ("revoked", 401)):
            assert (await house.call(method, where, json=body, token=token))[0] == expected
        if path == where:
            assert (await house.call(method, where, json=body, token="other-admin"))[0] == 404
    assert await house.get("/webhooks", token="other-admin") == (200, {"webhooks": []})
    assert (await house.get(path, token="admin"))[1]["active"] is True


async def test_what_is_no_webhook_is_refused(house: House) -> None:
    bad: list[Any] = [
        {},
        {"url": ""},
        {"url": 1},
        {"url": "ftp://example.net/"},
        {"url": "https://"},
        {"url": "https://user:pass@example.net/"},
        {"url": "https://example.net/#there"},
        {"url": "https://example.net/a b"},
        {"url": "https://example.net:99999/"},
        {"url": "https://[::1/"},
        {"url": "https://exämple.net/"},
        {"url": "https://example.net\\@127.0.0.1/"},
        {"url": "https://127%2e0.0.1/"},
        {"url": "https://[fe80::1%25eth0]/"},
        {"url": "https://example.net/" + "x" * 2048},
        {"url": "https://example.net/", "kinds": ["no.such"]},
        {"url": "https://example.net/", "kinds": "leg.*"},
        {"url": "https://example.net/", "kinds": ["leg.*"] * 65},
        {"url": "https://example.net/", "format": "xml"},
        {"url": "https://example.net/", "secret": "short"},
        {"url": "https://example.net/", "secret": "ümlaut-ümlaut-ümlaut"},
        {"url": "http://127.0.0.1/"},
        {"url": "http://2130706433/"},
        {"url": "http://[::ffff:169.254.169.254]/"},
    ]
    for body in bad:
        status, answer = await house.post("/webhooks", body, token="admin")
        assert (status, answer["error_code"]) == (400, "BAD_REQUEST"), body
    assert await house.get("/webhooks", token="admin") == (200, {"webhooks": []})


async def test_a_tenant_has_a_bounded_number(house: House) -> None:
    for _ in range(100):
        house.services.outward.endpoints.create("default/default", "https://example.net/")
    status, answer = await house.post("/webhooks", {"url": "https://example.net/"}, token="admin")
    assert (status, answer["error_code"]) == (409, "TOO_MANY_WEBHOOKS")


# Delivery.


async def test_issue_12_events_arrive_signed_in_order_and_in_the_one_form(office: House, receiver: Receiver) -> None:
    hook = await make(office, receiver)
    session = office.session("alice")
    for n in range(20):
        session.say("alice", f"{n} ü \U0001f600")
    await session.end()
    await until(lambda: len(receiver.got) >= 25)
    bodies = [got.body for got in receiver.got]
    assert [body["seq"] for body in bodies] == list(range(1, len(bodies) + 1))
    _, page = await office.get(f"/events/history?session={session.id}", token="admin")
    assert bodies == page["events"]
    assert len({got.id for got in receiver.got}) == len(bodies)
    for got in receiver.got:
        assert got.headers["Content-Type"] == "application/json"
        assert is_from_ringway(hook["secret"], got.headers, got.raw)
        assert not is_from_ringway("whsec_wrong", got.headers, got.raw)
        assert not is_from_ringway(hook["secret"], got.headers, got.raw + b" ")
        assert not is_from_ringway(hook["secret"], {**got.headers, "Ringway-Timestamp": "1"}, got.raw)


async def test_issue_12_only_what_is_asked_for_and_of_the_own_tenant_is_sent(office: House, receiver: Receiver) -> None:
    await make(office, receiver, kinds=["chat.*", "session.paused"])
    off = await make(office, receiver)
    await office.patch(f"/webhooks/{off['id']}", {"active": False}, token="admin")
    foreign = office.session("oscar", tenant="other/app")
    foreign.say("oscar", "elsewhere")
    session = office.session("alice")
    session.say("alice", "hi")
    await session.pause("alice")
    await session.resume("alice")
    session.say("alice", "bye")
    await until(lambda: len(receiver.got) >= 3)
    await office.services.writer.settled()
    assert receiver.kinds() == ["chat.sent", "session.paused", "chat.sent"]
    assert {got.body["session"] for got in receiver.got} == {session.id}


async def test_c16_webhooks_tell_of_pause_and_resume(office: House, receiver: Receiver) -> None:
    await make(office, receiver, kinds=["session.paused", "session.resumed"])
    session = office.session("alice")
    await session.pause("alice", "lunch")
    await session.resume("alice")
    await until(lambda: len(receiver.got) == 2)
    paused, resumed = (got.body for got in receiver.got)
    assert (paused["kind"], paused["data"]) == ("session.paused", {"paused_by": "alice", "reason": "lunch"})
    assert (resumed["kind"], resumed["data"]) == ("session.resumed", {"resumed_by": "alice"})


async def test_issue_12_a_failure_is_repeated_with_the_same_id_and_holds_up_its_session_alone(
    office: House, receiver: Receiver
) -> None:
    hook = await make(office, receiver, kinds=["chat.sent"])
    first, second = office.session("alice"), office.session("bob")
    failures = [500, 503, 404]
    receiver.broken = lambda got: got.body["data"]["payload"] == "bad" and bool(failures and failures.pop())
    first.say("alice", "bad")
    first.say("alice", "after")
    second.say("bob", "other")
    await until(lambda: len(receiver.got) == 6)
    payloads = [got.body["data"]["payload"] for got in receiver.got]
    assert payloads.count("bad") == 4
    assert payloads.index("other") < 5
    assert payloads[-1] == "after" or payloads[-2:] == ["after", "other"]
    bad = [got for got in receiver.got if got.body["data"]["payload"] == "bad"]
    assert len({got.id for got in bad}) == 1
    assert len({got.raw for got in bad}) == 1
    assert all(is_from_ringway(hook["secret"], got.headers, got.raw) for got in bad)


async def test_issue_12_dead_letters_are_listed_and_redelivered(office: House, receiver: Receiver) -> None:
    hook = await make(office, receiver, kinds=["chat.sent"])
    receiver.broken = lambda got: got.body["data"]["payload"] != "good"
    session = office.session("alice")
    for text in ("one", "two", "three", "good"):
        session.say("alice", text)
    await until(lambda: len(receiver.got) == 13)
    letters: list[Any] = []
    after = ""
    while True:
        status, page = await office.get(f"/webhooks/dead?limit=2{after}", token="admin")
        assert status == 200
        letters += page["deliveries"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert [json.loads(letter["body"])["data"]["payload"] for letter in letters] == ["one", "two", "three"]
    assert {(letter["attempts"], letter["kind"], letter["webhook"]) for letter in letters} == {
        (4, "webhook", hook["id"])
    }
    assert {letter["error"] for letter in letters} == {"500 Internal Server Error"}
    assert (await office.get(f"/webhooks/dead?webhook={hook['id']}", token="admin"))[1]["deliveries"] == letters
    assert (await office.get("/webhooks/dead?webhook=wh_0", token="admin"))[1]["deliveries"] == []
    assert (await office.get("/webhooks/dead?after=x", token="admin"))[0] == 400
    assert (await office.get("/webhooks/dead", token="other-admin"))[1]["deliveries"] == []
    again = f"/webhooks/dead/{letters[1]['id']}/redeliver"
    assert (await office.post(again, token="other-admin"))[0] == 404
    assert (await office.post("/webhooks/dead/dlv_0/redeliver", token="admin"))[0] == 404
    receiver.broken = lambda got: False
    assert await office.post(again, token="admin") == (200, {"count": 1})
    await until(lambda: len(receiver.got) == 14)
    assert receiver.got[-1].id == letters[1]["id"]
    await office.services.writer.settled()
    assert await office.post("/webhooks/dead/redeliver", token="admin") == (200, {"count": 2})
    await until(lambda: len(receiver.got) == 16)
    assert [got.body["data"]["payload"] for got in receiver.got[-2:]] == ["one", "three"]
    assert (await office.get("/webhooks/dead", token="admin"))[1] == {"deliveries": [], "next": None}


async def test_410_switches_a_webhook_off(office: House, receiver: Receiver) -> None:
    hook = await make(office, receiver, kinds=["chat.sent"])
    receiver.answers = [410]
    session = office.session("alice")
    session.say("alice", "one")
    await until(lambda: receiver.got and not _active(office, hook))
    session.say("alice", "two")
    await office.services.writer.settled()
    assert (await office.get(f"/webhooks/{hook['id']}", token="admin"))[1]["active"] is False
    _, page = await office.get("/webhooks/dead", token="admin")
    assert [letter["error"] for letter in page["deliveries"]] == ["410: the endpoint is gone, and is switched off"]
    assert len(receiver.got) == 1


def _active(house: House, hook: dict[str, Any]) -> bool:
    endpoint = house.services.outward.endpoints.get("default/default", hook["id"])
    return endpoint is not None and endpoint.active


async def test_redirects_are_not_followed_and_silence_has_a_limit(office: House, receiver: Receiver) -> None:
    await make(office, receiver, kinds=["chat.sent"])
    receiver.answers = [web.Response(status=307, headers={"Location": "/elsewhere"})] * 1
    session = office.session("alice")
    session.say("alice", "one")
    await until(lambda: len(receiver.got) == 2)
    assert {got.path for got in receiver.got} == {"/hook"}
    receiver.hang = asyncio.Event()
    session.say("alice", "two")
    await until(lambda: len(receiver.got) >= 4)
    receiver.hang.set()
    assert len({got.id for got in receiver.got[2:4]}) == 1


async def test_an_endless_answer_is_not_read(office: House, receiver: Receiver) -> None:
    written = 0

    class Endless(web.StreamResponse):
        async def prepare(self, request: web.BaseRequest) -> Any:
            nonlocal written
            await super().prepare(request)
            while True:
                await self.write(b"x" * 65536)
                written += 65536

    await make(office, receiver, kinds=["chat.sent"])
    receiver.answers = [Endless()]
    session = office.session("alice")
    session.say("alice", "one")
    session.say("alice", "two")
    await until(lambda: len(receiver.got) == 2)
    assert receiver.got[0].id != receiver.got[1].id, "its status was enough"
    assert written < 20_000_000


async def test_what_waits_for_a_removed_webhook_is_given_up(office: House, receiver: Receiver) -> None:
    hook = await make(office, receiver, kinds=["chat.sent"])
    receiver.answers = [500]
    session = office.session("alice")
    session.say("alice", "one")
    await until(lambda: receiver.got)
    await office.delete(f"/webhooks/{hook['id']}", token="admin")
    letters = await dead_letters(office)
    assert letters[0]["error"] == "the webhook was removed" or letters[0]["attempts"] >= 1


async def test_issue_12_calls_that_a_crash_interrupted_are_told_at_the_next_start(
    tmp_path: Path, receiver: Receiver
) -> None:
    config = settings(database={"data_dir": str(tmp_path)}, webhooks={"allow_private": True})
    server = Server(config)
    await server.start()
    try:
        status, _ = await ask(server, "POST", "/webhooks", {"url": receiver.url, "kinds": ["session.ended"]})
        assert status == 201
        assert server.parts is not None
        server.parts.registry.create(tenant="default/default", made_by="pbx", host="alice")
    finally:
        await server.stop()
    with closing(sqlite3.connect(tmp_path / "ringway.db")) as database:
        database.execute("UPDATE sessions SET kind = 'call'")  # without a call it would just go on
        database.commit()
    await server.start()
    try:
        await until(lambda: receiver.got)
    finally:
        await server.stop()
    assert [got.body["data"]["cause"] for got in receiver.got] == ["interrupted"]


# Forms.


async def test_b18_the_channel_dialects_form_and_signature(office: House, receiver: Receiver) -> None:
    hook = await make(office, receiver, format="horn", kinds=["participant.joined"])
    session = office.session("alice")
    session.client_id = "client-1"
    session.join("bob", display_name="Bob")
    await until(lambda: len(receiver.got) == 2)
    got = receiver.got[1]
    mac = hmac.digest(hook["secret"].encode(), got.raw, hashlib.sha256)
    assert got.headers["X-Horn-Signature"] == b64encode(mac).decode()
    assert is_from_ringway(hook["secret"], got.headers, got.raw)
    body = got.body
    _, page = await office.get(f"/events/history?session={session.id}&kind=participant.joined")
    told_at = datetime.fromisoformat(page["events"][1]["at"])
    assert body["parameters"].pop("time") == round(told_at.timestamp() * 1000)
    assert re.fullmatch(r"evt_\d+", body["parameters"].pop("id"))
    assert body == {
        "version": 1,
        "type": "participant.joined",
        "parameters": {
            "session": (await office.get(f"/sessions/{session.id}"))[1]["id"],
            "channel": session.channel_id,
            "clientId": "client-1",
            "seq": 3,
            "participant": 1,
            "user": "bob",
            "displayName": "Bob",
        },
    }


async def test_e17_realtimekits_events_and_links(office: House, receiver: Receiver) -> None:
    async def link(file: str, session_id: str) -> tuple[str, int]:
        return f"https://calls.example.net/{file}/{session_id}", 1_800_000_000_123

    office.services.outward.webhooks._links = link
    await make(office, receiver, format="realtimekit", kinds=["meeting.*", "participant.*"][1:] + list(MEETING_EVENTS))
    session = office.session("alice", name="weekly")
    session.say("alice", "hi")
    await session.end()
    session.emit(TranscriptReady, sentences=1)
    session.emit(SummaryReady)
    await until(lambda: len(receiver.got) == 7)
    bodies = {got.body["event"]: got.body for got in receiver.got}
    assert set(bodies) == set(MEETING_EVENTS.values())
    started = bodies["meeting.started"]["meeting"]
    assert started["id"] == session.channel_id
    assert started["sessionId"] == uuid_of_session(session.id)
    assert (started["title"], started["organizedBy"]) == ("weekly", {"id": "default", "name": "default"})
    for name in ("createdAt", "startedAt"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", started[name])
    ended = bodies["meeting.ended"]
    assert (ended["meeting"]["status"], ended["reason"]) == ("ENDED", "HOST_ENDED_MEETING")
    left = bodies["meeting.participantLeft"]["participant"]
    assert (left["peerId"], left["userDisplayName"]) == (uuid_of_peer(session.id, 0), "alice")
    assert {"joinedAt", "leftAt"} <= set(left)
    for event, file in (("chatSynced", "chat"), ("transcript", "transcript"), ("summary", "summary")):
        body = bodies[f"meeting.{event}"]
        assert body[f"{file}DownloadUrl"] == f"https://calls.example.net/{file}/{session.id}"
        assert body[f"{file}DownloadUrlExpiry"] == "2027-01-15T08:00:00.123Z"


def test_e17_kinds_may_be_named_as_realtimekit_does(silent: Silent) -> None:
    endpoints = Endpoints(silent, clock=time.time)
    endpoint = endpoints.create(
        "t", "https://example.net/", format="realtimekit", kinds=["meeting.chatSynced", "summary.ready"]
    )
    assert [kind for kind in EVENT_KINDS if endpoint.wants(kind)] == ["chat.synced", "summary.ready"]
    every = endpoints.create("t", "https://example.net/", format="realtimekit")
    assert {kind for kind in EVENT_KINDS if every.wants(kind)} == set(MEETING_EVENTS)


def test_docs_tell_the_formats_and_the_events_of_realtimekit() -> None:
    page = DOCS.read_text()
    told = re.findall(r"^\| `(meeting\.\w+)` \| `([a-z.]+)`", page, re.MULTILINE)
    assert {ours: theirs for theirs, ours in told} == MEETING_EVENTS
    for name in FORMS:
        assert f"**{name}** is" in page


# Where they may go.


async def test_a_name_that_leads_to_this_machine_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setattr(module, "BACKOFF", Backoff(attempts=1))
    async for house in open_house(tmp_path):
        url = receiver.url.replace("127.0.0.1", "localhost")
        status, _ = await house.post("/webhooks", {"url": url, "kinds": ["chat.sent"]}, token="admin")
        assert status == 201, "what a name means is found out at each attempt"
        house.session("alice").say("alice", "hi")
        letters = await dead_letters(house)
        assert "no address that a webhook may go to" in letters[0]["error"]
    assert receiver.got == []


REFUSED = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "255.255.255.255"),
    *("100.100.100.200", "::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    *("fd00:ec2::254", "64:ff9b::7f00:1", "2002:7f00:1::"),
)
ALLOWED = (
    *("10.0.0.1", "192.168.1.1", "172.16.0.1", "192.0.2.1", "8.8.8.8", "2001:db8::1", "fd00::1"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808"),
)


def test_addresses_of_this_machine_and_its_neighbourhood_are_refused() -> None:
    assert [text for text in REFUSED if not is_refused(ipaddress.ip_address(text))] == []
    assert [text for text in ALLOWED if is_refused(ipaddress.ip_address(text))] == []


def test_addresses_in_disguise_are_recognised() -> None:
    for host in ("127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "[::1]", "[fe80::1%25eth0]"):
        address = literal_address(f"http://{host}:8080/")
        assert address is not None, host
        assert is_refused(address), host
    assert literal_address("http://example.net/") is None
    guard = Guard()
    with pytest.raises(ApiError):
        guard.check("http://127.1/")
    guard.check("http://10.0.0.1/")
    Guard(allow_private=True).check("http://127.0.0.1/")


async def test_b18_https_needs_a_valid_certificate(office: House, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    async with receiving(context) as receiver:
        await make(office, receiver, kinds=["chat.sent"])
        office.session("alice").say("alice", "hi")
        letters = await dead_letters(office)
        assert "certificate" in letters[0]["error"].lower()
        assert receiver.got == []


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "self-signed.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


# Kept.


class Silent:
    """A writer that remembers."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def write(self, table: str, row: Mapping[str, Any], mode: str = "upsert") -> None:
        assert table == "webhooks"
        if mode == "delete":
            del self.rows[row["id"]]
        else:
            self.rows[row["id"]] = dict(row)


@pytest.fixture
def silent() -> Silent:
    return Silent()


def test_webhooks_are_restored_with_their_secrets_which_the_database_does_not_tell(
    silent: Silent, tmp_path: Path
) -> None:
    vault = Vault(tmp_path / "key")
    endpoints = Endpoints(silent, clock=lambda: 1.0, vault=vault)
    first = endpoints.create("t", "https://one.example/", kinds=["leg.*"])
    second = endpoints.change(endpoints.create("t", "https://two.example/"), active=False, url="https://2.example/")
    endpoints.remove(endpoints.create("t", "https://three.example/"))
    assert first.secret not in json.dumps(silent.rows)
    again = Endpoints(silent, clock=lambda: 2.0, vault=Vault(tmp_path / "key"))
    again.restore(silent.rows.values())
    assert again.of("t") == [first, second]
    stranger = Endpoints(silent, clock=lambda: 2.0, vault=Vault(tmp_path / "another"))
    stranger.restore(silent.rows.values())
    assert [endpoint.active for endpoint in stranger.of("t")] == [False, False]
    assert first.secret not in {endpoint.secret for endpoint in stranger.of("t")}


def test_a_kind_that_an_older_version_knew_is_passed_over(silent: Silent) -> None:
    endpoints = Endpoints(silent, clock=time.time)
    endpoint = endpoints.create("t", "https://example.net/", kinds=["leg.dtmf"])
    row = {**silent.rows[endpoint.id], "kinds": '["leg.dtmf", "old.kind"]'}
    endpoints.restore([row])
    assert [kind for kind in EVENT_KINDS if endpoints.of("t")[0].wants(kind)] == ["leg.dtmf"]
    endpoints.restore([{**row, "kinds": '["old.kind"]'}])
    assert [kind for kind in EVENT_KINDS if endpoints.of("t")[0].wants(kind)] == []


def test_urls_are_http_with_a_host_and_nothing_else() -> None:
    for url in ("http://example.net", "https://example.net:8443/a?b=c", "http://[2001:db8::1]/"):
        assert checked_url(url) == url
