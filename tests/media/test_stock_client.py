"""aiortc's own RTCPeerConnection calls a phone that has G.711 alone: each hears the other, whatever the codecs."""

from __future__ import annotations

import asyncio
import audioop
from collections.abc import AsyncIterator

import pytest

from media import MediaConfig, MediaEngine

from .party import Party
from .test_webrtc_leg import TONE_HZ, browser, connected, level_hz, offered, until
from .tones import steady_share, tone

PHONE_HZ, RATE_HZ, FRAME = 700, 8000, 160


@pytest.fixture
async def engine() -> AsyncIterator[MediaEngine]:
    asyncio.get_running_loop().set_debug(False)
    engine = MediaEngine(MediaConfig(port_range=(47800, 47899), port_rest_s=0.0))
    yield engine
    engine.close()
    await until(lambda: engine.counts()["ports"] == 0)


async def speak(party: Party) -> None:
    """Say a tone until cancelled."""
    loop = asyncio.get_running_loop()
    due_at, at = loop.time(), 0
    while True:
        party.send(0, audioop.lin2ulaw(tone(PHONE_HZ, FRAME, RATE_HZ, at=at), 2))
        due_at, at = due_at + 0.02, at + FRAME
        await asyncio.sleep(due_at - loop.time())


async def heard(party: Party, packets: int) -> bytes:
    """So many packets as samples, after the first ten: the coder is still silent then, or swings in."""
    sound = b""
    for number in range(packets + 10):
        packet = await party.receive()
        assert packet.payload_type == 0
        if number >= 10:
            sound += audioop.ulaw2lin(packet.payload, 2)
    return sound


@pytest.mark.parametrize("codec", ["opus", "PCMU", "PCMA", "G722"])
async def test_16_each_hears_the_other(engine: MediaEngine, codec: str) -> None:
    peer, party = browser(codec), Party(7)
    leg = await offered(engine, peer)
    phone = engine.create_leg(codecs=["PCMU"])
    phone.receive_offer(party.sdp("0"))
    party.aim(phone.create_answer())
    engine.bridge(leg, phone)
    await connected(leg)
    speaking = asyncio.create_task(speak(party))
    try:
        assert steady_share(await heard(party, 50), TONE_HZ, RATE_HZ) > 0.9
        assert abs(await level_hz(peer) - PHONE_HZ) < 20
    finally:
        speaking.cancel()
    assert leg.codecs[0].name.lower() == codec.lower()
    party.close()
    await peer.close()
