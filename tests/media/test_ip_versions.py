"""IPv4 and IPv6 in one engine: each party is met on its own version, and hears the other whatever that one has."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import permutations

import pytest
import uvloop
from aiortc import RTCSessionDescription

from media import MediaConfig, MediaEngine, MediaError, NoPortsLeft, ice, webrtc_leg
from media.ports import PortPool
from media.webrtc_leg import WebRtcLeg

from .party import Party, host_of, offer, port_of
from .test_ice_restart import Elsewhere, exchange
from .test_webrtc_leg import TONE_HZ, browser, connected, level_hz, offered, until

V4, V6 = "127.0.0.1", "::1"
HOSTS = (V4, V6)
PORTS = (47900, 47939)


@pytest.fixture(params=[HOSTS, HOSTS[::-1]], ids=["IPv4 first", "IPv6 first"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[MediaEngine]:
    engine = MediaEngine(MediaConfig(bind_host=request.param, port_range=PORTS, port_rest_s=0.0))
    yield engine
    engine.close()
    await until(lambda: engine.counts()["ports"] == 0)
    assert engine.counts()["legs"] == 0


@pytest.fixture
def parties() -> Iterator[dict[str, Party]]:
    """An IPv4 phone and an IPv6 phone, by address."""
    made = {host: Party(number, host) for number, host in enumerate(HOSTS, 0xA)}
    yield made
    for party in made.values():
        party.close()


def first(engine: MediaEngine) -> str:
    return str(engine.config.bind_host[0])


def other(host: str) -> str:
    return V4 if host == V6 else V6


def candidates(sdp: str | None) -> list[tuple[str, int, int]]:
    """Address, port and priority of each, in the order of the description's first section."""
    lines = (sdp or "").split("m=")[1].splitlines()
    fields = [line.split() for line in lines if line.startswith("a=candidate")]
    return [(each[4], int(each[5]), int(each[3])) for each in fields]


def said(sdp: str) -> list[str]:
    """Each address that it says, of o= and c=."""
    return [line.split()[-1] for line in sdp.splitlines() if line[:2] in ("o=", "c=")]


# Phones.


@pytest.mark.parametrize(("near", "far"), list(permutations(HOSTS)))
async def test_a_phone_of_each_version_hears_the_other(
    engine: MediaEngine, parties: dict[str, Party], near: str, far: str
) -> None:
    a, b = parties[near], parties[far]
    leg_a, leg_b = engine.create_leg(peer_host=near), engine.create_leg(peer_host=far)
    leg_a.receive_offer(a.sdp())
    sent = leg_b.create_offer(leg_a)
    leg_b.receive_answer(b.sdp())
    answer = leg_a.create_answer(leg_b)
    assert (said(sent), said(answer)) == ([far, far], [near, near])
    a.aim(answer)
    b.aim(sent)
    engine.bridge(leg_a, leg_b)
    assert engine.counts()["ports"] == 4
    for number in range(3):
        a.send(0, b"a%d" % number)
        assert (await b.receive()).payload == b"a%d" % number
        b.send(0, b"b%d" % number)
        assert (await a.receive()).payload == b"b%d" % number
    assert (leg_a.stats.remote, leg_b.stats.remote) == ((near, a.port), (far, b.port))
    assert (leg_a.stats.local[0], leg_b.stats.local[0]) == (near, far)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("signalled_from", [None, *HOSTS])
async def test_an_answer_is_of_the_version_of_the_offer_wherever_that_came_from(
    engine: MediaEngine, parties: dict[str, Party], host: str, signalled_from: str | None
) -> None:
    party = parties[host]
    leg = engine.create_leg(peer_host=signalled_from)
    leg.receive_offer(party.sdp())
    assert engine.counts()["ports"] == 2
    answer = leg.create_answer()
    assert said(answer) == [host, host]
    assert leg.stats.local == (host, port_of(answer))
    assert engine.counts()["ports"] == 2
    party.aim(answer)
    engine.echo(leg, prompt=False)
    party.send(0, b"hello")
    assert (await party.receive()).payload == b"hello"


async def test_an_offer_of_ours_is_of_the_version_of_its_receiver(engine: MediaEngine) -> None:
    for host in HOSTS:
        assert host_of(engine.create_leg(peer_host=host).create_offer()) == host
        assert host_of(engine.create_leg(peer_host=other(host), ipv6=host == V6).create_offer()) == host
    assert host_of(engine.create_leg().create_offer()) == first(engine)


async def test_a_held_or_named_party_is_answered_on_the_version_of_its_c_line(engine: MediaEngine) -> None:
    held = engine.create_leg()
    held.receive_offer(offer().replace("c=IN IP4 127.0.0.1", "c=IN IP6 ::"))
    assert host_of(held.create_answer()) == V6
    named = engine.create_leg()
    named.receive_offer(offer().replace("c=IN IP4 127.0.0.1", "c=IN IP6 phone.example"))
    assert host_of(named.create_answer()) == V6


async def test_a_party_that_changes_its_version_is_followed(engine: MediaEngine, parties: dict[str, Party]) -> None:
    a, b = parties[V4], parties[V6]
    leg = engine.create_leg()
    engine.echo(leg, prompt=False)
    for number, party in enumerate((a, b, a), 1):
        leg.receive_offer(party.sdp(version=number))
        answer = leg.create_answer()
        assert said(answer) == [V4, party.host], "o= keeps its address (RFC 3264 8)"
        party.aim(answer)
        party.send(0, b"%d" % number)
        assert (await party.receive()).payload == b"%d" % number
        assert engine.counts()["ports"] == 2
    assert leg.stats.packets_received == leg.stats.packets_sent == 3


async def test_a_party_that_is_held_by_the_null_address_stays_where_it_is(
    engine: MediaEngine, parties: dict[str, Party]
) -> None:
    leg = engine.create_leg()
    leg.receive_offer(parties[V6].sdp())
    port = port_of(leg.create_answer())
    leg.receive_offer(offer(port=parties[V6].port, version=2).replace("127.0.0.1", "0.0.0.0"))
    answer = leg.create_answer()
    assert leg.on_hold
    assert (host_of(answer), port_of(answer)) == (V6, port)


async def test_a_move_that_is_taken_back_leaves_the_call_as_it_was(
    engine: MediaEngine, parties: dict[str, Party]
) -> None:
    party = parties[V4]
    leg = engine.create_leg()
    leg.receive_offer(party.sdp())
    party.aim(leg.create_answer())
    engine.echo(leg, prompt=False)
    local = leg.stats.local
    leg.receive_offer(parties[V6].sdp(version=2))
    assert engine.counts()["ports"] == 4
    leg.rollback()
    assert engine.counts()["ports"] == 2
    assert leg.stats.local == local
    party.send(0, b"still")
    assert (await party.receive()).payload == b"still"
    leg.receive_offer(parties[V6].sdp(version=2))
    leg.close()
    assert engine.counts()["ports"] == 0


async def test_an_answer_of_the_other_version_is_refused(engine: MediaEngine, parties: dict[str, Party]) -> None:
    leg = engine.create_leg(peer_host=V4)
    leg.create_offer()
    with pytest.raises(MediaError, match="IP version"):
        leg.receive_answer(parties[V6].sdp())
    leg.receive_answer(parties[V4].sdp())
    assert leg.agreed


async def test_our_own_addresses_of_both_versions_are_refused(engine: MediaEngine) -> None:
    for host in HOSTS:
        theirs = engine.create_leg(peer_host=host)
        with pytest.raises(MediaError, match="our own"):
            engine.create_leg(peer_host=host).receive_offer(offer(host, theirs.stats.local[1]))


async def test_an_ipv6_address_is_one_however_it_is_written(engine: MediaEngine, parties: dict[str, Party]) -> None:
    party = parties[V6]
    leg = engine.create_leg()
    leg.receive_offer(party.sdp().replace("::1", "0:0:0:0:0:0:0:1"))
    party.aim(leg.create_answer())
    party.send()
    await until(lambda: leg.stats.packets_received == 1)
    assert leg.stats.remote == (V6, party.port)


async def test_ports_of_one_version_run_out_alone() -> None:
    engine = MediaEngine(MediaConfig(bind_host=HOSTS, port_range=(47980, 47983), port_rest_s=0.0))
    for _ in range(2):
        engine.create_leg(peer_host=V6)
    with pytest.raises(NoPortsLeft):
        engine.create_leg(peer_host=V6)
    leg = engine.create_leg(peer_host=V4)
    with pytest.raises(NoPortsLeft):
        leg.receive_offer(offer(V6))
    leg.receive_offer(offer(V4))
    page = engine.create_leg(webrtc=True)
    assert [host for host, _, _ in candidates(page.create_offer())] == [V4], "a browser may do with the other one"
    with pytest.raises(NoPortsLeft):
        engine.create_leg(webrtc=True)
    engine.close()
    await until(lambda: engine.counts()["ports"] == 0)


# The engine.


@pytest.mark.parametrize(
    ("bind", "advertised"),
    [((V4, "127.0.0.2"), None), ((V6, "::2"), None), (V4, "2001:db8::1"), (V6, "192.0.2.1"), ((), None)],
)
async def test_addresses_that_do_not_go_together_are_refused(
    bind: str | tuple[str, ...], advertised: str | None
) -> None:
    with pytest.raises(ValueError, match="address"):
        MediaEngine(MediaConfig(bind_host=bind, advertised_host=advertised))


async def test_behind_nat_each_version_has_its_own_advertised_address() -> None:
    nat = ("2001:db8::7", "203.0.113.7")
    engine = MediaEngine(MediaConfig(bind_host=HOSTS, advertised_host=nat, port_range=(47984, 47987)))
    assert host_of(engine.create_leg(peer_host=V4).create_offer()) == nat[1]
    sdp = engine.create_leg(webrtc=True).create_offer()
    assert [host for host, _, _ in candidates(sdp)] == list(nat)
    assert host_of(sdp) == nat[1]
    engine.close()
    partly = MediaEngine(MediaConfig(bind_host=HOSTS, advertised_host=nat[1], port_range=(47988, 47991)))
    assert [host for host, _, _ in candidates(partly.create_leg(webrtc=True).create_offer())] == [V6, nat[1]]
    partly.close()


def test_all_addresses_of_both_versions_have_the_same_ports() -> None:
    pools = [PortPool(host, 47992, 47993) for host in ("::", "0.0.0.0")]
    pairs = [pool.take(0.0) for pool in pools]
    assert [pair.port for pair in pairs] == [47992, 47992]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.sendto(b"IPv4", (V4, 47992))
        pairs[1].rtp.setblocking(True)
        pairs[1].rtp.settimeout(5)
        assert pairs[1].rtp.recv(10) == b"IPv4"
    for pool, pair in zip(pools, pairs, strict=True):
        pool.give_back(pair, 0.0)


# Browsers.


async def test_a_browser_is_told_a_candidate_of_each_version_ipv6_first(engine: MediaEngine) -> None:
    leg = engine.create_leg(webrtc=True)
    sdp = leg.create_offer()
    (six, port_6, best), (four, port_4, next_best) = candidates(sdp)
    assert (six, four) == (V6, V4)
    assert best > next_best
    assert (host_of(sdp), port_of(sdp)) == (first(engine), port_4 if first(engine) == V4 else port_6)
    assert engine.counts()["ports"] == 4


@pytest.mark.parametrize("host", HOSTS)
async def test_a_stock_client_of_one_version_is_met_there(
    engine: MediaEngine, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **wanted: [host])
    caller, callee = browser("PCMU"), browser("PCMU")
    leg = await offered(engine, caller)
    called = engine.create_leg(webrtc=True)
    assert isinstance(called, WebRtcLeg)
    await callee.setRemoteDescription(RTCSessionDescription(called.create_offer(), "offer"))
    await callee.setLocalDescription(await callee.createAnswer())
    called.receive_answer(callee.localDescription.sdp)
    engine.bridge(leg, called)
    await asyncio.gather(connected(leg), connected(called))
    assert abs(await level_hz(caller) - TONE_HZ) < 20
    assert [str((each.stats.remote or ("",))[0]) for each in (leg, called)] == [host, host]
    leg.close()
    called.close()
    await until(lambda: engine.counts()["ports"] == 0)
    await asyncio.gather(caller.close(), callee.close())


async def test_an_ipv6_browser_and_an_ipv4_phone_hear_each_other(
    engine: MediaEngine, monkeypatch: pytest.MonkeyPatch, parties: dict[str, Party]
) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **wanted: [V6])
    peer, phone = browser("PCMU"), parties[V4]
    leg, far = await offered(engine, peer), engine.create_leg(peer_host=V4)
    far.receive_offer(phone.sdp("0"))
    phone.aim(far.create_answer())
    engine.bridge(leg, far)
    await connected(leg)
    assert (await phone.receive()).payload_type == 0
    before = leg.stats.packets_sent
    phone.send()
    await until(lambda: leg.stats.packets_sent > before)
    await peer.close()


class Pages:
    """A call between two legs towards browsers, of two engines that each have both versions."""

    def __init__(self, server: MediaEngine, browser: MediaEngine) -> None:
        self.server, self.browser = server, browser
        one, two = server.create_leg(webrtc=True), browser.create_leg(webrtc=True, codecs=["PCMU"])
        assert isinstance(one, WebRtcLeg)
        assert isinstance(two, WebRtcLeg)
        self.leg, self.page = one, two

    async def begin(self) -> None:
        """The page calls and sends a tone; it gets its echo."""
        exchange(self.page, self.leg)
        self.server.echo(self.leg, prompt=False)
        self.browser.tone(self.page)
        await until(lambda: self.page.stats.packets_received > 5)

    async def goes_on(self) -> None:
        before = self.page.stats.packets_received
        await until(lambda: self.page.stats.packets_received > before + 5)

    def ports(self) -> tuple[int, int]:
        return self.server.counts()["ports"], self.browser.counts()["ports"]


@pytest.fixture
async def pages(engine: MediaEngine) -> AsyncIterator[Pages]:
    far = MediaEngine(MediaConfig(bind_host=HOSTS, port_range=(47940, 47959), port_rest_s=0.0))
    yield Pages(engine, far)
    far.close()
    await until(lambda: far.counts()["ports"] == 0)


async def test_with_both_versions_at_both_ends_ipv6_is_taken(pages: Pages) -> None:
    await pages.begin()
    for leg, far in ((pages.leg, pages.page), (pages.page, pages.leg)):
        assert leg.stats.local[0] == V6
        assert leg.stats.remote == far.stats.local
    assert pages.ports() == (4, 4)


@pytest.mark.parametrize("nowhere", ["::1 9", "2001:db8::1 4000"], ids=["closed port", "no route"])
async def test_where_ipv6_leads_nowhere_ipv4_is_taken_soon(pages: Pages, nowhere: str) -> None:
    started = asyncio.get_running_loop().time()

    def misled(sdp: str) -> str:
        assert " ::1 " in sdp
        return re.sub(r" ::1 [0-9]+ typ", f" {nowhere} typ", sdp)

    pages.page.receive_offer(misled(pages.leg.create_offer()))
    pages.leg.receive_answer(misled(pages.page.create_answer()))
    await until(lambda: pages.leg.state == pages.page.state == "connected")
    assert asyncio.get_running_loop().time() - started < 3
    assert [leg.stats.local[0] for leg in (pages.leg, pages.page)] == [V4, V4]


async def test_a_restart_has_ports_of_both_versions_and_gives_back_those_before(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webrtc_leg, "LINGER_S", 0.05)
    await pages.begin()
    for asks, follows in ((pages.page, pages.leg), (pages.leg, pages.page)):
        before = candidates(follows.local_sdp)
        asks.restart_ice()
        exchange(asks, follows)
        assert pages.ports() == (8, 8), "the old path stays until the new one is ready"
        await until(lambda: pages.ports() == (4, 4))
        assert [host for host, _, _ in candidates(follows.local_sdp)] == [V6, V4]
        assert not {each[:2] for each in before} & {each[:2] for each in candidates(follows.local_sdp)}
        await pages.goes_on()
    asks.restart_ice()
    follows.receive_offer(asks.create_offer())
    assert pages.ports() == (8, 8)
    follows.rollback()
    asks.rollback()
    assert pages.ports() == (4, 4)


async def test_a_browser_that_goes_over_to_ipv4_is_followed(pages: Pages) -> None:
    await pages.begin()
    secure = pages.page._secure
    assert secure is not None
    port = next(port for host, port, _ in candidates(pages.leg.local_sdp) if host == V4)
    transport, elsewhere = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Elsewhere(secure), local_addr=(V4, 0)
    )
    elsewhere.nominate((V4, port))
    await until(lambda: elsewhere.media > 5)
    assert pages.leg.stats.remote == transport.get_extra_info("sockname")[:2]
    assert pages.leg.stats.local == (V4, port)
    transport.close()


async def test_a_leg_that_finds_no_way_gives_all_its_ports_back(
    engine: MediaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice, "SETUP_S", 0.1)
    peer = browser("PCMU")
    leg = engine.create_leg(webrtc=True)
    assert isinstance(leg, WebRtcLeg)
    await peer.setLocalDescription(await peer.createOffer())
    sdp = "\r\n".join(line for line in peer.localDescription.sdp.split("\r\n") if "candidate" not in line)
    leg.receive_offer(sdp)
    leg.create_answer()
    await until(lambda: leg.state == "failed")
    await until(lambda: engine.counts()["ports"] == 0)
    await peer.close()


def test_on_uvloop_too_a_way_that_is_none_does_no_harm() -> None:
    async def run() -> None:
        engines = [
            MediaEngine(MediaConfig(bind_host=HOSTS, port_range=(at, at + 19), port_rest_s=0.0))
            for at in (47900, 47940)
        ]
        pages = Pages(*engines)
        exchange(pages.leg, pages.page, lambda sdp: re.sub(" ::1 [0-9]+ typ", " 2001:db8::1 4000 typ", sdp))
        await until(lambda: pages.leg.state == pages.page.state == "connected")
        for engine in engines:
            engine.close()
        await until(lambda: pages.ports() == (0, 0))

    uvloop.run(run(), debug=True)
