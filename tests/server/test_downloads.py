"""Signed links and the files behind them, byte by byte (conformance E9-E11, E22-E24)."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from server.api.links import KEY_BYTES, LIFETIME_S, Links
from server.api.realtimekit_dialect import realtimekit_dialect
from server.api.session_files import NOBODY, Sentence, Speaker, chat_csv, iso, transcript
from server.artefacts import Artefacts
from server.auth import Authenticator
from server.errors import ApiError
from server.sections import Config
from server.store.queries.artefacts import CHAT_PAGE
from server.web import make_app
from signalling import Session, uuid_of_peer, uuid_of_session

from .house import ACCOUNT, APP, TENANT, House, open_house

BASE = f"/accounts/{ACCOUNT}/realtime/kit/{APP}/sessions"
HEADER = "id,participantId,sessionId,meetingId,displayName,pinned,isEdited,payloadType,payload,createdAt\n"


@dataclass
class Kit:
    """The dialect alone, over the parts of a house, with a clock that the test turns on."""

    house: House
    client: TestClient[web.Request, web.Application]
    artefacts: Artefacts
    ahead_s: list[float]

    async def link(self, session: Session, kind: str, **query: str) -> str:
        """Path and query of a link."""
        headers = {"Authorization": f"Bearer {self.house.tokens['admin']}"}
        path = f"{BASE}/{session.id}/{kind}"
        async with self.client.get(path, headers=headers, params=query) as response:
            data = (await response.json())["data"]
        url = next(value for name, value in data.items() if "url" in name.lower() and "xpiry" not in name)
        origin = f"http://127.0.0.1:{self.client.port}"
        assert url.startswith(f"{origin}/")
        return str(url.removeprefix(origin))

    async def fetch(self, link: str) -> tuple[int, bytes, ClientResponse]:
        """Without a token."""
        async with self.client.get(link) as response:
            return response.status, await response.read(), response

    async def text(self, session: Session, kind: str, **query: str) -> str:
        status, data, _ = await self.fetch(await self.link(session, kind, **query))
        assert status == 200
        return data.decode()


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    """A whole server, on each kind of database."""
    async for house in open_house(tmp_path, database_url=database_url):
        yield house


@pytest.fixture
async def kit(house: House) -> AsyncIterator[Kit]:
    """The dialect over a house's parts."""
    services = house.services
    parts = (services.registry, services.history, services.database, services.writer)
    artefacts = Artefacts(*parts)
    ahead = [0.0]
    dialect = realtimekit_dialect(
        *parts, artefacts, services.tokens, clock=services.clock, wall_clock=lambda: time() + ahead[0]
    )
    app = make_app([dialect], tokens=Authenticator(services.tokens), why_not_ready=lambda: None)
    async with TestClient(TestServer(app)) as client:
        yield Kit(house, client, artefacts, ahead)
    await artefacts.close()


def sitting(house: House) -> Session:
    session = house.session(channel=house.registry.rooms.create(TENANT, "Weekly"))
    session.participants[0].display_name = "Alice"
    session.join("bob", display_name='Bob "the builder"', custom_id="cust-890")
    return session


def spoken(session: Session) -> list[dict[str, Any]]:
    return [
        {"startTime": start, "endTime": end, "sentence": text, "peerData": {"id": uuid_of_peer(session.id, index)}}
        for start, end, text, index in ((3000, 4500, "Hi Alice", 1), (1000, 2500, "Hello everyone", 0))
    ]


async def talked(kit: Kit, session: Session) -> None:
    status, _ = await kit.house.post(f"{BASE}/{session.id}/transcript", spoken(session), token="admin")
    assert status == 200


# Chat.


async def test_e9_the_chat_is_a_csv_with_this_header(kit: Kit) -> None:
    session = sitting(kit.house)
    first = session.say("alice", "hello")
    second = session.say("bob", 'say "hi",\nplease\r\n', kind="FILE_MESSAGE")
    text = await kit.text(session, "chat")
    lines = text.split("\n")
    assert lines[0] + "\n" == HEADER
    at = iso(round(first.at * 1000))
    own = (uuid_of_peer(session.id, 0), uuid_of_session(session.id), session.channel_id)
    assert lines[1] == (
        f'"{first.id}","{own[0]}","{own[1]}","{own[2]}","Alice","false","false","TEXT_MESSAGE","hello","{at}"'
    )
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows[1]["payload"] == 'say "hi",\nplease\r\n'
    assert rows[1]["payloadType"] == "FILE_MESSAGE"
    assert rows[1]["displayName"] == 'Bob "the builder"'
    assert rows[1]["participantId"] == uuid_of_peer(session.id, 1)
    assert rows[1]["id"] == second.id
    assert len(rows) == 2


async def test_e22_no_chat_is_the_header_alone(kit: Kit) -> None:
    assert await kit.text(sitting(kit.house), "chat") == HEADER


async def test_e24_what_looks_like_a_formula_stays_as_it_is_and_is_quoted(kit: Kit) -> None:
    session = sitting(kit.house)
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("x")']
    for formula in formulas:
        session.say("alice", formula)
    text = await kit.text(session, "chat")
    assert [row["payload"] for row in csv.DictReader(io.StringIO(text, newline=""))] == formulas
    assert ',"=1+1",' in text


async def test_e9_a_long_chat_is_sent_in_pieces_and_whole(kit: Kit) -> None:
    session = sitting(kit.house)
    for number in range(2 * CHAT_PAGE + 1):
        session.say("alice", f"message {number}")
    status, data, response = await kit.fetch(await kit.link(session, "chat"))
    assert status == 200
    assert response.headers.get("Transfer-Encoding") == "chunked"
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert [row["payload"] for row in rows] == [f"message {number}" for number in range(2 * CHAT_PAGE + 1)]


async def test_e9_the_chat_is_that_of_the_moment_it_is_fetched(kit: Kit) -> None:
    session = sitting(kit.house)
    link = await kit.link(session, "chat")
    session.say("alice", "later")
    assert b"later" in (await kit.fetch(link))[1]


# Transcript.


async def test_e10_the_csv_has_no_header_and_quotes_every_field(kit: Kit) -> None:
    session = sitting(kit.house)
    await talked(kit, session)
    alice, bob = uuid_of_peer(session.id, 0), uuid_of_peer(session.id, 1)
    expected = (
        f'"1000","{alice}","alice","alice","Alice","Hello everyone"\n'
        f'"3000","{bob}","bob","cust-890","Bob ""the builder""","Hi Alice"\n'
    )
    assert await kit.text(session, "transcript") == expected
    assert await kit.text(session, "transcript", format="CSV") == expected


async def test_e10_json_has_the_peers_and_can_be_stored_again(kit: Kit) -> None:
    session = sitting(kit.house)
    await talked(kit, session)
    session.leave("bob")
    items = json.loads(await kit.text(session, "transcript", format="JSON"))
    assert [set(item) for item in items] == [{"startTime", "endTime", "sentence", "peerData"}] * 2
    alice, bob = (item["peerData"] for item in items)
    assert alice == {
        "id": uuid_of_peer(session.id, 0),
        "userId": "alice",
        "displayName": "Alice",
        "cpi": "alice",
        "joinedAt": iso(round(session.participants[0].joined_at * 1000)),
        "leftAt": "",
    }
    assert (bob["cpi"], bob["leftAt"]) == ("cust-890", iso(round((session.participants[1].left_at or 0) * 1000)))
    assert (items[0]["startTime"], items[0]["endTime"], items[0]["sentence"]) == (1000, 2500, "Hello everyone")
    status, _ = await kit.house.post(f"{BASE}/{session.id}/transcript", items, token="admin")
    assert status == 200
    assert json.loads(await kit.text(session, "transcript", format="JSON")) == items


async def test_e10_srt_and_vtt_name_who_speaks(kit: Kit) -> None:
    session = sitting(kit.house)
    await talked(kit, session)
    assert await kit.text(session, "transcript", format="SRT") == (
        "1\n00:00:01,000 --> 00:00:02,500\nAlice: Hello everyone\n\n"
        '2\n00:00:03,000 --> 00:00:04,500\nBob "the builder": Hi Alice\n'
    )
    assert await kit.text(session, "transcript", format="VTT") == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nAlice: Hello everyone\n\n"
        '00:00:03.000 --> 00:00:04.500\nBob "the builder": Hi Alice\n'
    )


def test_e10_a_cue_holds_its_text_on_one_line_and_no_markup_of_others() -> None:
    sentence = Sentence(3_723_004, 3_800_000, "a\n\n<b> & --> c", NOBODY)
    assert transcript([sentence], "SRT") == "1\n01:02:03,004 --> 01:03:20,000\na <b> & --> c\n"
    assert transcript([sentence], "VTT").endswith("\na &lt;b&gt; &amp; --&gt; c\n")
    assert transcript([sentence], "CSV") == '"3723004","","","","","a\n\n<b> & --> c"\n'
    named = Sentence(0, 1, "x", Speaker("p", "u", "c", "n", 0, None))
    assert transcript([named], "CSV") == '"0","p","u","c","n","x"\n'
    assert transcript([], "JSON") == "[]\n"


# Summary.


async def test_e11_the_summary_is_text_in_markdown(kit: Kit) -> None:
    session = sitting(kit.house)
    await talked(kit, session)
    await kit.house.post(f"{BASE}/{session.id}/summary", token="admin")
    while (await kit.artefacts.summary(session.id)).status != "COMPLETED":  # type: ignore[union-attr]  # it was asked for
        pass
    status, data, response = await kit.fetch(await kit.link(session, "summary"))
    assert status == 200
    assert response.content_type == "text/markdown"
    assert data.decode() == (
        '## Weekly\n\nSpeakers: Alice, Bob "the builder"\n\n- Alice: Hello everyone\n- Bob "the builder": Hi Alice\n'
    )


# Links.


async def test_e23_a_link_needs_no_token_and_only_opens_its_own_file(kit: Kit) -> None:
    session, other = sitting(kit.house), sitting(kit.house)
    await talked(kit, session)
    await talked(kit, other)
    link = await kit.link(session, "transcript")
    path, _, query = link.partition("?")
    assert (await kit.fetch(link))[0] == 200
    for forged in (
        path,
        f"{path}?{query[:-1]}",
        f"{path}?{query}A",
        f"{path}?{query.replace('expires=', 'expires=9')}",
        f"{path}?{query.replace('expires=', 'expires=0')}",
        f"{path.replace('.csv', '.json')}?{query}",
        f"{path.replace('transcript', 'chat')}?{query}",
        f"{path.replace(uuid_of_session(session.id), uuid_of_session(other.id))}?{query}",
        f"{path.replace(uuid_of_session(session.id), session.id)}?{query}",
        f"{path}?expires=x&signature=",
        f"{path}?signature=%ff&expires=%C2%B2",
    ):
        status, data, _ = await kit.fetch(forged)
        assert status == 403, forged
        assert json.loads(data)["success"] is False
        assert b"Hello" not in data
    assert (await kit.fetch(f"/downloads/sessions/{uuid_of_session(session.id)}/x.exe?{query}"))[0] == 403
    assert (await kit.fetch(f"{path}/../chat.csv?{query}"))[0] == 403


async def test_e23_a_link_expires_with_410_and_a_new_one_is_good(kit: Kit) -> None:
    session = sitting(kit.house)
    link = await kit.link(session, "chat")
    kit.ahead_s[0] = LIFETIME_S - 2
    assert (await kit.fetch(link))[0] == 200
    kit.ahead_s[0] = LIFETIME_S + 1
    status, data, _ = await kit.fetch(link)
    assert (status, json.loads(data)["errors"][0]["code"]) == (410, 410)
    assert (await kit.fetch(await kit.link(session, "chat")))[0] == 200


async def test_e23_the_expiry_is_told_as_it_is(kit: Kit) -> None:
    session = sitting(kit.house)
    headers = {"Authorization": f"Bearer {kit.house.tokens['admin']}"}
    async with kit.client.get(f"{BASE}/{session.id}/chat", headers=headers) as response:
        data = (await response.json())["data"]
    expires = int(data["chat_download_url"].partition("expires=")[2].partition("&")[0])
    assert data["chat_download_url_expiry"] == iso(expires * 1000)
    assert LIFETIME_S - 10 < expires - time() <= LIFETIME_S


async def test_e23_browsers_are_told_to_save_and_not_to_guess(kit: Kit) -> None:
    session = sitting(kit.house)
    await talked(kit, session)
    name = uuid_of_session(session.id)
    for kind, query, content_type, file in (
        ("chat", {}, "text/csv", f"chat-{name}.csv"),
        ("transcript", {"format": "JSON"}, "application/json", f"transcript-{name}.json"),
        ("transcript", {"format": "SRT"}, "application/x-subrip", f"transcript-{name}.srt"),
        ("transcript", {"format": "VTT"}, "text/vtt", f"transcript-{name}.vtt"),
    ):
        _, _, response = await kit.fetch(await kit.link(session, kind, **query))
        assert response.content_type == content_type
        assert response.charset == "utf-8"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{file}"'
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "private, no-store"
        assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_e23_links_outlive_the_process(tmp_path: Path) -> None:
    links = []
    for _ in range(2):
        async for house in open_house(tmp_path):
            session = sitting(house)
            _, body = await house.get(f"{BASE}/{session.id}/chat", token="admin")
            links.append(body["data"]["chat_download_url"].partition("/downloads")[2])
            await session.end()
            await house.services.writer.settled()
            for link in links:
                status, text = await house.get(f"/downloads{link}", token=None)
                assert (status, text) == (200, HEADER)


async def test_e23_a_configured_address_stands_before_the_links(tmp_path: Path) -> None:
    config = Config.model_validate({"api": {"public_url": "https://calls.example/", "link_lifetime_s": 60.0}})
    async for house in open_house(tmp_path, config=config):
        _, body = await house.get(f"{BASE}/{house.session().id}/chat")
        assert body["data"]["chat_download_url"].startswith("https://calls.example/downloads/sessions/")


async def test_e22_a_file_that_is_gone_is_404(kit: Kit) -> None:
    session = sitting(kit.house)
    await talked(kit, session)
    link = await kit.link(session, "transcript")
    kit.house.services.writer.write("transcripts", {"session_id": int(session.id)}, "delete")
    status, data, _ = await kit.fetch(link)
    assert (status, json.loads(data)["success"]) == (404, False)


async def test_a_client_that_goes_away_is_no_fault_of_ours(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    session = sitting(kit.house)
    for _ in range(2 * CHAT_PAGE):
        session.say("alice", "x" * 4000)
    link = await kit.link(session, "chat")
    async with kit.client.get(link) as response:
        await response.content.read(100)
        response.close()
    assert (await kit.fetch(link))[0] == 200
    assert "request_failed" not in capsys.readouterr().out


# By themselves.

KEY = bytes(range(KEY_BYTES))


def links(now: list[float], key: bytes = KEY) -> Links:
    return Links(key, clock=lambda: now[0], lifetime_s=100)


def refused(checker: Links, target: str) -> int:
    path, _, query = target.partition("?")
    given = dict(part.split("=", 1) for part in query.split("&"))
    try:
        checker.check(path, given["expires"], given["signature"])
    except ApiError as error:
        return error.status
    return 0


def test_e23_a_link_is_good_until_it_expires_for_whoever_has_the_key() -> None:
    now = [1000.5]
    link = links(now).make("/a/b.csv")
    assert link.expires_at == 1_100_000
    assert refused(links(now), link.target) == 0
    assert refused(links(now, bytes(KEY_BYTES)), link.target) == 403
    now[0] = 1099.9
    assert refused(links(now), link.target) == 0
    now[0] = 1100.0
    assert refused(links(now), link.target) == 410


def test_e23_every_change_of_a_link_is_seen() -> None:
    now = [1000.0]
    target = links(now).make("/a/b.csv").target
    for place, char in itertools.product(range(len(target)), "0x"):
        if target[place] == char or target[place] in "?&=" or place < 3:
            continue
        changed = target[:place] + char + target[place + 1 :]
        if "expires=" in changed and "signature=" in changed:
            assert refused(links(now), changed) == 403, changed


def test_instants_are_written_with_milliseconds() -> None:
    assert iso(1_675_248_668_039) == "2023-02-01T10:51:08.039Z"
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(-1) == "1969-12-31T23:59:59.999Z"


def test_no_messages_are_no_rows() -> None:
    assert chat_csv([], session_id="s", meeting_id="m") == ""
