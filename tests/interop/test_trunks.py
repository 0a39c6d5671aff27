"""Calls out through trunks and in from them: carriers played by SIPp and by a third phone."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from .capture import Capture
from .scenes import Outcome, Scenes
from .server import Server
from .settings import Settings
from .stage import HEARD_SHARE, Stage, heard_each_other, meet, part, stage_with_server

pytestmark = pytest.mark.interop
scenes: Scenes[Stage] = Scenes()
TALK_S = 4.0
SILENCE_S = 1.0  # answer_timeout_s of the silent trunk

# Every trunk has an address of its own, so that the capture tells them apart.
PLACES = {
    "echo": "127.0.1.1:5060",
    "leaves": "127.0.1.2:5060",
    "refused": "127.0.1.3:5060",
    "silent": "127.0.1.4:5060",
    "broken": "127.0.1.5:5060",
    "busy": "127.0.1.6:5060",
    "unknown": "127.0.1.7:5060",
    "spare-refused": "127.0.1.11:5060",
    "spare-silent": "127.0.1.12:5060",
    "spare-broken": "127.0.1.13:5060",
    "spare-busy": "127.0.1.14:5060",
    "member": "127.0.1.20:5060",
    "far": "127.0.0.1:5170",  # baresip sends RTP from 127.0.0.1 whatever address it is given
}
ROUTES = {
    "01.": ["echo"],
    "02.": ["leaves"],
    "03.": ["refused", "spare-refused"],
    "04.": ["silent", "spare-silent"],
    "05.": ["broken", "spare-broken"],
    "06.": ["busy", "spare-busy"],
    "07.": ["unknown", "spare-busy"],
    "08.": ["far"],
}
CALLER_ADDRESS = "127.0.1.30"  # from here calls come in
STRANGER = "127.0.1.99"  # belongs to no trunk
DID, DID_EXTENSION = "33199887766", "1090"


def _settings() -> Settings:
    settings = Settings().add_extensions(1001, 40, allow=["0."]).add_extensions(1090, 1).add_extensions(1095, 1)
    for name, place in PLACES.items():
        if name == "member":
            continue  # it has a server to itself
        trunk: dict[str, Any] = {"name": name, "hosts": [f"sip:{place}"], "options_interval_s": 0}
        if name == "silent":
            trunk["answer_timeout_s"] = SILENCE_S
        settings.trunks.append(trunk)
    settings.trunks.append(
        {
            "name": "inward",
            "hosts": [f"sip:{CALLER_ADDRESS}"],
            "options_interval_s": 0,
            "inbound_sources": [f"{CALLER_ADDRESS}/32"],
        }
    )
    for pattern, names in ROUTES.items():
        trunks = [{"trunk": name, "priority": priority} for priority, name in enumerate(names, 1)]
        settings.routes.append({"pattern": pattern, "trunks": trunks})
    settings.numbers.append({"number": DID, "to": DID_EXTENSION})
    settings.numbers.append({"number": "33600", "to": "600"})
    return settings


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    def stage() -> AbstractAsyncContextManager[Stage]:
        return stage_with_server(tmp_path_factory.mktemp("trunks"), _settings())

    return scenes.play(request, stage)


@scenes.add
async def a_phone_dials_out_and_the_carrier_echoes(stage: Stage) -> None:
    async with stage.cast() as cast:
        trunk = await cast.trunk("trunk_answers", "-rtp_echo", place=PLACES["echo"])
        (alice,) = await cast.phones(1)
        await alice.dial("sip:0123456@127.0.0.1")
        talk = await alice.talk_begins()
        await asyncio.sleep(TALK_S)
        await alice.hang_up()
        await alice.talk_ends(talk)
        heard = await alice.heard(alice.settings.tone_hz)
        assert heard.share_of(talk.duration_s) >= HEARD_SHARE
        invite = await stage.capture.wait_for(method="INVITE", destination=_place("echo"))
        assert invite.uri.startswith("sip:0123456@127.0.1.1")
        assert f"sip:{alice.settings.user}@" in invite.header("From")
        assert not invite.header("Authorization"), "the phone's credentials went to the carrier"
        bye = await stage.capture.wait_for(method="BYE", call_id=invite.call_id)
        assert bye.destination == _place("echo")
    assert trunk.counts().failed == 0, trunk.errors()


@scenes.add
async def the_carrier_hangs_up(stage: Stage) -> None:
    async with stage.cast() as cast:
        trunk = await cast.trunk("trunk_hangs_up", "-rtp_echo", "-d", "1000", place=PLACES["leaves"])
        (alice,) = await cast.phones(1)
        await alice.dial("sip:0223456@127.0.0.1")
        talk = await alice.talk_begins()
        await alice.talk_ends(talk)
        assert 0.3 <= talk.duration_s <= 2.0
    assert trunk.counts().failed == 0, trunk.errors()


@scenes.add
async def a_phone_dials_out_to_a_phone_behind_the_trunk(stage: Stage) -> None:
    async with stage.cast() as cast:
        far = await cast.trunk_phone("0823", *_place("far"))
        (alice,) = await cast.phones(1)
        talk, other = await meet(alice, far)
        await alice.press("7")
        await far.event("CALL_DTMF_START", "7")
        await asyncio.sleep(TALK_S)
        await part(far, other, alice, talk)
        await heard_each_other(alice, talk, far, other)


@scenes.add
async def a_trunk_calls_in_to_an_extension(stage: Stage) -> None:
    async with stage.cast() as cast:
        bob = await cast.phone(DID_EXTENSION, auto_answer=True)
        caller = cast.callers("uac", "-m", "1", "-d", "1500", "-s", DID, address=CALLER_ADDRESS)
        talk = await bob.event("CALL_ESTABLISHED")
        closed = await bob.event("CALL_CLOSED")
        counts = await caller.finished(10)
        assert (counts.successful, counts.failed) == (1, 0), caller.errors()
        assert 0.5 <= closed.at - talk.at <= 2.5
        invite = await stage.capture.wait_for(method="INVITE", destination=("127.0.0.1", bob.port))
        assert invite.uri.startswith(f"sip:{DID_EXTENSION}")


@scenes.add
async def a_number_that_is_not_ours_is_not_found(stage: Stage) -> None:
    async with stage.cast() as cast:
        for number in ("33100000000", "0123456"):  # the second one matches a route, which is for others
            caller = cast.callers("uac", "-m", "1", "-d", "100", "-s", number, address=CALLER_ADDRESS)
            counts = await caller.finished(10)
            assert counts.failed == 1
            place = (CALLER_ADDRESS, caller.port)
            await stage.capture.wait_for(status=404, destination=place, cseq_method="INVITE")


@scenes.add
async def a_did_may_lead_to_a_service(stage: Stage) -> None:
    async with stage.cast() as cast:
        caller = cast.callers("uac", "-m", "1", "-d", "300", "-s", "33600", address=CALLER_ADDRESS)
        counts = await caller.finished(10)
        assert (counts.successful, counts.failed) == (1, 0), caller.errors()


@scenes.add
async def a_stranger_never_reaches_a_trunk(stage: Stage) -> None:
    """From, Contact and Via may name a trunk or an extension as they like: the address counts."""
    with stage.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((STRANGER, 0))
        stranger.setblocking(False)
        port = stranger.getsockname()[1]
        for index, identity in enumerate((f"sip:x@{CALLER_ADDRESS}", "sip:1001@127.0.0.1", "sip:x@127.0.1.1")):
            for number in ("0123456", DID, "1001", "600"):
                text = _invite(stage, port, f"stranger-{index}-{number}", identity, number)
                stranger.sendto(text, ("127.0.0.1", stage.server.sip_port))
                answer = await stage.capture.wait_for(
                    call_id=f"stranger-{index}-{number}", cseq_method="INVITE", where=lambda seen: seen.status >= 200
                )
                assert answer.status in (401, 403, 407)
    invites = [seen for seen in stage.capture.find(method="INVITE") if "stranger" in "".join(map(str, seen.headers))]
    assert {seen.source[0] for seen in invites} == {STRANGER}


def _invite(stage: Stage, port: int, call_id: str, identity: str, number: str) -> bytes:
    body = "v=0\r\no=x 1 1 IN IP4 127.0.1.99\r\ns=-\r\nc=IN IP4 127.0.1.99\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    return (
        f"INVITE sip:{number}@{stage.server.place} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {STRANGER}:{port};branch=z9hG4bK{call_id}\r\nMax-Forwards: 70\r\n"
        f"From: <{identity}>;tag=1\r\nTo: <sip:{number}@{stage.server.place}>\r\nCall-ID: {call_id}\r\n"
        f"P-Asserted-Identity: <{identity}>\r\nContact: <{identity}>\r\nCSeq: 1 INVITE\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@scenes.add
async def an_extension_dials_only_what_it_may(stage: Stage) -> None:
    async with stage.cast() as cast:
        poor = await cast.phone("1095")
        await poor.dial("sip:0123999@127.0.0.1")
        await poor.event("CALL_CLOSED", "403")
    assert not [seen for seen in stage.capture.find(method="INVITE") if "0123999@127.0.1." in seen.uri]


@scenes.add
async def a_trunk_is_registered_with_digest(stage: Stage) -> None:
    """A server of its own, because the registrar has to be there first."""
    trunk = {"name": "member", "hosts": [f"sip:{PLACES['member']}"], "options_interval_s": 0}
    trunk |= {"register": True, "username": "member", "password": "open sesame"}
    async with stage.cast() as cast:
        keys = ("-key", "user", "member", "-key", "password", "open sesame")
        registrar = await cast.trunk("trunk_registrar", *keys, place=PLACES["member"])
        capture = Capture(stage.network, [_place("member")[1]])
        server = await Server.start(stage.network, stage.place_for("member"), Settings(trunks=[trunk]))
        try:
            answered = await capture.wait_for(cseq_method="REGISTER", status=200, source=_place("member"))
            request = capture.find(method="REGISTER", call_id=answered.call_id)[-1]
            assert 'username="member"' in request.header("Authorization")
            assert int(answered.header("Contact").rpartition("expires=")[2]) == 60
        finally:
            await server.stop()
            capture.close()
    assert registrar.counts().failed == 0, registrar.errors()


@scenes.add
async def a_refused_trunk_is_passed_over(stage: Stage) -> None:
    """Nobody listens at the first trunk: ICMP says so, and the second is tried at once."""
    await _falls_over(stage, "0323456", "refused", within_s=1.0)


@scenes.add
async def a_silent_trunk_is_passed_over(stage: Stage) -> None:
    """The first trunk takes the INVITE and says nothing for its time limit."""
    with stage.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(_place("silent"))
        await _falls_over(stage, "0423456", "silent", within_s=SILENCE_S + 1.0)


@scenes.add
async def a_trunk_that_says_503_is_passed_over(stage: Stage) -> None:
    async with stage.cast() as cast:
        await cast.trunk("trunk_refuses", place=PLACES["broken"], status="503 Service Unavailable")
        await _falls_over(stage, "0523456", "broken", within_s=1.0)


async def _falls_over(stage: Stage, number: str, first: str, within_s: float) -> None:
    async with stage.cast() as cast:
        spare = await cast.trunk("trunk_answers", "-rtp_echo", place=PLACES[f"spare-{first}"])
        (alice,) = await cast.phones(1)
        await alice.dial(f"sip:{number}@127.0.0.1")
        talk = await alice.talk_begins(timeout_s=within_s + 3)
        await alice.hang_up()
        await alice.talk_ends(talk)
        tried = await stage.capture.wait_for(method="INVITE", destination=_place(first))
        taken = await stage.capture.wait_for(method="INVITE", destination=_place(f"spare-{first}"))
        assert taken.at - tried.at <= within_s
        assert taken.call_id != tried.call_id
    assert spare.counts().failed == 0, spare.errors()


@scenes.add
async def busy_is_not_retried(stage: Stage) -> None:
    await _gives_up(stage, "0623456", "busy", "486 Busy Here")


@scenes.add
async def not_found_is_not_retried(stage: Stage) -> None:
    await _gives_up(stage, "0723456", "unknown", "404 Not Found")


async def _gives_up(stage: Stage, number: str, name: str, status: str) -> None:
    async with stage.cast() as cast:
        await cast.trunk("trunk_refuses", place=PLACES[name], status=status)
        (alice,) = await cast.phones(1)
        await alice.dial(f"sip:{number}@127.0.0.1")
        await alice.event("CALL_CLOSED", status[:3])
        await asyncio.sleep(1)
        assert len(stage.capture.find(method="INVITE", destination=_place(name))) == 1
        assert not [seen for seen in stage.capture.find(destination=_place("spare-busy")) if number in seen.uri]


def _place(name: str) -> tuple[str, int]:
    address, _, port = PLACES[name].rpartition(":")
    return address, int(port)


@pytest.mark.parametrize("name", scenes.names())
def test_trunks(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
