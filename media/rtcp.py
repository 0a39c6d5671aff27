"""RTCP (RFC 3550 §6): building compound packets from counters, reading what concerns us from received ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, GOODBYE = 200, 201, 202, 203
TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK = 205, 206
GENERIC_NACK, PICTURE_LOSS, FULL_INTRA_REQUEST = 1, 1, 4  # RFC 4585 §6.2.1, §6.3.1; RFC 5104 §4.3.1
NTP_EPOCH_S: Final = 2_208_988_800  # 1900 to 1970
INTERVAL_S: Final = 5.0  # RFC 3550 §6.2: the recommended minimum
MAX_BLOCKS: Final = 31
MAX_NACKED: Final = 256  # packets that one message may ask for again; half a second of video

_COMMON = Struct(">BBH")
_SENDER = Struct(">IQIII")
_BLOCK = Struct(">IIIIII")
_WORD = Struct(">I")
_WORDS = Struct(">II")
_PAIR = Struct(">HH")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one stream (RFC 3550 §6.4.1)."""

    ssrc: int
    fraction_lost: int
    "Of 256, since the last report."
    lost: int
    "In all; 24 bits, signed."
    highest: int
    "Highest sequence number received, with its cycles."
    jitter: int
    "In units of the stream's clock."
    last_sr: int
    "Middle 32 bits of the NTP time of the last sender report, 0 if none came."
    delay: int
    "Since that sender report, in 1/65,536 s."

    def to_bytes(self) -> bytes:
        """24 octets."""
        lost = max(-0x800000, min(0x7FFFFF, self.lost)) & 0xFFFFFF
        return _BLOCK.pack(
            self.ssrc,
            self.fraction_lost << 24 | lost,
            self.highest & 0xFFFFFFFF,
            self.jitter & 0xFFFFFFFF,
            self.last_sr,
            self.delay & 0xFFFFFFFF,
        )


@dataclass(frozen=True, slots=True)
class SenderInfo:
    """The sender's part of a sender report (RFC 3550 §6.4.1)."""

    ntp: int
    "64 bits: seconds since 1900 and their fraction."
    timestamp: int
    "The same instant on the stream's clock."
    packets: int
    octets: int

    @property
    def middle(self) -> int:
        """The middle 32 bits of `ntp`, as reports quote them."""
        return self.ntp >> 16 & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Report:
    """One sender or receiver report."""

    ssrc: int
    sender: SenderInfo | None
    blocks: tuple[ReportBlock, ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE (RFC 3550 §6.6)."""

    ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nack:
    """Packets that a receiver misses (RFC 4585 §6.2.1)."""

    ssrc: int
    "Of the stream that they belong to."
    seqs: tuple[int, ...]

    def to_bytes(self, sender: int) -> bytes:
        """The packet, as from `sender`. Sequence numbers near each other share an entry."""
        entries: list[list[int]] = []
        for seq in self.seqs[:MAX_NACKED]:
            ahead = (seq - entries[-1][0]) & 0xFFFF if entries else 0
            if entries and 0 < ahead <= 16:
                entries[-1][1] |= 1 << ahead - 1
            else:
                entries.append([seq, 0])
        body = b"".join(_PAIR.pack(*entry) for entry in entries)
        return _packet(TRANSPORT_FEEDBACK, GENERIC_NACK, _WORDS.pack(sender, self.ssrc) + body)


@dataclass(frozen=True, slots=True)
class KeyframeRequest:
    """PLI (RFC 4585 §6.3.1), or FIR with its number (RFC 5104 §4.3.1)."""

    ssrc: int
    "Of the stream that is to begin anew."
    number: int | None = None

    def to_bytes(self, sender: int) -> bytes:
        """The packet, as from `sender`."""
        if self.number is None:
            return _packet(PAYLOAD_FEEDBACK, PICTURE_LOSS, _WORDS.pack(sender, self.ssrc))
        entry = _WORDS.pack(self.ssrc, (self.number & 0xFF) << 24)
        return _packet(PAYLOAD_FEEDBACK, FULL_INTRA_REQUEST, _WORDS.pack(sender, 0) + entry)


def ntp_of(unix_s: float) -> int:
    """A wall-clock time as a 64-bit NTP timestamp."""
    return int((unix_s + NTP_EPOCH_S) * 4_294_967_296) & 0xFFFFFFFFFFFFFFFF


def compound(report: Report, cname: str, *, goodbye: bool = False) -> bytes:
    """A report with the source description that must follow it (RFC 3550 §6.1), and BYE if wanted."""
    blocks = b"".join(block.to_bytes() for block in report.blocks[:MAX_BLOCKS])
    count = len(blocks) // _BLOCK.size
    if report.sender is not None:
        info = report.sender
        body = _SENDER.pack(
            report.ssrc, info.ntp, info.timestamp & 0xFFFFFFFF, info.packets & 0xFFFFFFFF, info.octets & 0xFFFFFFFF
        )
        packets = _packet(SENDER_REPORT, count, body + blocks)
    else:
        packets = _packet(RECEIVER_REPORT, count, _WORD.pack(report.ssrc) + blocks)
    name = cname.encode("ascii")[:255]
    item = _WORD.pack(report.ssrc) + bytes((1, len(name))) + name
    packets += _packet(SOURCE_DESCRIPTION, 1, item + bytes(4 - len(item) % 4))
    if goodbye:
        packets += _packet(GOODBYE, 1, _WORD.pack(report.ssrc))
    return packets


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return _COMMON.pack(0x80 | count, kind, len(body) // 4) + body


def parse(data: bytes | bytearray | memoryview) -> Iterator[Report | Goodbye | Nack | KeyframeRequest]:
    """What concerns us of a compound packet; stops without error where it is cut short or not RTCP."""
    offset = 0
    while offset + 8 <= len(data):
        first, kind, words = _COMMON.unpack_from(data, offset)
        end = offset + 4 + 4 * words
        if first & 0xC0 != 0x80 or end > len(data):
            return
        count = first & 0x1F
        if kind in (SENDER_REPORT, RECEIVER_REPORT):
            report = _report(data, offset + 4, end, count, is_sender=kind == SENDER_REPORT)
            if report is None:
                return
            yield report
        elif kind == GOODBYE and offset + 4 + 4 * count <= end:
            yield Goodbye(tuple(_WORD.unpack_from(data, offset + 4 + 4 * n)[0] for n in range(count)))
        elif kind in (TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK) and words >= 2:
            yield from _feedback(kind, count, data, offset + 4, end)
        offset = end


def _feedback(
    kind: int, form: int, data: bytes | bytearray | memoryview, offset: int, end: int
) -> Iterator[Nack | KeyframeRequest]:
    ssrc = _WORDS.unpack_from(data, offset)[1]
    offset += _WORDS.size
    if (kind, form) == (TRANSPORT_FEEDBACK, GENERIC_NACK):
        seqs: list[int] = []
        for at in range(offset, end, _PAIR.size):
            seq, others = _PAIR.unpack_from(data, at)
            seqs.append(seq)
            seqs += ((seq + 1 + bit) & 0xFFFF for bit in range(16) if others >> bit & 1)
            if len(seqs) >= MAX_NACKED:
                break
        yield Nack(ssrc, tuple(seqs[:MAX_NACKED]))
    elif (kind, form) == (PAYLOAD_FEEDBACK, PICTURE_LOSS):
        yield KeyframeRequest(ssrc)
    elif (kind, form) == (PAYLOAD_FEEDBACK, FULL_INTRA_REQUEST):
        for at in range(offset, min(end, offset + MAX_BLOCKS * _WORDS.size) - 7, _WORDS.size):
            target, number = _WORDS.unpack_from(data, at)
            yield KeyframeRequest(target, number >> 24)


def _report(
    data: bytes | bytearray | memoryview, offset: int, end: int, count: int, *, is_sender: bool
) -> Report | None:
    head = _SENDER.size if is_sender else _WORD.size
    if offset + head + count * _BLOCK.size > end:
        return None
    sender = None
    ssrc = _WORD.unpack_from(data, offset)[0]
    if is_sender:
        sender = SenderInfo(*_SENDER.unpack_from(data, offset)[1:])
    blocks = []
    for number in range(count):
        who, lost, highest, jitter, last_sr, delay = _BLOCK.unpack_from(data, offset + head + number * _BLOCK.size)
        total = lost & 0xFFFFFF
        if total & 0x800000:
            total -= 0x1000000
        blocks.append(ReportBlock(who, lost >> 24, total, highest, jitter, last_sr, delay))
    return Report(ssrc, sender, tuple(blocks))
