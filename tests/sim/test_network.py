"""The network in memory."""

from __future__ import annotations

import pytest

from .fixture import Sim
from .network import End, Network, label_of


class Port:
    """Keeps what arrives and when."""

    def __init__(self, network: Network, name: str, port: int = 5060) -> None:
        self.network = network
        self.address = (network.host(name), port)
        self.got: list[tuple[float, bytes]] = []
        self.back: list[tuple[str, int]] = []
        network.bind(self.address, self)

    def receive(self, data: bytes, source: tuple[str, int]) -> None:
        self.got.append((round(self.network.clock.now, 4), data))

    def unreachable(self, remote: tuple[str, int]) -> None:
        self.back.append(remote)

    def send(self, data: bytes, other: Port) -> None:
        self.network.send_datagram(self.address, other.address, data)


def ports(sim: Sim) -> tuple[Port, Port]:
    return Port(sim.network, "a"), Port(sim.network, "b")


def test_what_is_sent_arrives_in_order(sim: Sim) -> None:
    a, b = ports(sim)
    for number in range(100):
        a.send(b"%d" % number, b)
    assert b.got == []
    sim.run_for(1)
    assert b.got == [(1000.001, b"%d" % number) for number in range(100)]


def test_losing_doubling_delaying(sim: Sim) -> None:
    a, b = ports(sim)
    invite, bye = b"INVITE sip:b SIP/2.0\r\n\r\n", b"BYE sip:b SIP/2.0\r\n\r\n"
    sim.network.lose("INVITE", source="a")
    sim.network.duplicate("INVITE", times=1)
    sim.network.delay("INVITE", 0.5, destination="b")
    sim.network.lose("*", source="b")
    for _ in range(4):
        a.send(invite, b)
    a.send(bye, b)
    b.send(bye, a)
    sim.run_for(1)
    assert [(at, data[:3]) for at, data in b.got] == [
        (1000.001, b"INV"),
        (1000.001, b"INV"),
        (1000.001, b"INV"),
        (1000.001, b"BYE"),
        (1000.501, b"INV"),
    ]
    assert a.got == []
    assert sim.network.ladder() == [
        "a > b: INVITE (lost)",
        "a > b: INVITE",
        "a > b: INVITE",
        "a > b: INVITE",
        "a > b: BYE",
        "b > a: BYE (lost)",
    ]
    assert sim.network.sent("a", "b") == ["INVITE"] * 4 + ["BYE"]
    assert sim.network.messages("BYE", source="b") == [bye.decode()]


def test_shares_of_loss_and_doubling(sim: Sim) -> None:
    a, b = ports(sim)
    sim.network.loss, sim.network.duplication = 0.3, 0.1
    for _ in range(2000):
        a.send(b"x", b)
    sim.run_for(1)
    assert len(b.got) == pytest.approx(2000 * 0.7 * 1.1, rel=0.05)


def test_closed_ports_and_dead_hosts(sim: Sim) -> None:
    a, b = ports(sim)
    sim.network.unbind(b.address)
    a.send(b"x", b)
    sim.run_for(1)
    assert a.back == [b.address]
    sim.network.take_down("b")
    a.send(b"x", b)
    sim.run_for(1)
    sim.network.bring_up("b")
    sim.network.icmp = False
    a.send(b"x", b)
    sim.run_for(1)
    assert a.back == [b.address]
    assert sim.network.ladder() == ["a > b: ?", "a > b: ? (lost)", "a > b: ?"]
    with pytest.raises(AssertionError, match="is taken"):
        Port(sim.network, "a")


def test_a_connection(sim: Sim) -> None:
    network = sim.network
    accepted: list[End] = []
    got: list[bytes] = []
    closed: list[str] = []

    def accept(end: End) -> None:
        accepted.append(end)
        end.on_data = got.append
        end.on_closed = lambda: closed.append("theirs")

    network.listen((network.host("b"), 5060), accept)
    end = network.connect("a", (network.host("b"), 5060))
    end.on_data = got.append
    end.send(b"early")
    sim.run_for(1)
    assert got == [b"early"]
    assert accepted[0].remote == end.local
    accepted[0].send(b"back")
    sim.run_for(1)
    assert got == [b"early", b"back"]
    end.close()
    end.send(b"too late")
    sim.run_for(1)
    assert closed == ["theirs"]
    assert got == [b"early", b"back"]


def test_a_refused_connection(sim: Sim) -> None:
    closed: list[bool] = []
    end = sim.network.connect("a", (sim.network.host("b"), 5060))
    end.on_closed = lambda: closed.append(True)
    sim.run_for(1)
    assert closed == [True]
    assert end.closed


@pytest.mark.parametrize(
    ("data", "label"),
    [
        (b"\r\n\r\n", "CRLF"),
        (b"INVITE sip:a SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n", "INVITE"),
        (b"SIP/2.0 180 Ringing\r\ncseq: 1 INVITE\r\n\r\n", "180 INVITE"),
        (b"SIP/2.0 180 Ringing\r\n\r\n", "180"),
        (b"nonsense", "?"),
    ],
)
def test_labels(data: bytes, label: str) -> None:
    assert label_of(data) == label
