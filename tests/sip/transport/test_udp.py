"""UDP on the loopback of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sip.transport.base import Flow, TransportLimits
from sip.transport.local import LocalNames
from sip.transport.udp import UdpFlow, UdpSocket, bind_udp

from .loops import on_both_loops


class User:
    """Keeps what arrives, and which wake-up brought it."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[bytes, UdpFlow]] = asyncio.Queue()
        self.unreachable: asyncio.Queue[Flow] = asyncio.Queue()
        self.batches: list[int] = []
        self.fail_on = b""

    def begin_wakeup(self) -> None:
        self.batches.append(0)

    def receive_datagram(self, data: bytes, flow: UdpFlow) -> None:
        if data == self.fail_on:
            raise RuntimeError("a bug above")
        self.batches[-1] += 1
        self.got.put_nowait((data, flow))

    def end_wakeup(self) -> None:
        self.batches[-1] = -self.batches[-1]

    async def next(self) -> tuple[bytes, UdpFlow]:
        return await asyncio.wait_for(self.got.get(), 5)


@asynccontextmanager
async def udp(
    host: str = "127.0.0.1", *, limits: TransportLimits | None = None, names: LocalNames | None = None
) -> AsyncIterator[tuple[UdpSocket, User]]:
    user = User()
    sock = UdpSocket(
        bind_udp(host, 0),
        user,
        user.unreachable.put_nowait,
        names=names or LocalNames(),
        limits=limits or TransportLimits(),
        loop=asyncio.get_running_loop(),
    )
    try:
        yield sock, user
    finally:
        sock.close()


def client(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(5)
    return sock


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_both_loops
async def test_there_and_back(host: str) -> None:
    async with udp(host) as (ours, user), udp(host) as (theirs, other):
        ours.flow_to(host, theirs.port).send(b"there")
        data, flow = await other.next()
        assert (data, flow.remote, flow.local) == (b"there", (host, ours.port), (host, theirs.port))
        flow.send(b"back")
        data, flow = await user.next()
        assert (data, flow.remote) == (b"back", (host, theirs.port))
        assert flow == ours.flow_to(host, theirs.port)
        assert flow.transport == "UDP"
        assert not flow.reliable
        assert not flow.closed


@on_both_loops
async def test_flows_are_values() -> None:
    async with udp(limits=TransportLimits(max_udp_flows=2)) as (ours, _), udp() as (theirs, _):
        flow = ours.flow_to("127.0.0.1", 5060)
        for port in (5061, 5062, 5063):
            ours.flow_to("127.0.0.1", port)
        again = ours.flow_to("127.0.0.1", 5060)
        assert again is not flow, "it was forgotten"
        assert again == flow
        assert hash(again) == hash(flow)
        assert flow != ours.flow_to("127.0.0.1", 5061)
        assert flow != theirs.flow_to("127.0.0.1", 5060)
        assert flow != "a flow"


@on_both_loops
async def test_at_most_so_many_datagrams_a_wakeup() -> None:
    async with udp(limits=TransportLimits(datagrams_a_wakeup=4)) as (ours, user):
        with client() as sender:
            for number in range(10):
                sender.sendto(b"%d" % number, ("127.0.0.1", ours.port))
            got = [(await user.next())[0] for _ in range(10)]
        assert got == [b"%d" % number for number in range(10)]
        batches = [-batch for batch in user.batches]
        assert sum(batches) == 10
        assert max(batches) <= 4


@on_both_loops
async def test_a_bug_above_ends_the_wakeup_and_loses_one_message() -> None:
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: bugs.append(context.get("exception")))
    async with udp() as (ours, user):
        user.fail_on = b"bad"
        with client() as sender:
            for data in (b"good", b"bad", b"good too"):
                sender.sendto(data, ("127.0.0.1", ours.port))
            assert [(await user.next())[0] for _ in range(2)] == [b"good", b"good too"]
    assert [str(bug) for bug in bugs] == ["a bug above"]
    assert sum(batch for batch in user.batches if batch < 0) == -2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_both_loops
async def test_a_closed_port_is_reported_and_the_socket_lives_on(host: str) -> None:
    """RFC 3261 §18.4. uvloop would never read a socket again that reported an error: several rounds."""
    with client(host) as gone:
        dead_port = gone.getsockname()[1]
    async with udp(host) as (ours, user), udp(host) as (theirs, other):
        for _ in range(3):
            dead = ours.flow_to(host, dead_port)
            dead.send(b"anyone?")
            assert await asyncio.wait_for(user.unreachable.get(), 5) == dead
            theirs.flow_to(host, ours.port).send(b"still there?")
            data, flow = await user.next()
            assert data == b"still there?"
            flow.send(b"yes")
            assert (await other.next())[0] == b"yes"


@on_both_loops
async def test_a_response_that_comes_back_is_no_news() -> None:
    """Who sends requests from ports that are closed when the answer comes must not make us work."""
    async with udp() as (ours, user), udp() as (theirs, _):
        with client() as stranger:
            stranger.sendto(b"OPTIONS", ("127.0.0.1", ours.port))
            flow = (await user.next())[1]
        flow.send(b"SIP/2.0 200 OK")
        theirs.flow_to("127.0.0.1", ours.port).send(b"after it")
        assert (await user.next())[0] == b"after it"
        assert user.unreachable.empty()
        flow.send(b"OPTIONS")
        assert await asyncio.wait_for(user.unreachable.get(), 5) == flow


@on_both_loops
async def test_an_error_of_an_earlier_datagram_does_not_lose_the_next() -> None:
    with client() as gone:
        dead_port = gone.getsockname()[1]
    async with udp() as (ours, user), udp() as (theirs, other):
        for _ in range(5):
            ours.flow_to("127.0.0.1", dead_port).send(b"anyone?")
            ours.flow_to("127.0.0.1", theirs.port).send(b"hello")
            assert (await other.next())[0] == b"hello"
        assert user.unreachable.qsize() + len(user.batches) > 0


@on_both_loops
async def test_what_cannot_be_sent_is_reported() -> None:
    """EACCES, EMSGSIZE and their like: no datagram left, so no answer will come."""
    async with udp() as (ours, user):
        flow = ours.flow_to("255.255.255.255", 5060)
        flow.send(b"everyone!")
        assert user.unreachable.get_nowait() == flow
        flow = ours.flow_to("127.0.0.1", 5060)
        flow.send(bytes(70_000))
        assert user.unreachable.get_nowait() == flow


@on_both_loops
async def test_what_the_kernel_does_not_take_waits_in_order() -> None:
    async with udp(limits=TransportLimits(max_unsent_datagrams=3)) as (ours, _), udp() as (theirs, other):
        full = [True]
        real = ours.sendto

        def sendto(data: bytes, address: tuple[object, ...]) -> int:
            if full[0]:
                raise BlockingIOError
            return real(data, address)

        ours.sendto = sendto  # type: ignore[assignment]  # a kernel whose buffer is full
        flow = ours.flow_to("127.0.0.1", theirs.port)
        for number in range(5):
            flow.send(b"%d" % number)
        assert ours.dropped == 2
        full[0] = False
        flow.send(b"last")  # still behind the others: one more than fits
        assert ours.dropped == 3
        assert [(await other.next())[0] for _ in range(3)] == [b"0", b"1", b"2"]
        flow.send(b"free again")
        assert (await other.next())[0] == b"free again"


@on_both_loops
async def test_sent_by_of_a_socket_bound_to_all_addresses() -> None:
    async with udp("0.0.0.0") as (ours, _):
        flow = ours.flow_to("127.0.0.1", 5060)
        assert flow.sent_by == f"127.0.0.1:{ours.port}"
        assert flow.local == ("127.0.0.1", ours.port)
    async with udp("::") as (ours, _):
        assert ours.flow_to("::1", 5060).sent_by == f"[::1]:{ours.port}"


@on_both_loops
async def test_closing_twice_is_closing_once() -> None:
    async with udp() as (ours, _):
        flow = ours.flow_to("127.0.0.1", 5060)
        ours.close()
        ours.close()
        flow.send(b"too late")


def test_a_port_that_is_taken() -> None:
    with client() as taken, pytest.raises(OSError, match="in use"):
        bind_udp("127.0.0.1", taken.getsockname()[1])


def test_the_receive_buffer_is_as_large_as_it_may_be() -> None:
    option = socket.SOL_SOCKET, socket.SO_RCVBUF
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain, bind_udp("127.0.0.1", 0) as ours:
        assert ours.getsockopt(*option) >= plain.getsockopt(*option)


def test_advertised_address_and_local_networks() -> None:
    names = LocalNames("203.0.113.5", ["192.168.0.0/16", "fd00::/8"])
    assert names.sent_by("0.0.0.0", 5060, "127.0.0.1") == "127.0.0.1:5060"
    assert names.sent_by("192.168.1.1", 5060, "192.168.7.7") == "192.168.1.1:5060"
    assert names.sent_by("192.168.1.1", 5060, "198.51.100.1") == "203.0.113.5:5060"
    assert names.local_host("192.168.1.1", "198.51.100.1") == "192.168.1.1"
    assert LocalNames("[2001:db8::5]").sent_by("::1", 5060, "2001:db8::9") == "[2001:db8::5]:5060"
    assert LocalNames("sip.example.net").sent_by("10.0.0.1", 5062, "198.51.100.1") == "sip.example.net:5062"
    with pytest.raises(ValueError, match="network"):
        LocalNames(None, ["the office"])


def test_routes_are_asked_for_again_after_a_minute() -> None:
    now = [0.0]
    names = LocalNames(clock=lambda: now[0])
    names.sent_by("0.0.0.0", 5060, "127.0.0.1")
    names._sent_by["0.0.0.0", 5060, "127.0.0.1"] = "10.9.9.9:5060"
    now[0] = 59.0
    assert names.sent_by("0.0.0.0", 5060, "127.0.0.1") == "10.9.9.9:5060"
    now[0] = 61.0
    assert names.sent_by("0.0.0.0", 5060, "127.0.0.1") == "127.0.0.1:5060"
