"""The engine with real sockets: relaying, learning, switching sources, digits, players, RTCP."""

from __future__ import annotations

import asyncio
import audioop
import gc
import random
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest
import uvloop

from media import MediaConfig, MediaEngine, MediaError, MediaLeg, NoPortsLeft
from media.engine import Bridge, Player
from media.rtcp import Report, ReportBlock, SenderInfo, compound, ntp_of, parse
from media.voice_leg import VoiceLeg

from .party import Packet, Party, offer, port_of, until

Make = Callable[[int], Party]


def join(engine: MediaEngine, a: Party, b: Party, formats: str = "0 8 101") -> tuple[VoiceLeg, VoiceLeg]:
    """A calls B: the usual order of offers and answers, then the bridge."""
    leg_a, leg_b = engine.create_leg(), engine.create_leg()
    leg_a.receive_offer(a.sdp(formats))
    b.aim(leg_b.create_offer(leg_a))
    leg_b.receive_answer(b.sdp(formats))
    a.aim(leg_a.create_answer(leg_b))
    engine.bridge(leg_a, leg_b)
    return leg_a, leg_b


def refused(leg: VoiceLeg, packets: int) -> bool:
    return leg.stats.packets_refused == packets


async def test_relays_both_ways_unchanged(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, leg_b = join(engine, a, b)
    for number in range(5):
        a.send(payload=bytes([number]) * 160)
        got = await b.receive()
        assert got == Packet(0, False, a.seq, a.timestamp, 0xA, bytes([number]) * 160)
        b.send(payload=bytes([100 + number]) * 160)
        assert (await a.receive()).payload == bytes([100 + number]) * 160
    assert leg_a.stats.packets_received == leg_b.stats.packets_sent == 5
    assert leg_a.stats.octets_received == leg_b.stats.octets_sent == 5 * 160
    assert leg_a.stats.packets_lost == 0
    assert leg_a.stats.remote == ("127.0.0.1", a.port)


async def test_payload_types_are_mapped(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, leg_b = engine.create_leg(), engine.create_leg()
    leg_a.receive_offer(a.sdp("96 101"))
    b.aim(leg_b.create_offer(leg_a))
    answer = b.sdp("99", "a=rtpmap:99 opus/48000/2")
    leg_b.receive_answer(answer)
    a.aim(leg_a.create_answer(leg_b))
    engine.bridge(leg_a, leg_b)
    a.send(96)
    assert (await b.receive()).payload_type == 99
    b.send(96)  # what we offered is what we are sent
    assert (await a.receive()).payload_type == 96


async def test_g711_is_converted_when_only_the_law_differs(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, leg_b = engine.create_leg(), engine.create_leg(codecs=["PCMA"])
    leg_a.receive_offer(a.sdp("0"))
    b.aim(leg_b.create_offer(leg_a))
    leg_b.receive_answer(b.sdp("8"))
    a.aim(leg_a.create_answer(leg_b))
    engine.bridge(leg_a, leg_b)
    pcm = struct.pack("160h", *(100 * n for n in range(160)))
    for _ in range(2):
        a.send(0, audioop.lin2ulaw(pcm, 2))
        got = await b.receive()
        assert got.payload_type == 8
        assert got.payload == audioop.lin2alaw(audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2), 2)


async def test_unknown_payload_types_and_junk_are_refused(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, _ = join(engine, a, b)
    a.send(0)
    await b.receive()
    a.send(18)
    a.send_raw(b"")
    a.send_raw(b"\x80\x00short")
    a.send_raw(b"\x00" * 40)
    a.send_raw(b"\x80" * 4000)
    a.send(0, b"good")
    assert (await b.receive()).payload == b"good"
    assert leg_a.stats.packets_refused == 5


async def test_hostile_packets_of_the_settled_source_do_no_harm(engine: MediaEngine, party: Make) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    chance = random.Random(7)
    a, b = party(0xA), party(0xB)
    leg_a, leg_b = engine.create_leg(), engine.create_leg(codecs=["PCMA"])
    leg_a.receive_offer(a.sdp("0 101"))
    b.aim(leg_b.create_offer(leg_a))
    leg_b.receive_answer(b.sdp("8 101"))
    a.aim(leg_a.create_answer(leg_b))
    engine.bridge(leg_a, leg_b)
    a.send()
    await b.receive()
    assert a.target is not None
    rtp, rtcp = a.target, (a.target[0], a.target[1] + 1)
    report = compound(Report(0xA, None, (ReportBlock(0xB, 0, 0, 0, 0, 0, 0),)), "name", goodbye=True)
    for number in range(2000):
        a.target = rtp if number % 3 else rtcp
        whole = (
            a.packet(chance.choice((0, 101)), chance.randbytes(chance.choice((0, 1, 4, 160)))) if number % 3 else report
        )
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        a.send_raw(bytes(data[: chance.choice((len(data), chance.randrange(len(data) + 1)))]))
        a.seq = (a.seq + 1) & 0xFFFF
        if number % 50 == 49:
            for _ in range(60):
                await asyncio.sleep(0)
            with suppress(BlockingIOError):
                while True:
                    b.socket.recv(4096)
    a.target = rtp
    for _ in range(3):
        a.send(0, b"\xff" * 160)
    while (await b.receive()).payload != b"\xd5" * 160:
        pass
    assert not faults
    leg_a.check(time.monotonic() + 1)
    leg_a.check(time.monotonic() + 20)


async def test_only_the_settled_source_is_heard(engine: MediaEngine, party: Make) -> None:
    a, b, stranger = party(0xA), party(0xB), party(0xC)
    leg_a, _ = join(engine, a, b)
    stranger.target = a.target
    stranger.send(0, b"before")  # same host, other port: taken while nobody better is heard
    assert (await b.receive()).payload == b"before"
    assert leg_a.stats.remote == ("127.0.0.1", stranger.port)
    a.send(0, b"mine")
    assert (await b.receive()).payload == b"mine"
    assert leg_a.stats.remote == ("127.0.0.1", a.port)
    stranger.send(0, b"after")
    stranger.ssrc, stranger.seq = a.ssrc, a.seq
    stranger.send(0, b"forged")
    a.send(0, b"mine again")
    assert (await b.receive()).payload == b"mine again"


async def test_an_offer_answer_lets_the_source_move(engine: MediaEngine, party: Make) -> None:
    a, moved, b = party(0xA), party(0xA2), party(0xB)
    leg_a, leg_b = join(engine, a, b)
    a.send()
    first = await b.receive()
    b.send()
    await a.receive()
    leg_a.receive_offer(moved.sdp(version=2))
    moved.aim(leg_a.create_answer(leg_b))
    moved.send(0, b"moved")
    got = await b.receive()
    assert got.payload == b"moved"
    assert (got.ssrc, got.seq, got.marker) == (first.ssrc, (first.seq + 1) & 0xFFFF, True)
    assert 0 < (got.timestamp - first.timestamp) & 0xFFFFFFFF < 8000
    b.send(0, b"to the new place")
    assert (await moved.receive()).payload == b"to the new place"
    a.send(0, b"from the old place")
    moved.send(0, b"second")
    assert (await b.receive()).payload == b"second"


async def test_a_new_ssrc_succeeds_a_silent_one(
    engine: MediaEngine, party: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = party(0xA), party(0xB)
    clock = [1000.0]
    monkeypatch.setattr("media.relay_leg._monotonic", lambda: clock[0])
    leg_a, _ = join(engine, a, b)
    a.send()
    first = await b.receive()
    a.ssrc, a.seq, a.timestamp = 0xA2, 40000, 99
    a.send(0, b"too early")
    await until(lambda: leg_a.stats.packets_refused == 1)
    clock[0] += 0.1
    a.send(0, b"still too early")
    await until(lambda: leg_a.stats.packets_refused == 2)
    clock[0] += 0.2
    a.send(0, b"late enough")
    got = await b.receive()
    assert got.payload == b"late enough"
    assert (got.ssrc, got.seq, got.marker) == (first.ssrc, (first.seq + 1) & 0xFFFF, True)
    assert got.timestamp - first.timestamp == pytest.approx(0.3 * 8000 + 160, abs=2)
    a.send(0, b"next")
    assert (await b.receive()).seq == (first.seq + 2) & 0xFFFF
    assert leg_a.stats.packets_lost == 0


async def test_a_new_ssrc_does_not_succeed_one_that_speaks(
    engine: MediaEngine, party: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = party(0xA), party(0xB)
    clock = [1000.0]
    monkeypatch.setattr("media.relay_leg._monotonic", lambda: clock[0])
    leg_a, _ = join(engine, a, b)
    for number in range(1, 5):
        a.ssrc = 0xA
        a.send(0, b"true")
        assert (await b.receive()).payload == b"true"
        clock[0] += 0.3
        a.ssrc = 0xBAD
        a.send(0, b"false")
        await until(partial(refused, leg_a, number))


async def test_18_a_stranger_who_speaks_first_is_refused(engine: MediaEngine, party: Make) -> None:
    a, b, stranger = party(0xA), party(0xB), Party(0xBAD, "127.0.0.9")
    leg_a, leg_b = join(engine, a, b)
    stranger.target = a.target
    stranger.send()
    await until(partial(refused, leg_a, 1))
    assert leg_b.stats.packets_sent == 0
    a.send(0, b"true")
    assert (await b.receive()).payload == b"true"
    assert leg_a.stats.octets_received == 4
    stranger.close()


async def test_octets_of_packets_of_all_sizes_are_counted(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, leg_b = join(engine, a, b)
    sizes = [160, 160, 80, 240, 80, 160, 160, 1]
    for size in sizes:
        a.send(0, bytes(size))
        await b.receive()
    assert (leg_a.stats.packets_received, leg_a.stats.octets_received) == (8, sum(sizes))
    assert (leg_b.stats.packets_sent, leg_b.stats.octets_sent) == (8, sum(sizes))
    engine.echo(leg_a, prompt=False)
    a.send(0, bytes(10))
    await a.receive()
    a.send(0, bytes(20))
    await a.receive()
    assert (leg_a.stats.packets_sent, leg_a.stats.octets_sent) == (2, 30)
    assert (leg_b.stats.packets_sent, leg_b.stats.octets_sent) == (8, sum(sizes))
    assert (leg_a.stats.packets_received, leg_a.stats.octets_received) == (10, sum(sizes) + 30)


async def test_loss_reordering_and_wrap_are_counted(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, _ = join(engine, a, b)
    a.seq = 65533
    for _ in range(4):
        a.send()
        await b.receive()
    assert leg_a.stats.packets_lost == 0
    a.seq += 3
    a.send()
    await b.receive()
    assert leg_a.stats.packets_lost == 3
    late = a.packet(0, b"late")
    a.send_raw(late[:2] + struct.pack(">H", a.seq - 2) + late[4:])
    await b.receive()
    assert leg_a.stats.packets_lost == 2


async def test_hold_stops_the_relay_and_resume_leaves_no_gap(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, leg_b = join(engine, a, b)
    a.send()
    last = await b.receive()
    leg_a.receive_offer(a.sdp(direction="inactive", version=2))
    assert "a=inactive" in (held := leg_b.create_offer(leg_a))
    assert port_of(held) == b.target[1] if b.target else False
    leg_b.receive_answer(b.sdp(direction="inactive", version=2))
    leg_a.create_answer(leg_b)
    assert leg_a.on_hold
    for _ in range(3):
        a.send(0, b"unheard")
    leg_a.receive_offer(a.sdp(version=3))
    leg_b.create_offer(leg_a)
    leg_b.receive_answer(b.sdp(version=3))
    # The held packets must have been read before the hold ends.
    await until(lambda: leg_a.stats.packets_received == 4)
    leg_a.create_answer(leg_b)
    a.send(0, b"heard")
    got = await b.receive()
    assert got.payload == b"heard"
    assert got.seq == (last.seq + 1) & 0xFFFF
    assert got.timestamp == a.timestamp  # time went on while we were held


async def test_digits_are_relayed_and_told_once(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, _ = join(engine, a, b)
    told: list[tuple[str, int]] = []
    leg_a.on_dtmf = lambda leg, digit, duration_ms: told.append((digit, duration_ms))
    a.send()
    await b.receive()
    start = a.timestamp
    for step in range(1, 4):
        a.timestamp = start
        a.seq += 1
        a.send_raw(a.packet(101, struct.pack(">BBH", 5, 10, 160 * step), marker=step == 1))
        got = await b.receive()
        assert (got.payload_type, got.marker, got.timestamp) == (101, step == 1, start)
    for _ in range(3):
        a.seq += 1
        a.send_raw(a.packet(101, struct.pack(">BBH", 5, 0x8A, 800)))
        await b.receive()
    assert told == [("5", 100)]
    assert leg_a.stats.packets_lost == 0


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_digit_that_does_not_count_is_neither_relayed_nor_told(
    engine: MediaEngine, party: Make, at_once: bool
) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, _ = join(engine, a, b)
    told: list[str] = []
    asked: list[str] = []

    def begins(leg: MediaLeg, digit: str) -> bool:
        asked.append(digit)
        return digit != "5"

    leg_a.on_dtmf_begin = begins
    leg_a.on_dtmf = lambda leg, digit, duration_ms: told.append(digit)
    a.send()
    last = await b.receive()
    for event in (5, 6):
        a.timestamp += 4000
        for step in range(1, 4):
            a.seq += 1
            end = 0x80 if at_once or step == 3 else 0
            a.send_raw(a.packet(101, struct.pack(">BBH", event, end | 10, 160 * step), marker=step == 1))
    got = [await b.receive() for _ in range(3)]
    assert [packet.payload[0] for packet in got] == [6, 6, 6]
    assert (asked, told) == (["5", "6"], ["6"])
    a.send()
    got.append(await b.receive())
    assert got[-1].payload_type == 0
    assert [packet.seq - last.seq for packet in got] == [1, 2, 3, 4]


async def test_digits_of_our_own_interrupt_the_relay(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    _, leg_b = join(engine, a, b)
    a.send()
    last = await b.receive()
    leg_b.send_dtmf("1#", 40)
    a.send(0, b"not now")
    events: list[Packet] = []
    while len(events) != 10:
        events.append(await b.receive())
    assert {event.payload_type for event in events} == {101}
    assert [event.seq for event in events] == [(last.seq + 1 + n) & 0xFFFF for n in range(10)]
    assert [event.marker for event in events] == [True, *[False] * 4] * 2
    assert {event.ssrc for event in events} == {last.ssrc}
    assert [event.payload[0] for event in events] == [1] * 5 + [11] * 5
    assert [event.payload[1] >> 7 for event in events] == [0, 0, 1, 1, 1] * 2
    assert [struct.unpack(">H", event.payload[2:])[0] for event in events] == [160, 320, 320, 320, 320] * 2
    assert len({event.timestamp for event in events[:5]}) == len({event.timestamp for event in events[5:]}) == 1
    assert events[5].timestamp - events[0].timestamp >= 0.12 * 8000
    await until(lambda: leg_b._writer is None)
    a.send(0, b"again")
    got = await b.receive()
    assert got.payload == b"again"
    assert got.seq == (events[-1].seq + 1) & 0xFFFF


async def test_digits_need_an_agreement(engine: MediaEngine, party: Make) -> None:
    leg = engine.create_leg()
    with pytest.raises(MediaError):
        leg.send_dtmf("1")
    leg.receive_offer(party(1).sdp("0 8"))
    leg.create_answer()
    with pytest.raises(MediaError):
        leg.send_dtmf("1")


@pytest.mark.parametrize("payload_type", [0, 8])
async def test_tone(engine: MediaEngine, party: Make, payload_type: int) -> None:
    a = party(0xA)
    leg = engine.create_leg()
    engine.tone(leg)
    leg.receive_offer(a.sdp(str(payload_type)))
    a.aim(leg.create_answer())
    packets = [await a.receive() for _ in range(10)]
    assert packets[0].marker
    assert not any(each.marker for each in packets[1:])
    assert {each.payload_type for each in packets} == {payload_type}
    for before, after in pairwise(packets):
        assert after.seq == (before.seq + 1) & 0xFFFF
        assert after.timestamp == (before.timestamp + 160) & 0xFFFFFFFF
        assert after.ssrc == before.ssrc
    decode = audioop.ulaw2lin if payload_type == 0 else audioop.alaw2lin
    pcm = decode(b"".join(each.payload for each in packets), 2)
    samples = struct.unpack(f"{len(pcm) // 2}h", pcm)
    crossings = sum(x < 0 <= y for x, y in pairwise(samples))
    assert crossings == pytest.approx(0.2 * 1000, abs=2)


async def test_echo_says_its_prompt_and_echoes(engine: MediaEngine, party: Make) -> None:
    a = party(0xA)
    leg = engine.create_leg()
    leg.receive_offer(a.sdp("8"))
    a.aim(leg.create_answer())
    engine.echo(leg)
    first = await a.receive()
    assert first.payload_type == 8
    assert engine.counts()["players"] == 1
    engine.echo(leg, prompt=False)
    assert engine.counts()["players"] == 0
    a.send(8, b"hear me")
    while (got := await a.receive()).payload != b"hear me":
        first = got
    assert got.ssrc == first.ssrc != 0xA
    assert got.seq == (first.seq + 1) & 0xFFFF
    a.send(8, b"and me")
    assert (await a.receive()).payload == b"and me"


async def test_echo_goes_quiet_while_held(engine: MediaEngine, party: Make) -> None:
    a = party(0xA)
    leg = engine.create_leg()
    leg.receive_offer(a.sdp("8"))
    a.aim(leg.create_answer())
    engine.echo(leg, prompt=False)
    a.send(8, b"one")
    assert (await a.receive()).payload == b"one"
    leg.receive_offer(a.sdp("8", direction="sendonly", version=2))
    assert "a=recvonly" in leg.create_answer()
    a.send(8, b"two")
    await until(lambda: leg.stats.packets_received == 2)
    leg.receive_offer(a.sdp("8", version=3))
    leg.create_answer()
    a.send(8, b"three")
    assert (await a.receive()).payload == b"three"


async def test_ringback_gives_way_to_the_bridge(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a = engine.create_leg()
    leg_a.receive_offer(a.sdp())
    a.aim(leg_a.create_answer())
    engine.ringback(leg_a)
    ring = await a.receive()
    leg_b = engine.create_leg()
    b.aim(leg_b.create_offer(leg_a))
    leg_b.receive_answer(b.sdp())
    engine.bridge(leg_a, leg_b)
    assert engine.counts() == {
        "legs": 2,
        "bridges": 1,
        "players": 0,
        "ports": 4,
        "ports_resting": 0,
    }
    b.send(0, b"voice")
    while (got := await a.receive()).payload != b"voice":
        ring = got
    assert (got.ssrc, got.seq) == (ring.ssrc, (ring.seq + 1) & 0xFFFF)
    assert got.marker
    assert got.ssrc != 0xB


async def test_bridging_again_is_harmless(engine: MediaEngine, party: Make) -> None:
    a, b = party(0xA), party(0xB)
    leg_a, leg_b = join(engine, a, b)
    bridge = engine.bridge(leg_a, leg_b)
    assert engine.bridge(leg_b, leg_a) is bridge
    assert engine.counts()["bridges"] == 1
    bridge.close()
    bridge.close()
    a.send(0, b"unheard")
    await until(lambda: leg_a.stats.packets_received == 1)
    engine.bridge(leg_a, leg_b)
    a.send(0, b"heard")
    assert (await b.receive()).payload == b"heard"
    leg_a.close()
    assert engine.counts()["bridges"] == 0
    leg_a.close()


async def test_closed_legs_leave_nothing_for_the_garbage_collector(engine: MediaEngine, party: Make) -> None:
    def alive() -> int:
        return sum(isinstance(each, VoiceLeg | Bridge | Player) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        for _ in range(3):
            a, b = party(0xA), party(0xB)
            leg_a, leg_b = join(engine, a, b)
            a.send()
            await b.receive()
            engine.echo(leg_a)
            engine.echo(leg_b, prompt=False)
            assert alive() > before
            leg_a.close()
            leg_b.close()
            del leg_a, leg_b
        assert alive() == before
    finally:
        gc.enable()


async def test_our_own_addresses_are_refused(engine: MediaEngine) -> None:
    leg, other = engine.create_leg(), engine.create_leg()
    with pytest.raises(MediaError, match="our own"):
        leg.receive_offer(offer(port=other.stats.local[1]))
    leg.create_offer()
    with pytest.raises(MediaError, match="our own"):
        leg.receive_answer(offer(port=leg.stats.local[1]))
    with pytest.raises(MediaError, match="IP version"):
        other.receive_offer(offer().replace("c=IN IP4 127.0.0.1", "c=IN IP6 ::1"))
    assert not leg.agreed


async def test_ports_run_out_and_rest() -> None:
    engine = MediaEngine(MediaConfig(port_range=(21300, 21303), port_rest_s=0.0))
    legs = [engine.create_leg(), engine.create_leg()]
    with pytest.raises(NoPortsLeft) as caught:
        engine.create_leg()
    assert caught.value.status == 503
    legs[0].close()
    again = engine.create_leg()
    assert again.stats.local[1] == int(legs[0].stats.local[1] or again.stats.local[1])
    engine.close()
    assert engine.counts() == {"legs": 0, "bridges": 0, "players": 0, "ports": 0, "ports_resting": 4}


async def test_silence_is_told_once_and_only_if_unexpected(engine: MediaEngine, party: Make) -> None:
    a = party(0xA)
    leg = engine.create_leg()
    told: list[str] = []
    leg.receive_offer(a.sdp())
    a.aim(leg.create_answer())
    now = time.monotonic()
    leg.check(now + 100)  # nobody asked yet
    leg.on_timeout = lambda which, reason: told.append(reason)
    leg.check(now + 100)
    leg.check(now + 159)
    assert not told
    leg.receive_offer(a.sdp(direction="sendonly", version=2))
    leg.create_answer()
    leg.check(now + 300)
    assert not told
    leg.receive_offer(a.sdp(version=3))
    leg.create_answer()
    leg.check(now + 301)
    leg.check(now + 360.9)
    assert not told
    leg.check(now + 361.1)
    leg.check(now + 500)
    assert told == ["no RTP for 60 s"]


async def test_rtcp_reports_our_counters_and_reads_theirs(engine: MediaEngine, party: Make) -> None:
    a, b, control = party(0xA), party(0xB), party(0xA)
    leg_a, leg_b = engine.create_leg(), engine.create_leg()
    leg_a.receive_offer(a.sdp("0 8 101", f"a=rtcp:{control.port}"))
    b.aim(leg_b.create_offer(leg_a))
    leg_b.receive_answer(b.sdp())
    a.aim(leg_a.create_answer(leg_b))
    engine.bridge(leg_a, leg_b)
    for _ in range(10):
        a.send()
        await b.receive()
    a.seq += 5
    a.send()
    await b.receive()
    b.send(0, b"x" * 160)
    await a.receive()
    now = time.monotonic()
    leg_a.check(now)
    leg_a.check(now + 8)
    (report,) = [each for each in parse(await control.receive_raw()) if isinstance(each, Report)]
    assert report.ssrc == 0xB  # the stream that A hears
    assert report.sender is not None
    assert (report.sender.packets, report.sender.octets) == (1, 160)
    assert abs(report.sender.ntp - ntp_of(time.time())) < 10 << 32
    (block,) = report.blocks
    assert (block.ssrc, block.lost, block.fraction_lost) == (0xA, 5, 5 * 256 // 16)
    assert block.highest == a.seq
    # Theirs.
    middle = ntp_of(time.time() - 0.25) >> 16 & 0xFFFFFFFF
    theirs = Report(
        0xA, SenderInfo(ntp_of(time.time()), 0, 1, 160), (ReportBlock(0xB, 0, 7, 1001, 80, middle, 65536 // 20),)
    )
    control.target = ("127.0.0.1", leg_a.stats.local[1] + 1)
    control.send_raw(compound(theirs, "a"))
    await until(lambda: leg_a.stats.rtt_ms is not None)
    assert leg_a.stats.rtt_ms == pytest.approx(200, abs=50)
    assert leg_a.stats.remote_packets_lost == 7
    assert leg_a.stats.remote_jitter_ms == 10
    leg_a.close()
    goodbye = list(parse(await control.receive_raw()))
    assert len(goodbye) == 2


async def test_answers_of_forks_follow_one_another(engine: MediaEngine, party: Make) -> None:
    a, b, fork = party(0xA), party(0xB), party(0xF)
    leg_a, leg_b = join(engine, a, b)
    b.send(0, b"early")
    early = await a.receive()
    fork.target = b.target
    leg_b.receive_answer(fork.sdp())
    fork.send(0, b"late")
    got = await a.receive()
    assert (got.payload, got.seq, got.ssrc) == (b"late", early.seq + 1, early.ssrc)
    a.send(0, b"back")
    assert (await fork.receive()).payload == b"back"
    assert leg_a.agreed


async def test_the_same_answer_again_does_not_unsettle(engine: MediaEngine, party: Make) -> None:
    a, b, stranger = party(0xA), party(0xB), party(0xC)
    _, leg_b = join(engine, a, b)
    b.send()
    await a.receive()
    leg_b.receive_answer(b.sdp())
    stranger.target = b.target
    stranger.send(0, b"stranger")
    b.send(0, b"b")
    assert (await a.receive()).payload == b"b"


@pytest.mark.parametrize(
    "scenario",
    [
        test_relays_both_ways_unchanged,
        test_an_offer_answer_lets_the_source_move,
        test_hold_stops_the_relay_and_resume_leaves_no_gap,
        test_digits_of_our_own_interrupt_the_relay,
        test_ringback_gives_way_to_the_bridge,
        test_rtcp_reports_our_counters_and_reads_theirs,
    ],
)
def test_on_uvloop(scenario: Callable[[MediaEngine, Make], Awaitable[None]], party: Make) -> None:
    async def run() -> None:
        engine = MediaEngine(MediaConfig(port_range=(21400, 21499)))
        await scenario(engine, party)
        engine.close()

    uvloop.run(run(), debug=True)
