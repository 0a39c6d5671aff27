"""No message of 64 KiB takes more than 5 ms, whatever is in it; scanners take time in proportion to what they scan.

Times are CPU times of this thread, the best of several runs: what else the machine does hardly matters.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from functools import partial

import pytest

from sip.errors import ParseError
from sip.grammar import parse_parameters, quoted_end, split_list, unfold
from sip.headers import Address, AuthValue, CSeq, MediaType, Reason, Via, nul_is_escaped
from sip.message import MAX_HEAD, MAX_MESSAGE, parse_message, response_to
from sip.stream import MessageStream
from sip.uri import Uri

LIMIT_S = 0.005
RUNS = 7

HEAD = (
    "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@h>;tag=f\r\nTo: <sip:b@h>\r\n"
    "Call-ID: c@h\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n"
)

# What is repeated, between a beginning and an end, as a header line or as a part of one.
REPEATED = {
    "commas in Contact": ("Contact: ", ",", ""),
    "commas in Via": ("Via: SIP/2.0/UDP h", ",", ""),
    "commas in Allow": ("Allow: ", ",", ""),
    "commas with brackets": ("Contact: ", "<a:b>,", "<a:b>"),
    "commas in quotes": ('Contact: "', ",", '" <sip:a@h>'),
    "headers": ("", "a:\r\n", "a: b"),
    "headers of one letter twice": ("", "v:\r\n", "v: b"),
    "headers without colon": ("", "a\r\n", "a: b"),
    "Vias": ("", "Via: SIP/2.0/UDP h\r\n", "Via: SIP/2.0/UDP h"),
    "folds": ("Subject: a", "\r\n ", "b"),
    "folds of a Contact": ("Contact: <sip:a@h>", "\r\n ;\r\n a", ""),
    "folded tabs": ("Contact: ", "\r\n\t", "<sip:a@h>"),
    "spaces": ("Contact: ", " ", "<sip:a@h>"),
    "spaces in the middle": ("Contact: <sip:a@h>", " ", ";a"),
    "spaces before a colon": ("Contact", " ", ": <sip:a@h>"),
    "backslashes in quotes": ('Contact: "', "\\\\", '" <sip:a@h>'),
    "an open quote and backslashes": ('Contact: "', "\\", " <sip:a@h>"),
    "escaped quotes": ('Contact: "', '\\"', '" <sip:a@h>'),
    "quotes": ("Contact: ", '"', " <sip:a@h>"),
    "quoted strings": ("Contact: ", '"",', " <sip:a@h>"),
    "opening brackets": ("Contact: ", "<", ""),
    "closing brackets": ("Contact: <sip:a@h", ">", ""),
    "brackets": ("Contact: ", "<>", ""),
    "parameters": ("Contact: <sip:a@h>", ";a", ""),
    "spaced parameters": ("Contact: <sip:a@h>", " ; a", ""),
    "quoted parameters": ("Contact: <sip:a@h>", ';a="b"', ""),
    "semicolons": ("Contact: <sip:a@h>", ";", ""),
    "equal signs": ("Contact: <sip:a@h>;a", "=", ""),
    "parameters of a URI": ("Contact: <sip:a@h", ";a=b", ">"),
    "headers of a URI": ("Contact: <sip:a@h?a", "&a=b", ">"),
    "escapes": ("Contact: <sip:", "%41", "@h>"),
    "bad escapes": ("Contact: <sip:", "%", "@h>"),
    "at signs": ("Contact: <sip:a", "@", "h>"),
    "colons": ("Contact: <sip:a", ":", "@h>"),
    "a long host": ("Contact: <sip:a@h", ".h", ".->"),
    "an IPv6 reference": ("Contact: <sip:a@[", ":", "]>"),
    "an IPv6 reference of threes": ("Contact: <sip:a@[", ":::1.1", "]>"),
    "digits of a port": ("Contact: <sip:a@h:", "1", ">"),
    "digits of Max-Forwards": ("Max-Forwards: ", "1", ""),
    "digits of Expires": ("Expires: ", "1", ""),
    "zeros": ("Max-Forwards: ", "0", ""),
    "a long name": ("", "a", ": b"),
    "a long display name": ("Contact: ", "a ", "<sip:a@h>"),
    "NULs": ("Subject: ", "\0", ""),
    "quoted NULs": ('Subject: "', "\\\0", '"'),
    "quoted NULs apart": ("Subject: ", '"\\\0" ', ""),
    "octets above 127": ("Subject: ", "\xff", ""),
    "control characters": ("Subject: ", "\x01", ""),
    "bare CRs": ("Subject: ", "\r", "x"),
    "bare LFs": ("Subject: ", "\n", "x"),
    "media types": ("Content-Type: a/b", "/b", ""),
    "Routes": ("Route: <sip:r;lr>", ",<sip:r;lr>", ""),
    "Requires": ("Require: a", ",a", ""),
}


def grow(begin: str, piece: str, end: str, size: int) -> str:
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


def best_s(action: Callable[[], object]) -> float:
    times = []
    gc.disable()
    try:
        for _ in range(RUNS):
            start = time.thread_time()
            action()
            times.append(time.thread_time() - start)
    finally:
        gc.enable()
    return min(times)


def handle(data: bytes) -> None:
    """All that a server does with a message, as far as parsing goes."""
    try:
        message = parse_message(data)
    except ParseError as error:
        if error.request is not None:
            response_to(error.request, error.status, error.reason, to_tag="t").to_bytes()
        return
    for view in ("vias", "contacts", "routes", "require", "supported", "allow", "expires", "content_type", "text"):
        with contextlib.suppress(ParseError):
            getattr(message, view)
    message.to_bytes()


def handle_stream(data: bytes) -> None:
    stream = MessageStream()
    for at in range(0, len(data), 1400):
        stream.receive_data(data[at : at + 1400], 0.0)
    stream.handle_timeout(1e9)
    stream.events()


@pytest.mark.parametrize("size", [MAX_HEAD, MAX_MESSAGE])
@pytest.mark.parametrize("name", REPEATED)
def test_no_message_takes_long(name: str, size: int) -> None:
    begin, piece, end = REPEATED[name]
    text = HEAD + grow(begin, piece, end, size - len(HEAD) - 4) + "\r\n\r\n"
    data = text.encode("latin-1")
    assert len(data) <= size
    assert best_s(lambda: handle(data)) < LIMIT_S
    assert best_s(lambda: handle_stream(data)) < LIMIT_S


@pytest.mark.parametrize("line", ["Via", "From", "To", "Call-ID", "CSeq", "Content-Length"])
@pytest.mark.parametrize("piece", [" ", ",", ";a", '"', "\\", "<", "1", "\r\n ", "a", "%", ":", "[", "="])
def test_no_header_of_identity_takes_long(line: str, piece: str) -> None:
    start = HEAD.index(f"\r\n{line}: ") + 2
    stop = HEAD.index("\r\n", start)
    for at in (start + len(line) + 2, stop):
        room = MAX_HEAD - len(HEAD) - 4
        data = (HEAD[:at] + piece * (room // len(piece)) + HEAD[at:] + "\r\n").encode()
        assert best_s(partial(handle, data)) < LIMIT_S


@pytest.mark.parametrize("piece", ["a", " ", "@", ":", "%41", ";a", "?", "<", ".", "[", "-"])
def test_no_request_line_takes_long(piece: str) -> None:
    data = HEAD.replace("sip:b@h", "sip:b@h" + piece * ((MAX_HEAD - len(HEAD) - 4) // len(piece)), 1).encode() + b"\r\n"
    assert best_s(lambda: handle(data)) < LIMIT_S


# ------------------------------------------------------------------------------- scanners, beyond all our limits

SCANNERS: dict[str, tuple[Callable[[str], object], tuple[str, str, str]]] = {
    "list of commas": (split_list, ("", " ,", "")),
    "list of quotes": (split_list, ('"', '\\"', '"')),
    "quoted string of backslashes": (lambda text: quoted_end(text, 0), ('"', "\\", "")),
    "quoted string of escapes": (lambda text: quoted_end(text, 0), ('"', '\\"', '"')),
    "parameters": (parse_parameters, ("", ";a", "")),
    "spaced parameters": (parse_parameters, ("", "; a", "")),
    "quoted parameters": (parse_parameters, ("", ';a="b"', "")),
    "folds": (unfold, ("a", "\r\n ", "b")),
    "spaces and no fold": (unfold, ("a", " ", "b\r\n c")),
    "NULs in quotes": (nul_is_escaped, ('"', "\\\0", '"')),
    "quoted NULs": (nul_is_escaped, ("", '"\\\0"', "")),
    "address of spaces": (Address.parse, ("a", " ", "<sip:a@h>")),
    "address of quotes": (Address.parse, ('"', '\\"', '" <sip:a@h>')),
    "address of at signs": (Address.parse, ("<sip:", "a", "@h>")),
    "address of dots": (Address.parse, ("<sip:a@h", ".h", "->")),
    "bare address": (Address.parse, ("sip:a@h", ".h", ";a b")),
    "Via of spaces": (Via.parse, ("SIP/2.0/UDP", " ", "h")),
    "Via of dots": (Via.parse, ("SIP/2.0/UDP h", ".h", "-")),
    "CSeq of digits": (CSeq.parse, ("", "1", " INVITE")),
    "CSeq of spaces": (CSeq.parse, ("1", " ", "INVITE")),
    "media type": (MediaType.parse, ("a/b", ";a", "")),
    "reason": (Reason.parse, ("SIP;text=", '"\\"', "")),
    "credentials of commas": (AuthValue.parse, ("Digest a=", ",", "")),
    "credentials of pairs": (AuthValue.parse, ("Digest a=b", ', a="b"', "")),
    "credentials of quotes": (AuthValue.parse, ('Digest a="', '\\"', "")),
    "credentials of backslashes": (AuthValue.parse, ('Digest username="', "\\", "")),
    "credentials of token68": (AuthValue.parse, ("Basic a", "=", "!")),
    "URI of escapes": (Uri.parse, ("sip:", "%41", "@h")),
    "URI of letters": (Uri.parse, ("sip:", "a", "")),
    "URI of dots": (Uri.parse, ("sip:a", ".a", ".-")),
    "URI of colons": (Uri.parse, ("sip:a@[", ":", "]")),
    "URI of dotted threes": (Uri.parse, ("sip:a@[", ":::1.1", "]")),
    "opaque URI": (Uri.parse, ("tel:1", ";a=b", "")),
}


@pytest.mark.parametrize("name", SCANNERS)
def test_scanners_are_linear(name: str) -> None:
    scan, shape = SCANNERS[name]

    def action(text: str) -> Callable[[], None]:
        def run() -> None:
            with contextlib.suppress(ParseError):
                scan(text)

        return run

    once = best_s(action(grow(*shape, 50_000)))
    eight_times = best_s(action(grow(*shape, 400_000)))
    # Quadratic would be 64. Below some milliseconds caches and the clock decide.
    assert eight_times < max(24 * once, 0.003)


def test_the_limits_of_a_typical_call() -> None:
    """The budget is 25 µs for an INVITE and 15 µs for an answer; this catches a fall into the slow paths."""
    data = HEAD.replace("Content-Length: 0", 'Contact: "A" <sip:a@192.0.2.1:5060>;q=1').encode() + b"\r\n"
    assert best_s(lambda: [parse_message(data) for _ in range(100)]) / 100 < 0.000_25
