"""Port pairs."""

from __future__ import annotations

import errno
import socket

import pytest

from media.errors import NoPortsLeft
from media.ports import BUSY_REST_S, REST_S, PortPair, PortPool, disconnect


@pytest.fixture
def pool() -> PortPool:
    return PortPool("127.0.0.1", 21600, 21605, rest_s=2.0)


def test_pairs_are_even_and_odd_and_bound(pool: PortPool) -> None:
    pairs = [pool.take(0.0) for _ in range(3)]
    assert sorted(pair.port for pair in pairs) == [21600, 21602, 21604]
    for pair in pairs:
        assert pair.rtp.getsockname() == ("127.0.0.1", pair.port)
        assert pair.rtcp.getsockname() == ("127.0.0.1", pair.port + 1)
        assert not pair.rtp.getblocking()
    assert pool.used == {21600, 21602, 21604}
    with pytest.raises(NoPortsLeft):
        pool.take(0.0)
    close(pool, pairs)


def close(pool: PortPool, pairs: list[PortPair]) -> None:
    for pair in pairs:
        pool.give_back(pair, 0.0)
    assert not pool.used


def test_freed_ports_rest(pool: PortPool) -> None:
    pairs = [pool.take(0.0) for _ in range(3)]
    pool.give_back(pairs[1], 10.0)
    assert pool.resting == 1
    with pytest.raises(NoPortsLeft):
        pool.take(11.9)
    again = pool.take(12.0)
    assert again.port == pairs[1].port
    close(pool, [pairs[0], again, pairs[2]])


def test_the_longest_free_is_given_first() -> None:
    pool = PortPool("127.0.0.1", 21600, 21605, rest_s=0.0)
    order = []
    for now in range(6):
        pair = pool.take(float(now))
        order.append(pair.port)
        pool.give_back(pair, float(now))
    assert order[:3] == order[3:]


@pytest.mark.parametrize("taken", [0, 1])
def test_a_pair_that_another_holds_is_skipped_and_tried_later(taken: int) -> None:
    pool = PortPool("127.0.0.1", 21610, 21613)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 21610 + taken))
        pair = pool.take(0.0)
        assert pair.port == 21612
        with pytest.raises(NoPortsLeft):
            pool.take(0.0)
    with pytest.raises(NoPortsLeft):
        pool.take(BUSY_REST_S - 1)
    second = pool.take(BUSY_REST_S)
    assert second.port == 21610
    close(pool, [pair, second])


def test_a_pair_of_another_program_does_not_keep_freed_ones_back() -> None:
    pool = PortPool("127.0.0.1", 21614, 21617)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 21614))
        pair = pool.take(0.0)
        with pytest.raises(NoPortsLeft):
            pool.take(0.0)
        pool.give_back(pair, 1.0)
        again = pool.take(1.0 + REST_S)
    assert (pair.port, again.port, pool.resting) == (21616, 21616, 1)
    pool.give_back(again, 4.0)


def test_no_file_descriptor_left(pool: PortPool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted(socket.socket):
        def __init__(self, *_: object) -> None:
            raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("media.ports.socket.socket", Exhausted)
        with pytest.raises(NoPortsLeft, match="descriptor"):
            pool.take(0.0)
    close(pool, [pool.take(0.0) for _ in range(3)])


def test_own_addresses(pool: PortPool) -> None:
    pair = pool.take(0.0)
    assert pool.owns("127.0.0.1", pair.port)
    assert pool.owns("127.0.0.1", pair.port + 1)
    assert pool.owns("127.0.0.99", pair.port)  # this machine, too
    assert not pool.owns("192.0.2.1", pair.port)
    assert not pool.owns("127.0.0.1", 5060)
    close(pool, [pair])


def test_an_odd_range_loses_its_odd_ends() -> None:
    pool = PortPool("127.0.0.1", 21621, 21624)
    pair = pool.take(0.0)
    assert pair.port == 21622
    with pytest.raises(NoPortsLeft):
        pool.take(0.0)
    close(pool, [pair])


def test_ports_that_browsers_refuse_are_left_out() -> None:
    pool = PortPool("127.0.0.1", 10078, 10083)
    pairs = [pool.take(0.0), pool.take(0.0)]
    assert sorted(pair.port for pair in pairs) == [10078, 10082]
    with pytest.raises(NoPortsLeft):
        pool.take(0.0)
    close(pool, pairs)


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 100), (30000, 29999), (65000, 65536), (30001, 30002), (30000, 30000), (10080, 10081), (5060, 5061)],
)
def test_unusable_ranges(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="port"):
        PortPool("127.0.0.1", first, last)


def test_ipv6() -> None:
    pool = PortPool("::1", 21630, 21631)
    pair = pool.take(0.0)
    assert pair.rtp.getsockname()[:2] == ("::1", 21630)
    close(pool, [pair])


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_disconnected_socket_hears_everybody_on_the_same_port(host: str, family: socket.AddressFamily) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as one,
        socket.socket(family, socket.SOCK_DGRAM) as two,
        socket.socket(family, socket.SOCK_DGRAM) as three,
    ):
        for number, each in enumerate((one, two, three)):
            each.bind((host, 21640 + number))  # not 0: the kernel takes back a port that it chose itself
            each.settimeout(5)
        name = one.getsockname()
        one.connect(two.getsockname())
        three.sendto(b"unheard", name)
        disconnect(one)
        assert one.getsockname() == name
        three.sendto(b"heard", name)
        assert one.recvfrom(100)[0] == b"heard"


def test_disconnecting_a_closed_socket_is_an_error() -> None:
    gone = socket.socket()
    gone.close()
    with pytest.raises(OSError, match=r".") as caught:
        disconnect(gone)
    assert caught.value.errno == errno.EBADF
