"""The composition root: all real parts on loopback, started and stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server import app, sections
from server.app import Server
from server.errors import ConfigError, StartError
from server.sections import Config

TOKEN = "token-of-these-tests"
LOOPBACK = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]


def settings(**sections: Any) -> Config:
    """Free ports of the loopback without IPv6, extension 1001, a trunk that does not answer, one out of reach."""
    raw: dict[str, Any] = {
        "server": {"http_port": 0},
        "database": {"url": "none"},
        "sip": {"listen": LOOPBACK},
        "media": {"ports": "21000-21099"},
        "extensions": [{"number": "1001", "password": "secret"}],
        "trunks": [
            {"name": "carrier", "hosts": ["sip:127.0.0.1:9"], "options_interval_s": 0},
            {"name": "lost", "hosts": ["sip:[::1]:9"], "options_interval_s": 0},
        ],
        "routes": [{"pattern": "0.", "trunks": [{"trunk": "carrier", "priority": 2}, {"trunk": "lost"}]}],
        "tokens": [{"name": "boss", "token": TOKEN, "role": "admin"}],
    }
    return Config.model_validate({**raw, **sections})


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Server]:
    """A server for as long."""
    server = Server(config)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that runs."""
    async with running(settings()) as server:
        yield server


async def ask(server: Server, method: str, path: str, body: object = None, *, token: str = TOKEN) -> tuple[int, Any]:
    """Status and answer of the API."""
    url = f"http://127.0.0.1:{server.http_ports[0]}{path}"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.request(method, url, json=body) as response,
    ):
        return response.status, await response.json()


async def test_it_answers_http_and_sip(server: Server) -> None:
    assert await ask(server, "GET", "/readyz") == (200, {"status": "ready"})
    assert await ask(server, "GET", "/api/sessions") == (200, {"count": 0, "items": []})
    udp = next(listen for listen in server.sip_addresses if listen.transport == "UDP")
    answer = await asyncio.to_thread(_options, udp.port)
    assert answer.startswith("SIP/2.0 200 ")


def _options(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.settimeout(5)
        here = f"127.0.0.1:{phone.getsockname()[1]}"
        request = (
            f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK1;rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:t@{here}>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: a@{here}\r\n"
            "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        phone.sendto(request.encode(), ("127.0.0.1", port))
        return phone.recv(65536).decode()


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"],
)
async def test_what_is_no_http_is_answered_400_and_not_our_fault(
    server: Server, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_ports[0])
    writer.write(sent)
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert answer.split()[1] == b"400"
    assert caplog.records == []


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"caller": "1001", "callee": "1001"}, 404, "NOT_REGISTERED"),
        ({"caller": "999", "callee": "1001"}, 404, "NO_ROUTE"),
        ({"caller": "0301", "callee": "1001", "trunk": "none"}, 404, "UNKNOWN_TRUNK"),
        ({"caller": "600", "callee": "1001"}, 400, "BAD_REQUEST"),
        ({"caller": "sip:[", "callee": "1001"}, 400, "BAD_REQUEST"),
        ({"caller": "0301", "callee": "0302", "target_extension_number": "77"}, 400, "BAD_REQUEST"),
    ],
)
async def test_what_cannot_be_dialled_is_refused_with_its_reason(
    server: Server, fields: dict[str, str], status: int, code: str
) -> None:
    answer = await ask(server, "POST", "/api/sessions", {"send_sdp": True, **fields})
    assert (answer[0], answer[1]["error_code"]) == (status, code)
    dry = await ask(server, "POST", "/api/sessions?dry_run=1", {"send_sdp": True, **fields})
    assert (dry[0], dry[1]["error_code"]) == (status, code)


async def test_a_dry_run_shows_both_invites_and_sends_nothing(server: Server) -> None:
    body = {"caller": "0301", "callee": "0302", "send_sdp": True, "trunk": "carrier", "rewrite_from": "4930999"}
    status, report = await ask(server, "POST", "/api/sessions?dry_run=1", body)
    assert status == 200, report
    assert [(leg["role"], leg["trunk"]) for leg in report["legs"]] == [("CALLER", "carrier"), ("CALLEE", "carrier")]
    for leg in report["legs"]:
        assert leg["invite"].startswith("INVITE sip:030")
        assert "sip:4930999@" in leg["invite"]
        assert any("rewrite_from" in header["rule"] for header in leg["headers"])
        explained = {header["header"] for header in leg["headers"]} - {"Request-URI"}
        head = leg["invite"].partition("\r\n\r\n")[0].split("\r\n")[1:]
        assert explained == {line.partition(":")[0] for line in head}
    assert (await ask(server, "GET", "/api/sessions"))[1]["count"] == 0


async def test_a_dry_run_passes_over_what_has_no_address_and_says_so(server: Server) -> None:
    body = {"caller": "0301", "callee": "0302", "send_sdp": True}
    status, report = await ask(server, "POST", "/api/sessions?dry_run=1", body)
    assert status == 200, report
    assert report["legs"][0]["trunk"] == "carrier"
    assert report["legs"][0]["why_not"] == [{"trunk": "lost", "reason": "no way to reach any of its addresses"}]
    status, report = await ask(server, "POST", "/api/sessions?dry_run=1", {**body, "trunk": "lost"})
    assert (status, report["error_code"]) == (503, "TRUNK_UNAVAILABLE")


async def test_a_dry_run_without_a_free_port_is_503() -> None:
    server = Server(settings(media={"ports": "21000-21001"}))
    await server.start()
    try:
        assert server.parts is not None
        leg = server.parts.media.create_leg()
        body = {"caller": "0301", "callee": "0302", "send_sdp": True, "trunk": "carrier"}
        status, report = await ask(server, "POST", "/api/sessions?dry_run=1", body)
        assert (status, report["error_code"]) == (503, "LIMIT_REACHED")
        leg.close()
    finally:
        await server.stop()


async def test_counts_are_for_admins(server: Server) -> None:
    status, counts = await ask(server, "GET", "/debug/counts")
    assert status == 200
    assert counts["sessions"] == 0


async def test_stopping_leaves_no_task_and_no_port() -> None:
    before = asyncio.all_tasks()
    first = Server(settings())
    await first.start()
    port = first.http_ports[0]
    udp = first.sip_addresses[0].port
    await first.stop()
    assert asyncio.all_tasks() == before
    again = Server(settings(server={"http_port": port}, sip={"listen": [f"udp:127.0.0.1:{udp}"]}))
    await again.start()
    await again.stop()


async def test_more_http_ports_serve_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        extra = free.getsockname()[1]
    server = Server(settings(server={"http_port": 0, "extra_http_ports": [extra]}))
    await server.start()
    try:
        assert server.http_ports[1] == extra
        server.http_ports = server.http_ports[1:]
        assert (await ask(server, "GET", "/healthz"))[0] == 200
    finally:
        await server.stop()


async def test_a_port_in_use_is_named_and_nothing_stays_open() -> None:
    before = asyncio.all_tasks()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"HTTP cannot listen on 127.0.0.1 port {port}: the port is in use"):
            await Server(settings(server={"http_port": port})).start()
        with pytest.raises(StartError, match=f"SIP cannot listen on .*tcp:127.0.0.1:{port}: the port is in use"):
            await Server(settings(sip={"listen": [f"tcp:127.0.0.1:{port}"]})).start()
    assert asyncio.all_tasks() == before


async def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(StartError, match="this machine has no such address"):
        await Server(settings(sip={"listen": ["udp:192.0.2.1:5060"]})).start()


def test_a_faulty_trunk_is_named_by_its_key() -> None:
    faulty = settings(trunks=[{"name": "carrier", "hosts": ["sip:ok.example", "tel:1"]}])
    with pytest.raises(ConfigError) as refused:
        app.trunks_of(faulty)
    assert "trunks[0].hosts[1] (carrier)" in str(refused.value)


@pytest.mark.parametrize(
    ("sip", "domain"),
    [
        ({"listen": LOOPBACK}, "127.0.0.1"),
        ({"listen": ["udp:[::1]:5060"]}, "[::1]"),
        ({"advertised_host": "203.0.113.7"}, "203.0.113.7"),
        ({"advertised_host": "203.0.113.7", "domain": "pbx.example"}, "pbx.example"),
    ],
)
def test_our_domain(sip: dict[str, Any], domain: str) -> None:
    assert app.domain_of(Config.model_validate({"sip": sip})) == domain


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_addresses_are_never_told_to_others(host: str) -> None:
    assert app.own_address(host) not in ("0.0.0.0", "::", "")


def test_media_is_told_where_others_reach_it() -> None:
    plain = app.media_config(settings())
    assert (plain.bind_host, plain.advertised_host) == (("127.0.0.1",), ("127.0.0.1",))
    behind_nat = app.media_config(settings(sip={"listen": ["udp:10.0.0.5:5060"], "advertised_host": "203.0.113.7"}))
    assert (behind_nat.bind_host, behind_nat.advertised_host) == (("10.0.0.5",), ("203.0.113.7",))
    named = app.media_config(settings(sip={"listen": ["udp:10.0.0.5:5060"], "advertised_host": "pbx.example"}))
    assert named.advertised_host == ("10.0.0.5",)
    own = app.media_config(settings(media={"bind_host": "10.0.0.6", "advertised_host": "203.0.113.8"}))
    assert (own.bind_host, own.advertised_host) == (("10.0.0.6",), ("203.0.113.8",))


BOTH = ["2001:db8::1", "192.0.2.1"]


@pytest.mark.parametrize(
    ("sip", "media", "bound", "advertised"),
    [
        ({}, {"bind_host": BOTH}, BOTH, BOTH),
        ({}, {"bind_host": BOTH, "advertised_host": "203.0.113.7"}, BOTH, ["2001:db8::1", "203.0.113.7"]),
        (
            {},
            {"bind_host": BOTH, "advertised_host": ["203.0.113.7", "2001:db8::7"]},
            BOTH,
            ["2001:db8::7", "203.0.113.7"],
        ),
        ({"advertised_host": "[2001:db8::7]"}, {"bind_host": BOTH}, BOTH, ["2001:db8::7", "192.0.2.1"]),
        ({"advertised_host": "[2001:db8::7]"}, {"bind_host": "192.0.2.1"}, ["192.0.2.1"], ["192.0.2.1"]),
        (
            {"listen": ["udp:192.0.2.1:5060", "udp:192.0.2.2:5060", "tcp:[2001:db8::1]:5060"]},
            {},
            BOTH[::-1],
            BOTH[::-1],
        ),
        ({"listen": ["udp:[2001:db8::1]:5060", "udp:192.0.2.1:5060"]}, {}, BOTH, BOTH),
    ],
)
def test_media_of_both_ip_versions(
    sip: dict[str, Any], media: dict[str, Any], bound: list[str], advertised: list[str]
) -> None:
    told = app.media_config(settings(sip=sip, media=media))
    assert (told.bind_host, told.advertised_host) == (tuple(bound), tuple(advertised))


def test_credentials_are_for_our_realm_alone() -> None:
    book = app.Ha1Book("pbx", [sections.Extension.model_validate({"number": "1001", "password": "secret"})])
    assert book.ha1("1001", "pbx", "MD5") == "fcc7882872e74678a138d179252ce3f0"
    assert book.ha1("1001", "other", "MD5") is None
    assert book.ha1("1002", "pbx", "SHA-256") is None
    assert book.ha1("1001", "pbx", "SHA-512") is None


def test_a_number_may_lead_to_a_service_by_name() -> None:
    plan = app.dial_plan(settings(numbers=[{"number": "49309", "to": "tone"}]), lambda _name: None)
    assert plan.services["tone"] == "tone"
    assert sections.SERVICES == {"600": "echo", "601": "tone"}


async def test_8_a_participants_token_ends_with_its_stay_after_a_restart_too(tmp_path: Path) -> None:
    config = settings(database={"data_dir": str(tmp_path)})
    kit = f"/accounts/{config.server.account}/realtime/kit/{config.server.app}/meetings"
    stays = []
    async with running(config) as server:
        _, made = await ask(server, "POST", kit, {"title": "Board"})
        meeting = f"{kit}/{made['data']['id']}"
        for user in ("ann", "ben"):
            body = {"custom_participant_id": user, "preset_name": "guest"}
            status, added = await ask(server, "POST", f"{meeting}/participants", body)
            assert status == 201
            stays.append(added["data"])
    ann, ben = stays
    async with running(config) as server:
        assert (await ask(server, "GET", f"{meeting}/active-session", token=ann["token"]))[0] == 200
        assert (await ask(server, "DELETE", f"{meeting}/participants/{ann['id']}"))[0] == 200
        assert (await ask(server, "GET", f"{meeting}/active-session", token=ann["token"]))[0] == 401
        assert (await ask(server, "GET", f"{meeting}/active-session", token=ben["token"]))[0] == 200


async def test_8_when_a_key_of_the_configuration_was_made_nobody_knows(server: Server) -> None:
    status, made = await ask(server, "POST", "/admin/v1/tokens", {"name": "new"})
    assert (status, bool(made["created_at"])) == (201, True)
    _, listed = await ask(server, "GET", "/admin/v1/tokens")
    assert [(key["name"], key["created_at"]) for key in listed["items"]] == [
        ("boss", None),
        ("new", made["created_at"]),
    ]
