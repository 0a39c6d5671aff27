"""SIP over WebSocket (RFC 7118): softphones in browsers register, call, and vanish."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from server.app import Server
from server.sections import Config
from tests.media.test_webrtc_leg import Tone

TOKEN = "0123456789abcdef"
CRLF = "\r\n"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server with one extension, on free ports."""
    server = Server(
        Config.model_validate(
            {
                "server": {"http_port": 0, "websocket_origins": ["https://crm.example"]},
                "sip": {"listen": ["udp:127.0.0.1:0"]},
                "database": {"url": "none"},
                "extensions": [{"number": "1001", "password": "secret"}],
                "tokens": [{"name": "boss", "token": TOKEN, "role": "admin"}],
            }
        )
    )
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser's HTTP side."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.http_ports[0]}") as session:
        yield session


def register(domain: str, *, cseq: int = 1, authorization: str = "", expires: int = 600) -> str:
    lines = [
        f"REGISTER sip:{domain} SIP/2.0",
        f"Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{cseq}",
        "Max-Forwards: 70",
        f"From: <sip:1001@{domain}>;tag=65bnmj.34asd",
        f"To: <sip:1001@{domain}>",
        "Call-ID: aiuy7k9njasd",
        f"CSeq: {cseq} REGISTER",
        f"Contact: <sip:t3@df7jal23ls0d.invalid;transport=ws>;expires={expires}",
        *([f"Authorization: {authorization}"] if authorization else []),
        "Content-Length: 0",
    ]
    return CRLF.join([*lines, "", ""])


def answer_to(challenge: str, domain: str, method: str = "REGISTER", uri: str = "") -> str:
    fields = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
    digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[fields["algorithm"]]

    def h(text: str) -> str:
        return digest(text.encode()).hexdigest()

    uri = uri or f"sip:{domain}"
    inner = f"{fields['nonce']}:00000001:abc:auth:{h(f'{method}:{uri}')}"
    secret = h(f"1001:{fields['realm']}:secret")
    response = h(f"{secret}:{inner}")
    return (
        f'Digest username="1001", realm="{fields["realm"]}", nonce="{fields["nonce"]}", uri="{uri}", '
        f'response="{response}", algorithm={fields["algorithm"]}, qop=auth, nc=00000001, cnonce="abc"'
    )


async def signed_in(ws: aiohttp.ClientWebSocketResponse, domain: str, *, binary: bool = False) -> str:
    """Register; the text of the 200."""
    send = (lambda text: ws.send_bytes(text.encode())) if binary else ws.send_str
    await send(register(domain))
    challenge = await text_of(ws)
    assert challenge.startswith("SIP/2.0 401 ")
    header = next(line for line in challenge.split(CRLF) if line.lower().startswith("www-authenticate: "))
    await send(register(domain, cseq=2, authorization=answer_to(header.partition(": ")[2], domain)))
    return await text_of(ws)


async def text_of(ws: aiohttp.ClientWebSocketResponse) -> str:
    async with asyncio.timeout(5):
        message = await ws.receive()
    assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
    return message.data if isinstance(message.data, str) else message.data.decode()


async def phones(http: aiohttp.ClientSession) -> int:
    async with http.get("/admin/v1/extensions/1001", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        return len((await response.json())["phones"])


async def test_12_a_phone_registers_and_its_binding_ends_with_the_connection(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect("/sip", protocols=["sip"]) as ws:
        assert ws.protocol == "sip"
        accepted = await signed_in(ws, server.domain)
        assert accepted.startswith("SIP/2.0 200 ")
        assert "Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK2;received=127.0.0.1" in accepted
        assert await phones(http) == 1
    for _ in range(500):
        if not await phones(http):
            return
    raise AssertionError("the binding outlived its connection")


async def test_12_binary_frames_are_answered_in_kind(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/sip", protocols=["sip"]) as ws:
        await ws.send_bytes(register(server.domain).encode())
        message = await ws.receive(5)
        assert message.type is aiohttp.WSMsgType.BINARY
        assert message.data.startswith(b"SIP/2.0 401 ")


async def test_12_a_ping_gets_its_pong(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/sip", protocols=["sip"]) as ws:
        await ws.send_str("\r\n\r\n")
        assert await text_of(ws) == "\r\n"
        await ws.send_str("\r\n")


async def test_12_a_call_reaches_the_browser_on_its_connection(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/sip", protocols=["sip"]) as ws:
        await signed_in(ws, server.domain)
        body = {"caller": "1001", "callee": "600", "send_sdp": True}
        async with http.post("/api/sessions", json=body, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status == 200
        invite = await text_of(ws)
        assert invite.startswith("INVITE sip:t3@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\n")
        assert "\r\nVia: SIP/2.0/WS 127.0.0.1:" in invite
        assert ";transport=ws>" in next(line for line in invite.split(CRLF) if line.startswith("Contact:"))


@pytest.mark.parametrize("frame", ["no SIP at all", "INVITE\r\n\r\n", "\x00" * 100, "SIP/2.0 200 OK\r\n\r\n"])
async def test_18_what_is_no_sip_ends_nothing(server: Server, http: aiohttp.ClientSession, frame: str) -> None:
    async with http.ws_connect("/sip", protocols=["sip"]) as ws:
        await ws.send_str(frame)
        assert (await signed_in(ws, server.domain)).startswith("SIP/2.0 200 ")


async def test_f7_a_frame_too_large_closes_the_connection(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/sip", protocols=["sip"]) as ws:
        await ws.send_str("x" * 70_000)
        message = await ws.receive(5)
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 426),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://crm.example"}, 101),
        ({"Sec-WebSocket-Protocol": "chat"}, 400),
    ],
)
async def test_f9_only_sip_of_our_own_and_of_listed_pages(
    http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    sent = {"Sec-WebSocket-Protocol": "sip", **(upgrade if status != 426 else {}), **headers}
    async with http.get("/sip", headers=sent) as response:
        assert response.status == status


def invite(domain: str, sdp: str, *, cseq: int = 1, authorization: str = "") -> str:
    lines = [
        f"INVITE sip:600@{domain} SIP/2.0",
        f"Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKi{cseq}",
        "Max-Forwards: 70",
        f"From: <sip:1001@{domain}>;tag=abc",
        f"To: <sip:600@{domain}>",
        "Call-ID: acall",
        f"CSeq: {cseq} INVITE",
        "Contact: <sip:t3@df7jal23ls0d.invalid;transport=ws>",
        *([f"Authorization: {authorization}"] if authorization else []),
        "Content-Type: application/sdp",
        f"Content-Length: {len(sdp)}",
    ]
    return CRLF.join([*lines, "", sdp])


async def test_16_a_stock_webrtc_client_calls_the_echo_test(server: Server, http: aiohttp.ClientSession) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(Tone())
    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp
    async with http.ws_connect("/sip", protocols=["sip"]) as ws:
        await ws.send_str(invite(server.domain, offer))
        challenge = await text_of(ws)
        assert challenge.startswith("SIP/2.0 401 ")
        header = next(line for line in challenge.split(CRLF) if line.lower().startswith("www-authenticate: "))
        ack = CRLF.join(
            [
                f"ACK sip:600@{server.domain} SIP/2.0",
                "Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKi1",
                f"From: <sip:1001@{server.domain}>;tag=abc",
                next(line for line in challenge.split(CRLF) if line.startswith("To: ")),
                "Call-ID: acall",
                "CSeq: 1 ACK",
                "Content-Length: 0",
                "",
                "",
            ]
        )
        await ws.send_str(ack)
        authorization = answer_to(header.partition(": ")[2], server.domain, "INVITE", f"sip:600@{server.domain}")
        await ws.send_str(invite(server.domain, offer, cseq=2, authorization=authorization))
        answer = await text_of(ws)
        while not answer.startswith("SIP/2.0 200 "):
            assert answer.startswith("SIP/2.0 1"), answer
            answer = await text_of(ws)
        await peer.setRemoteDescription(RTCSessionDescription(answer.partition(CRLF + CRLF)[2], "answer"))
        track = peer.getReceivers()[0].track
        async with asyncio.timeout(15):
            for _ in range(25):
                await track.recv()
        assert peer.connectionState == "connected"
    await peer.close()
