"""What went over the wire: SIP messages of a network's `lo`, read from a raw socket.

The reader is small and our own, so that it judges the server with other eyes than the server's parser.
Loopback shows each packet twice (leaving and arriving); only the arriving one is kept.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .network import Network
from .program import until

ETH_P_IP = 0x0800
PACKET_OUTGOING = 4
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 8 << 20  # bytes; a burst of 1,000 messages/s for some seconds
UDP, TCP = 17, 6
SYN = 0x02

Place = tuple[str, int]


@dataclass(frozen=True)
class Seen:
    """One SIP message on the wire. Header lookups ignore case; values are as sent, unfolded."""

    at: float
    "Monotonic seconds."
    transport: str
    source: Place
    destination: Place
    start_line: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def method(self) -> str:
        """The method of a request, or "" for a response."""
        return "" if self.status else self.start_line.partition(" ")[0]

    @property
    def uri(self) -> str:
        """The Request-URI."""
        return self.start_line.split(" ")[1]

    @property
    def status(self) -> int:
        """The status of a response, or 0 for a request."""
        return int(self.start_line[8:11]) if self.start_line.startswith("SIP/2.0 ") else 0

    @property
    def cseq_method(self) -> str:
        return self.header("CSeq").split()[-1]

    @property
    def call_id(self) -> str:
        return self.header("Call-ID")

    def header(self, name: str) -> str:
        """The first value, or ""."""
        return next(iter(self.all_headers(name)), "")

    def all_headers(self, name: str) -> list[str]:
        """Every value, in order."""
        wanted = {name.lower(), SHORT.get(name.lower(), name.lower())}
        return [value for key, value in self.headers if key.lower() in wanted]

    def __str__(self) -> str:
        (source, port), (destination, to_port) = self.source, self.destination
        return f"{source}:{port} -> {destination}:{to_port} {self.start_line}"


SHORT = {
    "via": "v", "from": "f", "to": "t", "call-id": "i", "contact": "m", "content-type": "c",
    "content-length": "l", "supported": "k", "subject": "s",
}  # fmt: skip


def read_message(data: bytes, at: float, transport: str, source: Place, destination: Place) -> Seen | None:
    """The message in `data`, or None when it is no SIP message (keep-alives, noise)."""
    head, gap, body = data.decode("utf-8", "surrogateescape").partition("\r\n\r\n")
    if not gap or "SIP/2.0" not in head.partition("\r\n")[0]:
        return None
    start_line, *lines = head.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n")
    headers = tuple((name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Seen(at, transport, source, destination, start_line, headers, body)


@dataclass
class _Stream:
    """One direction of a TCP connection: bytes put in order, then cut into messages."""

    next_sequence: int
    early: dict[int, bytes] = field(default_factory=dict)
    buffer: bytes = b""

    def add(self, sequence: int, data: bytes) -> None:
        self.early[sequence] = data
        while (data := self.early.pop(self.next_sequence, b"")) != b"":
            self.buffer += data
            self.next_sequence = (self.next_sequence + len(data)) & 0xFFFF_FFFF

    def messages(self) -> Iterable[bytes]:
        while True:
            self.buffer = self.buffer.lstrip(b"\r\n")
            head, gap, rest = self.buffer.partition(b"\r\n\r\n")
            if not gap:
                return
            length = _content_length(head)
            if len(rest) < length:
                return
            yield head + gap + rest[:length]
            self.buffer = rest[length:]


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            return int(value)
    return 0


class Capture:
    """Collects the messages to and from some ports, from construction to `close()`."""

    def __init__(self, network: Network, ports: Iterable[int] = ()) -> None:
        """`ports`: packets from or to any other port are dropped in the kernel; none given: all are read."""
        self.messages: list[Seen] = []
        self._streams: dict[tuple[Place, Place], _Stream] = {}
        self._socket = open_raw(network, sorted(set(ports)))
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._closing = True
        self._thread.join(3)
        self._socket.close()

    def find(self, **wanted: object) -> list[Seen]:
        """Messages whose attributes equal all of `wanted` (method=, status=, source=, call_id= ...)."""
        return [
            message
            for message in list(self.messages)
            if all(getattr(message, name) == value for name, value in wanted.items())
        ]

    async def wait_for(self, timeout_s: float = 5.0, *, where: Callable[[Seen], bool] = bool, **wanted: object) -> Seen:
        """The first message that fits, now or soon."""
        found: list[Seen] = []

        def look() -> bool:
            found[:] = [message for message in self.find(**wanted) if where(message)]
            return bool(found)

        await until(look, timeout_s, lambda: f"no {wanted} on the wire; there were:\n{self.ladder()}")
        return found[0]

    def ladder(self, call_id: str | None = None) -> str:
        """Every message (of one call), a line each, for failure texts."""
        return "\n".join(str(one) for one in list(self.messages) if call_id in (None, one.call_id))

    def _run(self) -> None:
        while not self._closing:
            try:
                packet, address = self._socket.recvfrom(0x1_0000)
            except TimeoutError:
                continue
            if address[2] != PACKET_OUTGOING:
                self._take(packet, time.monotonic())

    def _take(self, packet: bytes, at: float) -> None:
        header_length = (packet[0] & 0x0F) * 4
        total_length = struct.unpack_from("!H", packet, 2)[0]
        protocol = packet[9]
        source_ip, destination_ip = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        segment = packet[header_length:total_length]
        source_port, destination_port = struct.unpack_from("!HH", segment)
        source, destination = (source_ip, source_port), (destination_ip, destination_port)
        if protocol == UDP:
            self._keep(segment[8:], at, "UDP", source, destination)
        elif protocol == TCP:
            for data in self._reassemble(segment, source, destination):
                self._keep(data, at, "TCP", source, destination)

    def _reassemble(self, segment: bytes, source: Place, destination: Place) -> list[bytes]:
        sequence = struct.unpack_from("!I", segment, 4)[0]
        data, flags = segment[(segment[12] >> 4) * 4 :], segment[13]
        if flags & SYN:
            self._streams[source, destination] = _Stream((sequence + 1) & 0xFFFF_FFFF)
            return []
        stream = self._streams.get((source, destination))
        if stream is None:
            if not data:
                return []
            stream = self._streams[source, destination] = _Stream(sequence)
        if data:
            stream.add(sequence, data)
        return list(stream.messages())

    def _keep(self, data: bytes, at: float, transport: str, source: Place, destination: Place) -> None:
        message = read_message(data, at, transport, source, destination)
        if message is not None:
            self.messages.append(message)


def open_raw(network: Network, ports: list[int]) -> socket.socket:
    """A socket that is given every IP packet on `lo` from or to the ports (all, for none). PermissionError."""
    raw = network.socket(socket.AF_PACKET, socket.SOCK_DGRAM)  # deaf until bound
    raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    if ports:
        _attach_filter(raw, ports)
    with network.entered():
        raw.bind(("lo", ETH_P_IP))
    raw.settimeout(0.2)
    return raw


def _attach_filter(raw: socket.socket, ports: list[int]) -> None:
    """A classic BPF program: pass UDP and TCP packets with a source or destination port in `ports`.

    The socket is cooked (SOCK_DGRAM), so offsets count from the IP header. See socket(7) and
    the kernel's Documentation/networking/filter.rst.
    """
    ldb_abs, ldx_msh, ldh_ind, jeq, ret = 0x30, 0xB1, 0x48, 0x15, 0x06
    tests = [(jeq, 0, 0, port) for port in ports]
    program = [
        (ldb_abs, 0, 0, 9),  # the protocol
        (jeq, 1, 0, UDP),
        (jeq, 0, 0, TCP),  # its second jump, and those of the port tests, are set below
        (ldx_msh, 0, 0, 0),  # X = length of the IP header
        (ldh_ind, 0, 0, 0),  # the source port
        *tests,
        (ldh_ind, 0, 0, 2),  # the destination port
        *tests,
        (ret, 0, 0, 0),
        (ret, 0, 0, 0x1_0000),
    ]
    accept = len(program) - 1
    for index, (code, true, false, value) in enumerate(program):
        if code == jeq and index > 2:
            program[index] = (code, accept - index - 1, false, value)
        elif index == 2:
            program[index] = (code, true, accept - 1 - index - 1, value)
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(packed)
    filter_program = struct.pack("HL", len(program), ctypes.addressof(buffer))
    raw.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_program)
