"""Calls that a program asks for over HTTP: what is dialled, and what of it stands on the wire."""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from .capture import Seen, read_message
from .scenes import Outcome, Scenes
from .settings import USER_TOKEN, Settings
from .stage import HEARD_SHARE, Stage, heard_each_other, stage_with_server

pytestmark = pytest.mark.interop
scenes: Scenes[Stage] = Scenes()
TALK_S = 4.0
CARRIER = "127.0.2.1:5060"
NOBODY = "127.0.2.2:5060"

AUTO_ANSWER = {
    "ANSWER_MODE": ("Answer-Mode", r"Auto"),
    "CALL_INFO": ("Call-Info", r"<[^>]+>;answer-after=0"),
    "ALERT_INFO_AUTO_ANSWER_DELAY0": ("Alert-Info", r"<[^>]+>;info=alert-autoanswer;delay=0"),
    "ALERT_INFO_AUTO_ANSWER": ("Alert-Info", r'<[^>]+>;info="Auto Answer"'),
    "ALERT_INFO_INTERCOM": ("Alert-Info", r"<[^>]+>;info=intercom"),
}


def _settings() -> Settings:
    settings = Settings().add_extensions(1001, 60, allow=["0."])
    settings.trunks = [
        {
            "name": "carrier",
            "hosts": [f"sip:{CARRIER}"],
            "options_interval_s": 0,
            "from_host": "carrier.example",
            "pai": "caller",
        },
        {"name": "down", "hosts": [f"sip:{NOBODY}"], "options_interval_s": 1, "options_misses": 1},
    ]
    settings.routes = [
        {"pattern": "0.", "trunks": [{"trunk": "down", "priority": 1}, {"trunk": "carrier", "priority": 2}]}
    ]
    return settings


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    def stage() -> AbstractAsyncContextManager[Stage]:
        return stage_with_server(tmp_path_factory.mktemp("rest"), _settings())

    return scenes.play(request, stage)


async def _create(stage: Stage, caller: str, callee: str, **fields: Any) -> str:
    body = {"caller": caller, "callee": callee, "send_sdp": True, **fields}
    status, answer = await stage.server.post("/api/sessions", body)
    assert status == 200, answer
    session: str = answer["id"]
    return session


async def _ended(stage: Stage, session: str) -> None:
    """The session has left the list of active ones."""
    for _ in range(30):
        _, listed = await stage.server.get("/api/sessions?top=1000")
        if session not in [item["id"] for item in listed["items"]]:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"session {session} is still active")


@scenes.add
async def two_phones_are_joined(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2)
        session = await _create(stage, alice.settings.user, bob.settings.user, caller_display_name="Front desk")
        await alice.answer()
        await bob.answer()
        other, talk = await asyncio.gather(bob.talk_begins(), alice.talk_begins())
        await asyncio.sleep(1)
        status, shown = await stage.server.get(f"/api/sessions/{session}")
        (call,) = shown["calls"]
        assert status == 200
        assert (call["caller"], call["callee"], call["trunk"]) == (alice.settings.user, bob.settings.user, None)
        assert call["caller_display_name"] == "Front desk"
        assert call["talking_time"] in (0, 1, 2)
        bob_starts_at = other.established_at
        await asyncio.sleep(TALK_S)
        await bob.hang_up()
        await asyncio.gather(alice.talk_ends(talk), bob.talk_ends(other))
        talk.established_at = bob_starts_at  # before that, the caller heard ringing
        await heard_each_other(alice, talk, bob, other)
        await _ended(stage, session)


@scenes.add
async def the_caller_offers_when_it_is_sent_no_sdp(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2, auto_answer=True)
        await _create(stage, alice.settings.user, bob.settings.user, send_sdp=False)
        other, talk = await asyncio.gather(bob.talk_begins(), alice.talk_begins())
        (invite,) = stage.capture.find(method="INVITE", destination=("127.0.0.1", alice.port))
        assert invite.body == ""
        await asyncio.sleep(TALK_S)
        await bob.hang_up()
        await asyncio.gather(alice.talk_ends(talk), bob.talk_ends(other))
        talk.established_at = other.established_at
        await heard_each_other(alice, talk, bob, other)


@scenes.add
async def auto_answer_headers_go_where_they_should(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2, auto_answer=True)
        for kind, (header, pattern) in AUTO_ANSWER.items():
            for direction in ("CALLER", "CALLEE", "ALL", None):
                fields = {"additional_header": kind} | ({"header_direction": direction} if direction else {})
                count = len(stage.capture.find(method="INVITE"))
                session = await _create(stage, alice.settings.user, bob.settings.user, **fields)
                to_alice = await _invite_to(stage, ("127.0.0.1", alice.port), count)
                to_bob = await _invite_to(stage, ("127.0.0.1", bob.port), count)
                for invite, wanted in (
                    (to_alice, direction in ("CALLER", "ALL", None)),
                    (to_bob, direction in ("CALLEE", "ALL")),
                ):
                    values = invite.all_headers(header)
                    matches = [value for value in values if re.fullmatch(pattern, value)]
                    assert len(matches) == len(values) == wanted, (kind, direction, values)
                await stage.server.post(f"/api/sessions/{session}/destroy")
                await asyncio.gather(alice.event("CALL_CLOSED"), bob.event("CALL_CLOSED"))


async def _invite_to(stage: Stage, place: tuple[str, int], after: int) -> Seen:
    def is_new(seen: Seen) -> bool:
        return seen in stage.capture.find(method="INVITE")[after:]

    return await stage.capture.wait_for(method="INVITE", destination=place, where=is_new)


@scenes.add
async def a_call_through_a_trunk_is_rewritten(stage: Stage) -> None:
    async with stage.cast() as cast:
        carrier = await cast.trunk("trunk_answers", "-rtp_echo", place=CARRIER)
        (alice,) = await cast.phones(1, auto_answer=True)
        fields = {
            "trunk": "carrier",
            "caller_display_name": 'Ann "the boss"',
            "rewrite_from": "4930111",
            "rewrite_pai": "4930222",
            "rewrite_rpi": "4930333",
            "user_data": "order 66",
        }
        body = {"caller": alice.settings.user, "callee": "0123456", "send_sdp": True, **fields}
        status, plan = await stage.server.post("/api/sessions?dry_run=1", body)
        assert status == 200, plan
        assert not stage.capture.find(method="INVITE", destination=_carrier()), "a dry run sent something"
        session = await _create(stage, alice.settings.user, "0123456", **fields)
        talk = await alice.talk_begins()
        sent = await stage.capture.wait_for(method="INVITE", destination=_carrier())
        await asyncio.sleep(TALK_S)
        status, _ = await stage.server.post(f"/api/sessions/{session}/destroy")
        assert status == 200
        await alice.talk_ends(talk)
        assert re.match(r'"Ann \\"the boss\\"" <sip:4930111@carrier\.example>;tag=', sent.header("From"))
        assert re.fullmatch(r'("Ann \\"the boss\\"" )?<sip:4930222@[^>]+>', sent.header("P-Asserted-Identity"))
        rpi = sent.header("Remote-Party-ID")
        assert re.fullmatch(r".*<sip:4930333@[^>]+>;party=calling;screen=yes;privacy=off", rpi), rpi
        assert sent.uri.startswith("sip:0123456@127.0.2.1")
        _same_but_for_chance(_leg(plan, "CALLEE"), sent)
        first = stage.capture.find(method="INVITE", destination=("127.0.0.1", alice.port))[0]
        _same_but_for_chance(_leg(plan, "CALLER"), first)
        rules = {made["header"]: made["rule"] for made in _leg(plan, "CALLEE")["headers"]}
        assert "rewrite_from" in rules["From"]
        assert "rewrite_pai" in rules["P-Asserted-Identity"]
        assert "rewrite_rpi" in rules["Remote-Party-ID"]
        heard = await alice.heard(alice.settings.tone_hz)
        assert heard.tone_s >= HEARD_SHARE * (talk.duration_s - 0.5)
    assert carrier.counts().failed == 0, carrier.errors()


def _carrier() -> tuple[str, int]:
    address, _, port = CARRIER.rpartition(":")
    return address, int(port)


def _leg(plan: dict[str, Any], role: str) -> dict[str, Any]:
    (leg,) = [leg for leg in plan["legs"] if leg["role"] == role]
    found: dict[str, Any] = leg
    return found


def _same_but_for_chance(leg: dict[str, Any], sent: Seen) -> None:
    """The rehearsed INVITE and the one on the wire differ in nothing but their random parts."""
    rehearsed = read_message(leg["invite"].encode(), 0, sent.transport, sent.source, sent.destination)
    assert rehearsed is not None
    assert rehearsed.start_line == sent.start_line
    (headers, body), (sent_headers, sent_body) = _without_chance(rehearsed), _without_chance(sent)
    if leg["role"] == "CALLEE":  # by then the caller's answer has narrowed the codecs
        (formats,), (sent_formats,) = (re.findall(r"RTP/AVP(.*)", text) for text in (body, sent_body))
        assert set(sent_formats.split()) <= set(formats.split())
    else:
        assert body == sent_body
    assert [pair for pair in headers if pair not in sent_headers] == []
    assert headers == sent_headers
    told = {(made["header"], _plain(made["value"])) for made in leg["headers"]}
    unexplained = {name for name, _ in sent.headers} - {name for name, _ in told} - {"Via", "Content-Length"}
    assert not unexplained, f"no rule is given for {unexplained}"


def _without_chance(message: Seen) -> tuple[list[tuple[str, str]], str]:
    by_chance = ("Call-ID", "Content-Length")
    headers = [(name, "*" if name in by_chance else _plain(value)) for name, value in message.headers]
    body = re.sub(r"^(o=\S+) \d+ \d+", r"\1 * *", message.body, flags=re.MULTILINE)
    body = re.sub(r"^(m=audio) \d+", r"\1 *", body, flags=re.MULTILINE)
    return headers, re.sub(r"^a=(rtcp|ssrc):\d+", r"a=\1:*", body, flags=re.MULTILINE)


def _plain(value: str) -> str:
    return re.sub(r";(tag|branch)=[^;>\s]+", r";\1=*", value)


@scenes.add
async def rewriting_needs_the_named_trunk(stage: Stage) -> None:
    async with stage.cast() as cast:
        (alice,) = await cast.phones(1)
        body = {"caller": alice.settings.user, "callee": "0123456", "send_sdp": True, "rewrite_from": "4930111"}
        status, plan = await stage.server.post("/api/sessions?dry_run=1", body)
        assert status == 200, plan
        assert "4930111" not in _leg(plan, "CALLEE")["invite"]
        assert any("rewrite" in note for note in plan["notes"])


@scenes.add
async def a_trunk_that_answers_no_options_is_down(stage: Stage) -> None:
    async with stage.cast() as cast:
        (alice,) = await cast.phones(1)
        body = {"caller": alice.settings.user, "callee": "0123456", "send_sdp": True}
        await asyncio.sleep(3)
        status, plan = await stage.server.post("/api/sessions?dry_run=1", body)
        assert status == 200, plan
        leg = _leg(plan, "CALLEE")
        assert leg["trunk"] == "carrier"
        assert [skipped["trunk"] for skipped in leg["why_not"]] == ["down"]
        status, refusal = await stage.server.post("/api/sessions", {**body, "trunk": "down"})
        assert status == 503, refusal


@scenes.add
async def the_callee_that_fails_ends_the_caller(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2)
        session = await _create(stage, alice.settings.user, bob.settings.user)
        await alice.answer()
        await bob.event("CALL_INCOMING")
        await bob.hang_up()
        await alice.event("CALL_CLOSED", timeout_s=2)
        bye = await stage.capture.wait_for(method="BYE", destination=("127.0.0.1", alice.port))
        assert "486" in bye.header("Reason"), bye.header("Reason")
        await _ended(stage, session)


@scenes.add
async def the_caller_that_leaves_cancels_the_callee(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2)
        session = await _create(stage, alice.settings.user, bob.settings.user)
        await alice.answer()
        await bob.event("CALL_INCOMING")
        await alice.hang_up()
        await bob.event("CALL_CLOSED", timeout_s=2)
        await stage.capture.wait_for(method="CANCEL", destination=("127.0.0.1", bob.port))
        await _ended(stage, session)


@scenes.add
async def hold_and_destroy_by_rest(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2, auto_answer=True)
        session = await _create(stage, alice.settings.user, bob.settings.user)
        other, talk = await asyncio.gather(bob.talk_begins(), alice.talk_begins())
        for command, directions in (("hold", ("sendonly", "inactive")), ("unhold", ("sendrecv",))):
            status, answer = await stage.server.post(f"/api/sessions/{session}/{command}")
            assert status == 200, answer
            for phone in (alice, bob):
                await _reinvited(stage, ("127.0.0.1", phone.port), directions)
        await stage.server.post(f"/api/sessions/{session}/destroy")
        await asyncio.gather(alice.talk_ends(talk), bob.talk_ends(other))
        await _ended(stage, session)


async def _reinvited(stage: Stage, place: tuple[str, int], directions: tuple[str, ...]) -> None:
    def is_it(seen: Seen) -> bool:
        return "tag=" in seen.header("To") and any(f"a={name}" in seen.body for name in directions)

    await stage.capture.wait_for(method="INVITE", destination=place, where=is_it)


@scenes.add
async def a_token_dials_only_what_it_may(stage: Stage) -> None:
    async with stage.cast() as cast:
        (alice,) = await cast.phones(1)
        body = {"caller": alice.settings.user, "callee": "99123", "trunk": "carrier", "send_sdp": True}
        status, answer = await stage.server.post("/api/sessions", body, token=USER_TOKEN)
        assert status == 403, answer
        status, _ = await stage.server.post("/api/sessions", body, token="wrong-token-of-some-length")
        assert status == 401
        status, _ = await stage.server.post("/api/sessions", body, token="")
        assert status == 401
        assert not alice.saw("CALL_INCOMING")


@pytest.mark.parametrize("name", scenes.names())
def test_rest(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
