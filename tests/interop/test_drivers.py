"""The drivers themselves, proven without a server: phones and SIPp that call each other directly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from . import tones
from .baresip import G722, OPUS, PCMU, Baresip, Codec, PhoneSettings
from .capture import Capture, read_message
from .linphone import Linphone, LinphoneSettings
from .program import absent
from .scenes import BareStage, Outcome, Scenes, own_network
from .sipp import Sipp

pytestmark = pytest.mark.interop
scenes: Scenes[BareStage] = Scenes()


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    @asynccontextmanager
    async def stage() -> AsyncIterator[BareStage]:
        async with own_network() as network:
            yield BareStage(network, tmp_path_factory.mktemp("drivers"))

    return scenes.play(request, stage)


@scenes.add
async def two_phones_hear_each_other(stage: BareStage) -> None:
    await _call_and_listen(stage, "two-phones", "udp", PCMU)


@scenes.add
async def two_phones_over_tcp_with_g722(stage: BareStage) -> None:
    await _call_and_listen(stage, "tcp", "tcp", G722)


@scenes.add
async def two_phones_with_opus(stage: BareStage) -> None:
    await _call_and_listen(stage, "opus", "udp", OPUS)


@scenes.add
async def the_capture_sees_udp_and_tcp(stage: BareStage) -> None:
    for transport in ("udp", "tcp"):
        folder = stage.folder / f"capture-{transport}"
        alice = await Baresip.start(PhoneSettings("alice", 400, transport=transport), folder / "a", stage.network)
        bob = await Baresip.start(
            PhoneSettings("bob", 700, transport=transport, auto_answer=True), folder / "b", stage.network
        )
        capture = _capture(stage, [alice.port, bob.port])
        try:
            await alice.dial(bob.uri)
            await alice.talk_begins()
            await alice.hang_up()
            last = await capture.wait_for(cseq_method="BYE", status=200)
        finally:
            await asyncio.gather(alice.stop(), bob.stop())
            capture.close()
        seen = [message.method or message.status for message in capture.find(call_id=last.call_id)]
        assert [one for one in seen if one != 100] == ["INVITE", 180, 200, "ACK", "BYE", 200]
        assert {message.transport for message in capture.messages} == {transport.upper()}, capture.ladder()


@scenes.add
async def sipp_calls_a_phone(stage: BareStage) -> None:
    folder = stage.folder / "sipp-uac"
    phone = await Baresip.start(PhoneSettings("bob", 700, auto_answer=True), folder / "b", stage.network)
    try:
        options = ("-m", "2", "-l", "1", "-d", "300", "-s", "bob")
        caller = Sipp(stage.network, folder / "s", "uac", *options, target=f"127.0.0.1:{phone.port}")
        counts = await caller.finished(10)
    finally:
        await phone.stop()
    assert (counts.successful, counts.failed) == (2, 0), caller.errors()


@scenes.add
async def a_phone_calls_trunks_of_sipp(stage: BareStage) -> None:
    folder = stage.folder / "sipp-uas"
    phone = await Baresip.start(PhoneSettings("bob", 700), folder / "b", stage.network)
    answers = await Sipp.trunk(stage.network, folder / "answers", "trunk_answers", "-rtp_echo", address="127.0.0.2")
    leaves = await Sipp.trunk(stage.network, folder / "leaves", "trunk_hangs_up", "-d", "500", address="127.0.0.2")
    busy = await Sipp.trunk(
        stage.network, folder / "busy", "trunk_refuses", address="127.0.0.2", status="486 Busy Here"
    )
    try:
        await phone.dial(f"sip:1@{answers.place}")
        talk = await phone.talk_begins()
        await asyncio.sleep(3)
        await phone.hang_up()
        await phone.talk_ends(talk)
        assert (await phone.heard(700)).share_of(talk.duration_s) >= 0.95
        await phone.dial(f"sip:1@{leaves.place}")
        await phone.event("CALL_CLOSED", "by peer")
        await phone.dial(f"sip:1@{busy.place}")
        await phone.event("CALL_CLOSED", "486")
    finally:
        await asyncio.gather(phone.stop(), answers.stop(), leaves.stop(), busy.stop())
    for trunk in (answers, leaves, busy):
        assert trunk.counts().failed == 0, trunk.errors()


@scenes.add
async def a_phone_registers_at_sipp(stage: BareStage) -> None:
    folder = stage.folder / "registrar"
    registrar = await Sipp.trunk(
        stage.network,
        folder / "s",
        "trunk_registrar",
        "-key",
        "user",
        "alice",
        "-key",
        "password",
        "right",
        address="127.0.0.2",
    )
    right = PhoneSettings("alice", 400, password="right", server=registrar.place)
    wrong = PhoneSettings("alice", 400, password="wrong", server=registrar.place, register=True)
    try:
        phone = await Baresip.start(right, folder / "right", stage.network)
        await phone.stop()
        with pytest.raises(AssertionError, match="registers"):
            await Baresip.start(wrong, folder / "wrong", stage.network)
    finally:
        await registrar.stop()


@scenes.add
async def linphone_and_baresip_call_each_other(stage: BareStage) -> None:
    folder = stage.folder / "linphone"
    bob = await Baresip.start(PhoneSettings("bob", 700), folder / "b", stage.network)
    try:
        carol = await Linphone.start(LinphoneSettings("carol", "", 400, ""), folder / "l", stage.network)
        try:
            carol.tell(f"call {bob.uri}")
            await bob.answer()
            talk = await bob.talk_begins()
            await asyncio.sleep(3)
            await bob.hang_up()
            await bob.talk_ends(talk)
            await carol.said("ended")
            await bob.dial(f"sip:carol@127.0.0.1:{carol.port}")
            await carol.said("incoming call")
            carol.tell("answer")
            await bob.talk_begins()
            carol.tell("terminate")
            await bob.event("CALL_CLOSED")
        finally:
            await carol.stop()
        files = sorted((bob.folder / "rec").glob("*-dec.wav"))
        assert tones.listen(files[0], 400).share_of(talk.duration_s) >= 0.95
        assert (await carol.heard(700)).tone_s >= 0.95 * talk.duration_s
    finally:
        await bob.stop()


@pytest.mark.parametrize("name", scenes.names())
def test_driver(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()


def test_a_tone_is_told_from_another_and_from_silence(tmp_path: Path) -> None:
    tones.write_tone(tmp_path / "tone.wav", 700, 2.0)
    assert tones.listen(tmp_path / "tone.wav", 700).tone_s == pytest.approx(2.0)
    assert tones.listen(tmp_path / "tone.wav", 750).tone_s == 0
    assert tones.quiet_share(tmp_path / "tone.wav", 0, 2) == 0
    tones.write_tone(tmp_path / "stereo.wav", 700, 1.0, channels=2, rate_hz=48_000)
    assert tones.listen(tmp_path / "stereo.wav", 700).tone_s == pytest.approx(1.0)


def test_the_capture_reads_messages_and_passes_over_noise() -> None:
    here, there = ("127.0.0.1", 5060), ("127.0.0.2", 5060)
    data = b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP h\r\nCSeq: 7 BYE\r\nf: <sip:a@b>\r\n ;tag=1\r\n\r\nbody"
    message = read_message(data, 1.0, "UDP", here, there)
    assert message is not None
    assert (message.status, message.method, message.cseq_method) == (200, "", "BYE")
    assert message.header("From") == "<sip:a@b> ;tag=1"
    assert message.header("via") == "SIP/2.0/UDP h"
    assert message.body == "body"
    assert read_message(b"\r\n\r\n", 1.0, "UDP", here, there) is None
    assert read_message(b"\0\0\0\0", 1.0, "UDP", here, there) is None


async def _call_and_listen(stage: BareStage, name: str, transport: str, codec: Codec) -> None:
    """A calls B, a digit, hold and resume, B hangs up; each has heard the other's tone."""
    folder = stage.folder / name
    alice, bob = await asyncio.gather(
        *(
            Baresip.start(PhoneSettings(user, hz, transport=transport, codec=codec), folder / user, stage.network)
            for user, hz in (("alice", 400), ("bob", 700))
        )
    )
    try:
        await alice.dial(bob.uri)
        await bob.answer()
        talk, other = await asyncio.gather(alice.talk_begins(), bob.talk_begins())
        await alice.press("5")
        await bob.event("CALL_DTMF_START", "5")
        await asyncio.sleep(4)
        await bob.hang_up()
        await asyncio.gather(alice.talk_ends(talk), bob.talk_ends(other))
        assert (await alice.heard(700)).share_of(talk.duration_s) >= 0.95
        assert (await bob.heard(400)).share_of(other.duration_s) >= 0.95
    finally:
        await asyncio.gather(alice.stop(), bob.stop())


def _capture(stage: BareStage, ports: list[int]) -> Capture:
    try:
        return Capture(stage.network, ports)
    except PermissionError:
        absent("the right to open raw sockets")
        raise
