"""Phones of two makes register at a server and call each other and its services through it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from . import tones
from .baresip import G722, OPUS, PCMA, PCMU, Baresip, Codec
from .capture import Seen
from .rtp_tap import RtpTap
from .scenes import Outcome, Scenes
from .server import Server
from .settings import Settings
from .stage import HEARD_SHARE, Cast, Stage, heard_each_other, meet, part, stage_with_server, tone_of

pytestmark = pytest.mark.interop
scenes: Scenes[Stage] = Scenes()
TALK_S = 6.0


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    def stage() -> AbstractAsyncContextManager[Stage]:
        return stage_with_server(tmp_path_factory.mktemp("phones"), Settings().add_extensions(1001, 60))

    return scenes.play(request, stage)


async def _talk(
    cast: Cast, *, callee_leaves: bool, transport: str = "udp", codec: Codec = PCMU, callee: Codec | None = None
) -> None:
    """Two phones talk, a digit crosses each way, one hangs up, both recordings are right."""
    (alice,) = await cast.phones(1, transport=transport, codec=codec)
    (bob,) = await cast.phones(1, transport=transport, codec=callee or codec)
    talk, other = await meet(alice, bob)
    await alice.press("5")
    await bob.event("CALL_DTMF_START", "5")
    await bob.press("9")
    await alice.event("CALL_DTMF_START", "9")
    await asyncio.sleep(TALK_S)
    if callee_leaves:
        await part(bob, other, alice, talk)
    else:
        await part(alice, talk, bob, other)
    await heard_each_other(alice, talk, bob, other)


@scenes.add
async def the_callee_hangs_up_first(stage: Stage) -> None:
    async with stage.cast() as cast:
        await _talk(cast, callee_leaves=True)


@scenes.add
async def the_caller_hangs_up_first_over_tcp(stage: Stage) -> None:
    async with stage.cast() as cast:
        await _talk(cast, callee_leaves=False, transport="tcp", codec=PCMA)


@scenes.add
async def opus_passes(stage: Stage) -> None:
    async with stage.cast() as cast:
        await _talk(cast, callee_leaves=True, codec=OPUS)


@scenes.add
async def g722_passes(stage: Stage) -> None:
    async with stage.cast() as cast:
        await _talk(cast, callee_leaves=False, codec=G722)


@scenes.add
async def opus_calls_g711(stage: Stage) -> None:
    async with stage.cast() as cast:
        await _talk(cast, callee_leaves=True, codec=OPUS, callee=PCMA)


@scenes.add
async def g722_calls_opus(stage: Stage) -> None:
    async with stage.cast() as cast:
        await _talk(cast, callee_leaves=False, codec=G722, callee=OPUS)


@scenes.add
async def g711_calls_g722(stage: Stage) -> None:
    async with stage.cast() as cast:
        await _talk(cast, callee_leaves=False, codec=PCMU, callee=G722)


@scenes.add
async def udp_calls_tcp(stage: Stage) -> None:
    async with stage.cast() as cast:
        (alice,) = await cast.phones(1, transport="udp")
        (bob,) = await cast.phones(1, transport="tcp")
        talk, other = await meet(alice, bob)
        await asyncio.sleep(TALK_S)
        await part(bob, other, alice, talk)
        await heard_each_other(alice, talk, bob, other)


@scenes.add
async def a_wrong_password_is_refused(stage: Stage) -> None:
    async with stage.cast() as cast:
        number = stage.extension()
        for transport in ("udp", "tcp"):
            phone = await cast.phone(number, password="wrong", transport=transport, await_registration=False)
            await phone.registration_refused()
            await phone.stop()
        accepted = stage.capture.find(cseq_method="REGISTER", status=200)
        assert not [seen for seen in accepted if f"sip:{number}@" in seen.header("To")]


@scenes.add
async def hold_and_resume(stage: Stage) -> None:
    """A held call is silent towards the one who holds it; after it is resumed both are heard again."""
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2)
        tap = RtpTap(stage.network, [*alice.rtp_ports, *bob.rtp_ports])
        try:
            talk, other = await meet(alice, bob)
            await asyncio.sleep(2)
            await alice.command("hold")
            held = await stage.capture.wait_for(method="INVITE", where=lambda seen: _sdp_to(seen, bob, "sendonly"))
            answer = await stage.capture.wait_for(
                status=200, call_id=held.call_id, where=lambda seen: seen.header("CSeq") == held.header("CSeq")
            )
            assert "a=recvonly" in answer.body
            await asyncio.sleep(2)
            await alice.command("resume")
            resumed = await stage.capture.wait_for(
                method="INVITE", where=lambda seen: seen.at > held.at and _sdp_to(seen, bob, "sendrecv")
            )
            await asyncio.sleep(3)
            await part(bob, other, alice, talk)
        finally:
            tap.close()
        assert not tap.between(held.at + 0.3, resumed.at, alice.rtp_ports), "the held party was still heard"
        for start, end in ((talk.established_at, held.at), (resumed.at, talk.closed_at)):
            for listener, speaker in ((alice, bob), (bob, alice)):
                tone_s = tap.tone_s(start, end, listener.rtp_ports, tone_of(speaker.settings.user))
                assert tone_s >= HEARD_SHARE * (end - start) - 0.1, (tone_s, end - start)


def _sdp_to(seen: Seen, phone: Baresip, direction: str) -> bool:
    return seen.destination == ("127.0.0.1", phone.port) and f"a={direction}" in seen.body


@scenes.add
async def the_caller_cancels(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2)
        await alice.dial(f"sip:{bob.settings.user}@127.0.0.1")
        await bob.event("CALL_INCOMING")
        await alice.event("CALL_RINGING")
        await alice.hang_up()
        await bob.event("CALL_CLOSED", timeout_s=1.0)
        cancel = await stage.capture.wait_for(method="CANCEL", destination=("127.0.0.1", bob.port))
        await stage.capture.wait_for(status=487, call_id=cancel.call_id, cseq_method="INVITE")
        await stage.capture.wait_for(
            status=487, destination=("127.0.0.1", alice.port), cseq_method="INVITE", where=lambda _: True
        )


@scenes.add
async def the_callee_is_busy(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob, carol = await cast.phones(3)
        talk, other = await meet(alice, bob)
        await carol.dial(f"sip:{bob.settings.user}@127.0.0.1")
        await carol.event("CALL_CLOSED", "486")
        await asyncio.sleep(1)
        assert not alice.saw("CALL_CLOSED"), "the third caller broke the call of the other two"
        await part(alice, talk, bob, other)


@scenes.add
async def the_callee_declines(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2)
        await alice.dial(f"sip:{bob.settings.user}@127.0.0.1")
        await bob.event("CALL_INCOMING")
        await bob.hang_up()
        await alice.event("CALL_CLOSED", "486")


@scenes.add
async def nobody_is_there(stage: Stage) -> None:
    async with stage.cast() as cast:
        (alice,) = await cast.phones(1)
        await alice.dial(f"sip:{stage.extension()}@127.0.0.1")
        await alice.event("CALL_CLOSED", "480")
        await alice.dial("sip:9999@127.0.0.1")
        await alice.event("CALL_CLOSED", "404")


@scenes.add
async def all_phones_of_an_extension_ring(stage: Stage) -> None:
    async with stage.cast() as cast:
        (alice,) = await cast.phones(1)
        number = stage.extension()
        desk, mobile = await cast.phone(number), await cast.phone(number, transport="tcp")
        await alice.dial(f"sip:{number}@127.0.0.1")
        await asyncio.gather(desk.event("CALL_INCOMING"), mobile.event("CALL_INCOMING"))
        await desk.command("accept")
        await mobile.event("CALL_CLOSED", timeout_s=2.0)
        talk, other = await asyncio.gather(alice.talk_begins(), desk.talk_begins())
        cancel = await stage.capture.wait_for(
            method="CANCEL", where=lambda seen: seen.transport == "TCP" and number in seen.uri
        )
        assert "cause=200" in cancel.header("Reason"), cancel.header("Reason")
        await part(desk, other, alice, talk)


@scenes.add
async def the_echo_test_gives_the_caller_back(stage: Stage) -> None:
    async with stage.cast() as cast:
        (alice,) = await cast.phones(1)
        await alice.dial("sip:600@127.0.0.1")
        talk = await alice.talk_begins()
        await asyncio.sleep(10)
        await alice.hang_up()
        await alice.talk_ends(talk)
        heard = await alice.heard(alice.settings.tone_hz)
        assert heard.tone_s >= 4.0, f"own tone for {heard.tone_s:.1f} s of {talk.duration_s:.1f} s"


@scenes.add
async def the_tone_service_plays_1_khz(stage: Stage) -> None:
    async with stage.cast() as cast:
        (alice,) = await cast.phones(1)
        await alice.dial("sip:601@127.0.0.1")
        talk = await alice.talk_begins()
        await asyncio.sleep(TALK_S)
        await alice.hang_up()
        await alice.talk_ends(talk)
        assert (await alice.heard(1000)).share_of(talk.duration_s) >= HEARD_SHARE


@scenes.add
async def linphone_calls_baresip_and_back(stage: Stage) -> None:
    async with stage.cast() as cast:
        (bob,) = await cast.phones(1)
        carol = await cast.linphone(stage.extension())
        carol.tell(f"call sip:{bob.settings.user}@127.0.0.1")
        await bob.answer()
        talk = await bob.talk_begins()
        await asyncio.sleep(TALK_S)
        await bob.hang_up()
        await bob.talk_ends(talk)
        await carol.said("ended")
        assert (await bob.heard(carol.settings.tone_hz)).share_of(talk.duration_s) >= HEARD_SHARE
        await bob.dial(f"sip:{carol.settings.user}@127.0.0.1")
        await carol.said("incoming call")
        carol.tell("answer")
        back = await bob.talk_begins()
        await asyncio.sleep(TALK_S)
        carol.tell("terminate")
        await bob.talk_ends(back)
        assert (await bob.heard(carol.settings.tone_hz)).share_of(back.duration_s) >= HEARD_SHARE
        await carol.stop()
        heard = tones.listen(carol.folder / "heard.wav", bob.settings.tone_hz)
        assert heard.tone_s >= HEARD_SHARE * (talk.duration_s + back.duration_s)


@scenes.add
async def nothing_of_the_phones_is_shown_to_the_other_side(stage: Stage) -> None:
    async with stage.cast() as cast:
        alice, bob = await cast.phones(2)
        talk, other = await meet(alice, bob)
        await part(alice, talk, bob, other)
        (mine,) = _first_invites(stage, source=("127.0.0.1", alice.port))
        (theirs,) = _first_invites(stage, destination=("127.0.0.1", bob.port))
        assert mine.call_id != theirs.call_id
        assert len(theirs.all_headers("Via")) == 1
        text = "\n".join(value for _, value in theirs.headers) + theirs.body
        assert str(alice.port) not in text, theirs
        assert "baresip" not in theirs.header("User-Agent")
        assert int(theirs.header("Max-Forwards")) == int(mine.header("Max-Forwards")) - 1


def _first_invites(stage: Stage, **wanted: object) -> list[Seen]:
    """INVITEs that begin a call, the one with credentials where the first was challenged."""
    seen = stage.capture.find(method="INVITE", **wanted)
    first = [one for one in seen if "tag=" not in one.header("To")]
    return [one for one in first if one.header("Authorization")] or first


@scenes.add
async def a_server_that_stops_ends_its_calls(stage: Stage) -> None:
    """A server of its own: on SIGTERM it says BYE to both sides and ends with status 0."""
    server = await Server.start(stage.network, stage.place_for("stopping"), Settings().add_extensions(1001, 60))
    own_stage = replace(stage, server=server)
    try:
        async with own_stage.cast() as cast:
            alice, bob = await cast.phones(2)
            talk, other = await meet(alice, bob)
            stopping = asyncio.create_task(server.stop())
            await asyncio.gather(alice.talk_ends(talk), bob.talk_ends(other))
            await stopping
    finally:
        server.program.kill()


@pytest.mark.parametrize("name", scenes.names())
def test_phones(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
