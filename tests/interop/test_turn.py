"""Calls that reach us through Debian's coturn alone, with the credentials that we hand out."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)

from media import MediaConfig, MediaEngine
from server.api.ice_servers import password_of
from server.sections import IceServer
from tests.media.test_webrtc_leg import TONE_HZ, Tone, level_hz, until

from .coturn import Coturn
from .network import Network
from .scenes import needs_namespaces

pytestmark = pytest.mark.interop

ADDRESS = "127.0.0.2"
SECRET = "only-for-this-test"
EXPIRED = -5.0
FRESH = 60.0


def test_16_a_client_that_is_relayed_only(tmp_path: Path) -> None:
    """aiortc offers nothing but its address at the TURN server; it hears its echo."""
    needs_namespaces()
    network = Network.private()
    try:
        with network.entered():
            asyncio.run(_scene(network, tmp_path))
    finally:
        network.close()


async def _scene(network: Network, folder: Path) -> None:
    coturn = await Coturn.start(network, folder, ADDRESS, SECRET)
    engine = MediaEngine(MediaConfig(bind_host="127.0.0.1", port_range=(46300, 46319), port_rest_s=0.0))
    try:
        peer = _peer(coturn, FRESH)
        await peer.setLocalDescription(await peer.createOffer())
        offer = peer.localDescription.sdp
        candidates = [line for line in offer.split("\r\n") if line.startswith("a=candidate")]
        assert candidates
        assert all(" typ relay " in line for line in candidates)
        leg = engine.create_leg(webrtc=True)
        leg.receive_offer(offer)
        await peer.setRemoteDescription(RTCSessionDescription(leg.create_answer(), "answer"))
        engine.echo(leg, prompt=False)
        assert abs(await level_hz(peer) - TONE_HZ) < 20
        remote = leg.stats.remote
        assert remote is not None
        assert remote[0] == ADDRESS
        assert remote[1] in coturn.relay_ports
        leg.close()
        await peer.close()

        late = _peer(coturn, EXPIRED)
        await late.setLocalDescription(await late.createOffer())
        assert "typ relay" not in late.localDescription.sdp
        await late.close()
    finally:
        engine.close()
        await until(lambda: engine.counts()["ports"] == 0)
        await coturn.stop()


def _peer(coturn: Coturn, lifetime_s: float) -> RTCPeerConnection:
    """A client with credentials that are good for so long."""
    server = IceServer.model_validate({"urls": [coturn.url], "secret": coturn.secret})
    username = f"{int(time.time() + lifetime_s)}:alice"
    ice = RTCIceServer(server.urls, username, password_of(server, username))
    peer = RTCPeerConnection(RTCConfiguration([ice], iceTransportPolicy=RTCIceTransportPolicy.RELAY))
    peer.addTrack(Tone())
    return peer
