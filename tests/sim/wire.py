"""SIP text taken apart the plain way: independent of `sip`, so that phones can check what it sends."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

COMPACT = {
    "c": "content-type",
    "f": "from",
    "i": "call-id",
    "l": "content-length",
    "m": "contact",
    "t": "to",
    "v": "via",
}


@dataclass
class Wire:
    """One message: its start line, its headers in order, its body."""

    start: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""

    @staticmethod
    def parse(data: bytes) -> Wire:
        """Take a message apart; ValueError for what a careful peer would not understand."""
        head, blank, body = data.decode("utf-8").partition("\r\n\r\n")
        if not blank:
            raise ValueError("no blank line")
        start, *lines = head.split("\r\n")
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise ValueError(f"not a header line: {line!r}")
            headers.append((name, value.strip()))
        wire = Wire(start, headers, body)
        if int(wire.get("Content-Length") or -1) != len(body.encode()):
            raise ValueError(f"Content-Length {wire.get('Content-Length')} of a body of {len(body.encode())} bytes")
        return wire

    def to_bytes(self) -> bytes:
        """The message with its Content-Length."""
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, f"Content-Length: {len(self.body.encode())}", "", self.body]).encode()

    def all(self, name: str) -> list[str]:
        """The values of every header line of that name."""
        wanted = name.lower()
        return [value for key, value in self.headers if COMPACT.get(key.lower(), key.lower()) == wanted]

    def get(self, name: str) -> str:
        """The first value, or the empty string."""
        return next(iter(self.all(name)), "")

    @property
    def status(self) -> int:
        """The status of a response, 0 for a request."""
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """The method of a request, or the one that a response answers."""
        return self.get("CSeq").split()[-1]

    @property
    def uri(self) -> str:
        """The request-URI."""
        return self.start.split(" ")[1]

    @property
    def cseq(self) -> int:
        """The number in CSeq."""
        return int(self.get("CSeq").split()[0])

    @property
    def branch(self) -> str:
        """The branch of the top Via."""
        return parameter(self.get("Via"), "branch")

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self.get("Call-ID")

    @property
    def label(self) -> str:
        """`INVITE` or `180 INVITE`."""
        return f"{self.status} {self.method}" if self.status else self.method


def parameter(value: str, name: str) -> str:
    """A parameter after the address or the Via, or the empty string."""
    found = re.search(rf";\s*{name}\s*=\s*\"?([^;,\s\"]+)", value.rpartition(">")[2], re.IGNORECASE)
    return found[1] if found else ""


def address_uri(value: str) -> str:
    """The URI inside an address header."""
    found = re.search(r"<([^>]+)>", value)
    return found[1] if found else value.partition(";")[0].strip()


def uri_address(uri: str, hosts: dict[str, str]) -> tuple[str, int]:
    """The IP address and port that a URI of the simulated network leads to."""
    found = re.fullmatch(r"sips?:(?:[^@]*@)?([^:;?]+)(?::(\d+))?.*", uri)
    if found is None:
        raise ValueError(f"not a SIP URI: {uri}")
    return hosts.get(found[1], found[1]), int(found[2] or 5060)


def digest(challenge: str, method: str, uri: str, user: str, password: str, count: int = 1) -> str:
    """The value of Authorization for a challenge (RFC 7616 §3.4), MD5 or SHA-256, with qop=auth or none."""
    fields = {**dict(re.findall(r'(\w+)=([^",\s]+)', challenge)), **dict(re.findall(r'(\w+)="([^"]*)"', challenge))}
    algorithm = fields.get("algorithm", "MD5")
    make = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm.upper()]

    def hashed(text: str) -> str:
        return make(text.encode()).hexdigest()

    realm, nonce = fields["realm"], fields["nonce"]
    ha1, ha2 = hashed(f"{user}:{realm}:{password}"), hashed(f"{method}:{uri}")
    value = f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm={algorithm}'
    if fields.get("opaque"):
        value += f', opaque="{fields["opaque"]}"'
    if "qop" in fields:
        nc, cnonce = f"{count:08x}", "c0ffee"
        answer = hashed(f"{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")
        return f'{value}, qop=auth, nc={nc}, cnonce="{cnonce}", response="{answer}"'
    return f'{value}, response="{hashed(f"{ha1}:{nonce}:{ha2}")}"'
