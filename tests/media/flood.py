"""Datagrams that mean nothing: `python tests/media/flood.py SEED SECONDS RATE PORT...`.

Prints "pouring" once it does, and when its time is over or it is terminated, how many it sent a second.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import sys
import time
from collections.abc import Callable

BURST_S = 0.01
SOURCES = ("127.0.0.1", "127.0.0.9")
COOKIE = bytes.fromhex("2112a442")

Chance = random.Random


def noise(chance: Chance) -> bytes:
    """Anything, from nothing at all to more than an Ethernet frame."""
    return chance.randbytes(chance.choice((0, 1, 2, 11, 12, 13, 40, 1500, 9000)))


def rtp(chance: Chance) -> bytes:
    """Looks like RTP or RTCP, and is of no key."""
    return bytes((chance.randrange(128, 192), chance.randrange(256))) + chance.randbytes(chance.randrange(200))


def dtls(chance: Chance) -> bytes:
    """A record with a good header (RFC 6347 §4.1): alert, handshake, data; the epoch is often the first one."""
    body = chance.choice((b"\x02\x28", b"\x01\x00", chance.randbytes(chance.randrange(300))))
    head = bytes((chance.randrange(20, 26),)) + b"\xfe" + chance.choice((b"\xff", b"\xfd"))
    return head + bytes((0, chance.randrange(2))) + chance.randbytes(6) + len(body).to_bytes(2, "big") + body


def stun(chance: Chance) -> bytes:
    """A STUN message with a good header (RFC 8489 §5); its attributes, if any, may end too early or mean nothing."""
    body = b""
    for _ in range(chance.randrange(4)):
        kind = chance.choice((0x0001, 0x0006, 0x0008, 0x0009, 0x0020, 0x0024, 0x8028, 0x802A, chance.randrange(65536)))
        value = chance.randbytes(chance.choice((0, 1, 4, 8, 20, 21)))
        stated = len(value) if chance.random() < 0.7 else chance.randrange(65536)
        body += kind.to_bytes(2, "big") + stated.to_bytes(2, "big") + value + bytes(-len(value) % 4)
    size = len(body) if chance.random() < 0.8 else chance.randrange(65536)
    kind = chance.choice((0x0001, 0x0101, 0x0111, 0x0011, chance.randrange(0x4000)))
    return kind.to_bytes(2, "big") + size.to_bytes(2, "big") + COOKIE + chance.randbytes(12) + body


KINDS: tuple[Callable[[Chance], bytes], ...] = (noise, rtp, dtls, stun)


def main() -> None:
    """Send until the time is over."""
    seed, seconds, rate, *ports = (float(word) for word in sys.argv[1:])
    chance = Chance(seed)
    datagrams = [chance.choice(KINDS)(chance) for _ in range(2000)]
    sockets = []
    for source in SOURCES:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((source, 0))
        sockets.append(opened)
    sent, over = 0, False

    def end(*_: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    print("pouring", flush=True)
    began_at = time.monotonic()
    while (gone := time.monotonic() - began_at) < seconds and not over:
        for _ in range(min(int(gone * rate) - sent, int(rate * BURST_S) * 4)):
            target = ("127.0.0.1", int(ports[sent % len(ports)]))
            with contextlib.suppress(OSError):  # the port is closed already
                sockets[sent // len(ports) % len(sockets)].sendto(datagrams[chance.randrange(len(datagrams))], target)
            sent += 1
        time.sleep(BURST_S)
    print(f"{sent / (time.monotonic() - began_at):.0f}", flush=True)


if __name__ == "__main__":
    main()
