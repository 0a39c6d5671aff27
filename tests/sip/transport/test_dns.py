"""The questions of RFC 3263 to a name server of our own on the loopback, over real UDP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.zone
import pytest

from sip.resolver import Naptr, ResolveError, Srv, resolve
from sip.transport.base import Target
from sip.transport.dns import NEGATIVE_TTL_S, STALE_S, DnsLookups, read_hosts
from sip.uri import Uri

from .loops import on_both_loops

ZONE = """
$ORIGIN example.net.
@ 60 IN SOA ns hostmaster 1 3600 600 86400 60
@ 60 IN NS ns
@ 60 IN NAPTR 20 50 "s" "SIP+D2U" "" _sip._udp
@ 60 IN NAPTR 10 50 "S" "SIP+D2T" "" _sip._tcp
_sip._udp 60 IN SRV 10 0 5060 One
_sip._tcp 60 IN SRV 20 5 5070 two
_sip._tcp 60 IN SRV 10 5 5060 alias
_sip._udp.off 60 IN SRV 0 0 0 .
one 60 IN A 192.0.2.1
one 60 IN AAAA 2001:db8::1
two 60 IN A 192.0.2.2
alias 60 IN CNAME one
"""


class NameServer(asyncio.DatagramProtocol):
    """Answers from the zone, or not at all."""

    def __init__(self) -> None:
        self.zone = dns.zone.from_text(ZONE, "example.net.", relativize=False)
        self.asked: list[str] = []
        self.silent = False
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # neither loop's class is a subclass of it

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.asked.append(question.to_text())
        if self.silent:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        name = question.name
        alias = self.zone.get_rrset(name, "CNAME")
        if alias is not None:
            answer.answer.append(alias)
            name = alias[0].target
        found = self.zone.get_rrset(name, question.rdtype)
        if found is not None:
            answer.answer.append(found)
        elif not any(known.is_subdomain(name) for known in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        assert self.transport is not None
        self.transport.sendto(answer.to_wire(), address)


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[NameServer, DnsLookups, Clock]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    clock = Clock()
    port = transport.get_extra_info("sockname")[1]
    try:
        yield server, DnsLookups(["127.0.0.1"], port=port, hosts={}, clock=clock), clock
    finally:
        transport.close()
        await asyncio.sleep(0)


@on_both_loops
async def test_every_kind_of_record() -> None:
    async with name_server() as (_, lookups, _clock):
        assert sorted(await lookups.naptr("example.net"), key=lambda r: r.order) == [
            Naptr(10, 50, "S", "SIP+D2T", "", "_sip._tcp.example.net"),
            Naptr(20, 50, "s", "SIP+D2U", "", "_sip._udp.example.net"),
        ]
        assert await lookups.srv("_sip._udp.example.net") == (Srv(10, 0, 5060, "one.example.net"),)
        assert await lookups.srv("_sip._udp.off.example.net") == (Srv(0, 0, 0, ""),)
        assert await lookups.addresses("alias.example.net", ipv6=False) == ("192.0.2.1",)
        assert await lookups.addresses("one.example.net", ipv6=True) == ("2001:db8::1",)
        assert await lookups.addresses("two.example.net", ipv6=True) == ()
        assert await lookups.srv("_sip._udp.nowhere.example.net") == ()


@on_both_loops
async def test_from_a_uri_to_its_targets() -> None:
    async with name_server() as (_, lookups, _clock):
        targets = await resolve(
            Uri.parse("sip:1002@example.net"),
            lookups,
            transports=("UDP", "TCP"),
            versions=(4, 6),
            chance=random.Random(1),
        )
        assert targets == [
            Target("TCP", "192.0.2.1", 5060),
            Target("TCP", "2001:db8::1", 5060),
            Target("TCP", "192.0.2.2", 5070),
            Target("UDP", "192.0.2.1", 5060),
            Target("UDP", "2001:db8::1", 5060),
        ]


@on_both_loops
async def test_answers_hold_as_long_as_they_say() -> None:
    async with name_server() as (server, lookups, clock):
        for now, asked in ((0.0, 1), (59.0, 1), (61.0, 2)):
            clock.now = now
            assert await lookups.addresses("two.example.net", ipv6=False) == ("192.0.2.2",)
            assert len(server.asked) == asked


@on_both_loops
async def test_that_there_is_none_holds_shortly() -> None:
    async with name_server() as (server, lookups, clock):
        for now, asked in ((0.0, 1), (NEGATIVE_TTL_S - 1, 1), (NEGATIVE_TTL_S + 1, 2)):
            clock.now = now
            assert await lookups.srv("_sip._udp.new.example.net") == ()
            assert len(server.asked) == asked


@on_both_loops
async def test_a_hundred_calls_ask_once() -> None:
    async with name_server() as (server, lookups, _clock):
        answers = await asyncio.gather(*(lookups.addresses("two.example.net", ipv6=False) for _ in range(100)))
        assert set(answers) == {("192.0.2.2",)}
        assert len(server.asked) == 1


@on_both_loops
async def test_a_silent_server_is_an_error_and_old_answers_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    async with name_server() as (server, lookups, clock):
        await lookups.addresses("two.example.net", ipv6=False)
        server.silent = True
        monkeypatch.setattr("sip.transport.dns.QUESTION_S", 0.05)
        with pytest.raises(ResolveError, match=r"no answer to A one\.example\.net"):
            await lookups.addresses("one.example.net", ipv6=False)
        clock.now = 120.0
        assert await lookups.addresses("two.example.net", ipv6=False) == ("192.0.2.2",)
        clock.now = 61.0 + STALE_S
        with pytest.raises(ResolveError):
            await lookups.addresses("two.example.net", ipv6=False)


@on_both_loops
async def test_the_hosts_file_and_localhost_need_no_server() -> None:
    hosts = read_hosts(
        "127.0.0.1 localhost\n# nothing\n192.0.2.7 Trunk trunk.lan # the carrier\n\n::7 trunk\nnonsense x\n"
    )
    lookups = DnsLookups([], hosts=hosts)
    assert await lookups.addresses("trunk", ipv6=False) == ["192.0.2.7"]
    assert await lookups.addresses("trunk", ipv6=True) == ["::7"]
    assert await lookups.addresses("trunk.lan", ipv6=False) == ["192.0.2.7"]
    assert await lookups.srv("_sip._udp.trunk.lan") == ()
    assert await lookups.naptr("trunk") == ()
    assert await lookups.addresses("phone.localhost", ipv6=False) == ["127.0.0.1"]
    assert await lookups.addresses("localhost", ipv6=True) == ["::1"]
    assert await lookups.srv("_sip._tcp.localhost") == ()


@on_both_loops
async def test_no_name_server_at_all() -> None:
    with pytest.raises(ResolveError):
        await DnsLookups([], hosts={}).addresses("example.net", ipv6=False)
