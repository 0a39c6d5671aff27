"""RFC 3263 on paper: which questions are asked, and in which order the answers are tried."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from sip.resolver import MAX_TARGETS, Naptr, ResolveError, Srv, numeric_target, order_srv, resolve
from sip.transport.base import Target
from sip.uri import Uri


@dataclass
class Zone:
    """Answers of a test; `ResolveError` for names in `silent`."""

    a: dict[str, list[str]] = field(default_factory=dict)
    aaaa: dict[str, list[str]] = field(default_factory=dict)
    srvs: dict[str, list[Srv]] = field(default_factory=dict)
    naptrs: dict[str, list[Naptr]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def _ask(self, kind: str, name: str) -> None:
        self.asked.append(f"{kind} {name}")
        if name in self.silent or f"{kind} {name}" in self.silent:
            raise ResolveError(f"no answer to {kind} {name}")

    async def naptr(self, name: str) -> Sequence[Naptr]:
        self._ask("NAPTR", name)
        return self.naptrs.get(name, [])

    async def srv(self, name: str) -> Sequence[Srv]:
        self._ask("SRV", name)
        return self.srvs.get(name, [])

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        self._ask("AAAA" if ipv6 else "A", name)
        return (self.aaaa if ipv6 else self.a).get(name, [])


async def targets(
    uri: str, zone: Zone, transports: Sequence[str] = ("UDP", "TCP"), versions: Sequence[int] = (4,)
) -> list[Target]:
    return await resolve(Uri.parse(uri), zone, transports=transports, versions=versions, chance=random.Random(1))


def naptr(order: int, service: str, replacement: str, *, preference: int = 0, flags: str = "s") -> Naptr:
    return Naptr(order, preference, flags, service, "", replacement)


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("sip:1002@192.0.2.1", Target("UDP", "192.0.2.1", 5060)),
        ("sip:1002@192.0.2.1:5080", Target("UDP", "192.0.2.1", 5080)),
        ("sip:1002@192.0.2.1;transport=tcp", Target("TCP", "192.0.2.1", 5060)),
        ("sip:1002@[2001:db8::1]:5070;transport=UDP", Target("UDP", "2001:db8::1", 5070)),
        ("sip:1002@example.net;maddr=192.0.2.9", Target("UDP", "192.0.2.9", 5060)),
        ("sip:1002@example.net;maddr=[2001:db8::9]", Target("UDP", "2001:db8::9", 5060)),
    ],
)
async def test_a_number_needs_no_dns(uri: str, target: Target) -> None:
    zone = Zone()
    assert numeric_target(Uri.parse(uri), ("UDP", "TCP")) == target
    assert await targets(uri, zone) == [target]
    assert zone.asked == []


async def test_a_name_is_no_number() -> None:
    assert numeric_target(Uri.parse("sip:1.2.3@example.net"), ("UDP",)) is None
    assert numeric_target(Uri.parse("sip:a@127.1"), ("UDP",)) is None


async def test_only_tcp_spoken_makes_it_the_default() -> None:
    assert await targets("sip:192.0.2.1", Zone(), ("TCP",)) == [Target("TCP", "192.0.2.1", 5060)]


async def test_an_explicit_port_asks_for_addresses_only() -> None:
    zone = Zone(a={"example.net": ["192.0.2.1", "192.0.2.2"]})
    assert await targets("sip:a@example.net:5080", zone) == [
        Target("UDP", "192.0.2.1", 5080),
        Target("UDP", "192.0.2.2", 5080),
    ]
    assert zone.asked == ["A example.net"]


async def test_naptr_chooses_the_transport() -> None:
    """The example of RFC 3263 §4.1: TLS first there, TCP next, UDP last; TLS we do not speak."""
    zone = Zone(
        naptrs={
            "example.com": [
                naptr(100, "SIP+D2U", "_sip._udp.example.com"),
                naptr(50, "SIPS+D2T", "_sips._tcp.example.com"),
                naptr(90, "SIP+D2T", "_sip._tcp.example.com"),
            ]
        },
        srvs={
            "_sip._tcp.example.com": [
                Srv(0, 1, 5060, "server1.example.com"),
                Srv(1, 1, 5070, "server2.example.com"),
            ],
            "_sip._udp.example.com": [Srv(0, 1, 5060, "server3.example.com")],
        },
        a={f"server{n}.example.com": [f"192.0.2.{n}"] for n in (1, 2, 3)},
    )
    assert await targets("sip:user@example.com", zone) == [
        Target("TCP", "192.0.2.1", 5060),
        Target("TCP", "192.0.2.2", 5070),
        Target("UDP", "192.0.2.3", 5060),
    ]


async def test_naptr_records_we_cannot_use_are_passed_over() -> None:
    zone = Zone(
        naptrs={
            "example.net": [
                naptr(1, "E2U+sip", "_sip._udp.wrong.example.net"),
                naptr(2, "SIP+D2U", "terminal.example.net", flags="a"),
                Naptr(3, 0, "u", "SIP+D2U", "!^.*$!sip:x@example.org!", ""),
                naptr(4, "sip+d2u", "_sip._udp.right.example.net", flags="S"),
            ]
        },
        srvs={"_sip._udp.right.example.net": [Srv(0, 0, 5062, "right.example.net")]},
        a={"right.example.net": ["192.0.2.4"]},
    )
    assert await targets("sip:example.net", zone) == [Target("UDP", "192.0.2.4", 5062)]


async def test_without_naptr_each_transport_has_its_srv() -> None:
    zone = Zone(
        srvs={
            "_sip._udp.example.net": [Srv(0, 0, 5060, "one.example.net")],
            "_sip._tcp.example.net": [Srv(0, 0, 5061, "one.example.net")],
        },
        a={"one.example.net": ["192.0.2.1"]},
    )
    assert await targets("sip:example.net", zone) == [
        Target("UDP", "192.0.2.1", 5060),
        Target("TCP", "192.0.2.1", 5061),
    ]
    assert zone.asked[0] == "NAPTR example.net"


async def test_an_asked_transport_skips_naptr() -> None:
    zone = Zone(
        srvs={"_sip._tcp.example.net": [Srv(0, 0, 5061, "one.example.net")]}, a={"one.example.net": ["192.0.2.1"]}
    )
    assert await targets("sip:example.net;transport=TCP", zone) == [Target("TCP", "192.0.2.1", 5061)]
    assert zone.asked == ["SRV _sip._tcp.example.net", "A one.example.net"]


async def test_without_any_record_the_name_itself_is_the_host() -> None:
    zone = Zone(a={"example.net": ["192.0.2.1"]})
    assert await targets("sip:Example.NET.", zone) == [Target("UDP", "192.0.2.1", 5060)]


async def test_a_name_without_address_is_an_error() -> None:
    with pytest.raises(ResolveError, match=r"nowhere\.example\.net has no address"):
        await targets("sip:nowhere.example.net", Zone())


async def test_a_service_that_is_decidedly_not_offered() -> None:
    """RFC 2782: a target of "." must not fall back to the host's address."""
    zone = Zone(srvs={"_sip._udp.example.net": [Srv(0, 0, 0, "")]}, a={"example.net": ["192.0.2.1"]})
    with pytest.raises(ResolveError, match="offers no SIP"):
        await targets("sip:example.net", zone, ("UDP",))


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sips:a@192.0.2.1", "TLS"),
        ("sip:a@192.0.2.1;transport=sctp", "SCTP is not spoken"),
        ("tel:+33123456789", "tel URI names no host"),
    ],
)
async def test_what_we_cannot_speak(uri: str, why: str) -> None:
    with pytest.raises(ResolveError, match=why):
        await targets(uri, Zone())


async def test_a_silent_naptr_question_does_not_stop_the_rest() -> None:
    zone = Zone(
        silent={"NAPTR example.net"},
        srvs={"_sip._udp.example.net": [Srv(0, 0, 5060, "one.example.net")]},
        a={"one.example.net": ["192.0.2.1"]},
    )
    assert await targets("sip:example.net", zone) == [Target("UDP", "192.0.2.1", 5060)]


async def test_a_silent_srv_question_is_an_error() -> None:
    """Not «no records»: the host's own address might be a web server."""
    zone = Zone(silent={"SRV _sip._udp.example.net"}, a={"example.net": ["192.0.2.1"]})
    with pytest.raises(ResolveError, match="no answer"):
        await targets("sip:example.net", zone, ("UDP",))


async def test_one_dead_name_does_not_hide_the_next() -> None:
    zone = Zone(
        srvs={"_sip._udp.example.net": [Srv(0, 0, 5060, "dead.example.net"), Srv(1, 0, 5060, "live.example.net")]},
        a={"live.example.net": ["192.0.2.2"]},
        silent={"dead.example.net"},
    )
    assert await targets("sip:example.net", zone, ("UDP",)) == [Target("UDP", "192.0.2.2", 5060)]


async def test_when_all_names_are_dead_it_says_so() -> None:
    zone = Zone(srvs={"_sip._udp.x": [Srv(0, 0, 5060, "dead")]}, silent={"dead"})
    with pytest.raises(ResolveError, match="no answer to A dead"):
        await targets("sip:x", zone, ("UDP",))


async def test_ip_versions_in_our_order() -> None:
    zone = Zone(a={"example.net": ["192.0.2.1"]}, aaaa={"example.net": ["2001:db8::1"]})
    assert [t.host for t in await targets("sip:example.net:5060", zone, versions=(6, 4))] == [
        "2001:db8::1",
        "192.0.2.1",
    ]
    assert [t.host for t in await targets("sip:example.net:5060", zone, versions=(4, 6))] == [
        "192.0.2.1",
        "2001:db8::1",
    ]
    assert [t.host for t in await targets("sip:example.net:5060", zone, versions=(4,))] == ["192.0.2.1"]


async def test_one_ip_version_may_be_silent() -> None:
    zone = Zone(a={"example.net": ["192.0.2.1"]}, silent={"AAAA example.net"})
    assert [t.host for t in await targets("sip:example.net:5060", zone, versions=(6, 4))] == ["192.0.2.1"]


async def test_an_srv_target_may_be_a_number_and_each_place_counts_once() -> None:
    zone = Zone(srvs={"_sip._udp.example.net": [Srv(0, 0, 5060, "192.0.2.1"), Srv(1, 0, 5060, "192.0.2.1")]})
    assert await targets("sip:example.net", zone, ("UDP",)) == [Target("UDP", "192.0.2.1", 5060)]


async def test_a_hostile_zone_is_cut_short() -> None:
    many = [Srv(0, 0, 5060, f"h{n}.example.net") for n in range(500)]
    zone = Zone(
        srvs={"_sip._udp.example.net": many}, a={f"h{n}.example.net": [f"192.0.2.{n % 250 + 1}"] for n in range(500)}
    )
    assert len(await targets("sip:example.net", zone, ("UDP",))) == MAX_TARGETS
    assert len(zone.asked) <= MAX_TARGETS + 2


def test_srv_priorities_come_before_weights() -> None:
    records = [Srv(20, 1000, 1, "c"), Srv(10, 0, 1, "a"), Srv(20, 1, 1, "d"), Srv(10, 0, 1, "b")]
    for seed in range(50):
        ordered = [record.target for record in order_srv(records, random.Random(seed))]
        assert set(ordered[:2]) == {"a", "b"}
        assert set(ordered[2:]) == {"c", "d"}


def test_srv_weights_share_the_load() -> None:
    """RFC 2782: 3 to 1 among those of one priority, and weight 0 almost never first."""
    records = [Srv(0, 0, 1, "zero"), Srv(0, 10, 1, "small"), Srv(0, 30, 1, "large")]
    chance = random.Random(7)
    first = Counter(order_srv(records, chance)[0].target for _ in range(10_000))
    assert first["large"] / first["small"] == pytest.approx(3.0, rel=0.15)
    assert first["zero"] < 400
    assert all(len(order_srv(records, chance)) == 3 for _ in range(10))
