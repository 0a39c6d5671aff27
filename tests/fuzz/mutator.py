"""Broken SIP messages without end, the same for the same seed, made from the messages of RFC 4475 and RFC 5118."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

from tests.corpus.expected import messages

__all__ = ["mutations"]

MAX_LENGTH: Final = 65_507  # octets in a UDP datagram

Mutation = Callable[[random.Random, bytearray], None]

_CRLF: Final = b"\r\n"
_PIECES: Final = (
    *(b'"', b'\\"', b"\\", b"<", b">", b",", b";", b":", b"=", b"@", b"%", b"[", b"]", b"(", b"?", b"&", b"/", b"*"),
    *(b"\0", b"\r", b"\n", b"\r\n", b"\r\n ", b"\r\n\t", b"\r\n\r\n", b" ", b"\t", b"\x7f", b"\x80", b"\xc3", b"\xff"),
    *(b"%00", b"%", b"%zz", b'""', b'"\\"', b"<>", b"<sip:", b"sip:", b"sips:", b"tel:", b";lr", b";tag=", b";branch="),
    *(
        b"SIP/2.0",
        b"INVITE",
        b"ACK",
        b"CANCEL",
        b"BYE",
        b"[::1]",
        b"[",
        b"255.255.255.255",
        b"\xe2\x82\xac",
        b"\xed\xa0\x80",
    ),
)
_NUMBERS: Final = (
    *(b"0", b"-1", b"+1", b"1.5", b"00000000000000000001", b"65535", b"65536", b"2147483647", b"2147483648"),
    *(b"4294967295", b"4294967296", b"18446744073709551616", b"9" * 400, b"9" * 5000, b"0x10", b"1e9", b"\xb2", b""),
)
_LINES: Final = (
    *(b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKm", b"v: ;", b"Via:", b"From: <sip:x@y>;tag=1", b"To: *"),
    *(b"t: <sip:x@y>", b"Call-ID: other", b"i:", b"CSeq: 1 INVITE", b"CSeq: 4294967296 ACK", b"Content-Length: 0"),
    *(b"l: 99999", b"l: -1", b"Contact: *", b"m: <sip:a@b>, *", b'Contact: "', b"Route: <sip:r;lr>", b"Route: <"),
    *(b"Record-Route: <sip:r", b"Via", b"Max-Forwards: 0", b"Max-Forwards: x", b"Require: a, b", b"Expires: -1"),
    *(b"Content-Type: x", b'c: a/b; c="', b'Authorization: Digest a="b', b"Reason: ;"),
    *(b'Authorization: Digest username="\\\\\\"', b"no colon", b": x", b" folded"),
)


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """`count` messages, most of them broken in one to four ways."""
    rng = random.Random(seed)
    sources = [data for _, data in messages()]
    for _ in range(count):
        data = bytearray(rng.choice(sources))
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
            rng.choices(_MUTATIONS, _WEIGHTS)[0](rng, data)
        if rng.random() < 0.05:
            _splice(rng, data, rng.choice(sources))
        yield bytes(data[:MAX_LENGTH])


def _at(rng: random.Random, data: bytearray) -> int:
    return rng.randrange(len(data) + 1)


def _flip_bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_octet(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _insert_piece(rng: random.Random, data: bytearray) -> None:
    at = _at(rng, data)
    data[at:at] = rng.choice(_PIECES)


def _insert_run(rng: random.Random, data: bytearray) -> None:
    at = _at(rng, data)
    data[at:at] = rng.choice(_PIECES) * rng.choice((2, 10, 100, 1000, 10_000))


def _delete(rng: random.Random, data: bytearray) -> None:
    at = _at(rng, data)
    del data[at : at + rng.choice((1, 1, 2, 10, 100))]


def _truncate(rng: random.Random, data: bytearray) -> None:
    del data[_at(rng, data) :]


def _duplicate(rng: random.Random, data: bytearray) -> None:
    start = _at(rng, data)
    piece = data[start : start + rng.choice((1, 10, 100, 1000))]
    at = _at(rng, data)
    data[at:at] = piece * rng.choice((1, 2, 5))


def _change_number(rng: random.Random, data: bytearray) -> None:
    digits = [n for n, octet in enumerate(data) if 48 <= octet <= 57]
    if digits:
        start = end = rng.choice(digits)
        while start and 48 <= data[start - 1] <= 57:
            start -= 1
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        data[start:end] = rng.choice(_NUMBERS)


def _lines(data: bytearray) -> tuple[list[bytes], bytes]:
    head, separator, body = bytes(data).partition(_CRLF * 2)
    return head.split(_CRLF), separator + body


def _change_lines(rng: random.Random, data: bytearray) -> None:
    lines, rest = _lines(data)
    at = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            lines[at:at] = [lines[at]] * rng.choice((1, 1, 2, 50, 2000))
        case 1:
            del lines[at]
        case 2:
            lines.insert(at, rng.choice(_LINES))
        case 3:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 4:
            name, colon, value = lines[at].partition(b":")
            lines[at] = name.swapcase() + b" " * rng.randrange(3) + colon + b"\r\n" * rng.randrange(2) + b" " + value
        case _:
            lines[at] = lines[at].partition(b":")[0] + b":" + rng.choice(_LINES).partition(b":")[2]
    data[:] = _CRLF.join(lines) + rest


def _break_quotes(rng: random.Random, data: bytearray) -> None:
    places = [n for n, octet in enumerate(data) if octet in b'"<>\\']
    if places:
        at = rng.choice(places)
        data[at : at + 1] = rng.choice((b"", b'"', b"\\", b'\\"', b"<", b">", b'""', b"\\\\"))


def _splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    start = rng.randrange(len(other))
    data[_at(rng, data) :] = other[start:]


_MUTATIONS: Final[tuple[Mutation, ...]] = (
    *(_flip_bits, _set_octet, _insert_piece, _insert_run, _delete, _truncate, _duplicate),
    *(_change_number, _change_lines, _break_quotes),
)
_WEIGHTS: Final = (10, 10, 20, 3, 10, 3, 5, 15, 20, 10)
