"""The relay of video, packet by packet: numbers, what is sent again, who is asked for a keyframe, reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from media import VideoStats
from media.rtcp import Goodbye, KeyframeRequest, Nack, Report, ReportBlock, compound, parse
from media.rtp import HEADER
from media.video import KEPT, RESENT_A_S, VideoStream


@dataclass
class Side:
    """A browser's side of one stream: what it gets."""

    ssrc: int
    packets: list[bytes] = field(default_factory=list)
    reports: list[bytes] = field(default_factory=list)
    open: bool = True

    def __post_init__(self) -> None:
        self.stream = VideoStream(self.ssrc, "name", self._send, self.reports.append)

    def _send(self, packet: bytes) -> bool:
        if self.open:
            self.packets.append(packet)
        return self.open

    @property
    def seqs(self) -> list[int]:
        return [HEADER.unpack_from(packet)[2] for packet in self.packets]

    def feedback(self) -> list[Nack | KeyframeRequest]:
        """What it was asked, and forget it."""
        found = [each for data in self.reports for each in parse(data) if isinstance(each, Nack | KeyframeRequest)]
        self.reports.clear()
        return found


def rtp(seq: int, timestamp: int = 0, ssrc: int = 7, number: int = 96, payload: bytes = b"x" * 20) -> bytes:
    return HEADER.pack(0x80, number, seq & 0xFFFF, timestamp, ssrc) + payload


def joined() -> tuple[Side, Side]:
    one, other = Side(100), Side(200)
    one.stream.route(other.stream, {96: 98})
    return one, other


def test_4_numbers_of_the_first_source_pass_and_it_is_asked_for_a_keyframe() -> None:
    one, other = joined()
    for seq in (65534, 65535, 0, 2, 1):
        one.stream.receive(rtp(seq, 3000), 1.0)
    assert other.seqs == [65534, 65535, 0, 2, 1]
    assert HEADER.unpack_from(other.packets[0]) == (0x80, 98, 65534, 3000, 200)
    assert one.feedback() == [KeyframeRequest(7)]


def test_4_a_later_source_goes_on_where_the_one_before_ended() -> None:
    one, other = joined()
    one.stream.receive(rtp(10, 3000), 1.0)
    one.feedback()
    third = Side(300)
    one.stream.route(None, {})
    third.stream.route(other.stream, {100: 98})
    third.stream.receive(rtp(500, 9, ssrc=8, number=100), 2.0)
    assert HEADER.unpack_from(other.packets[-1]) == (0x80, 98, 11, 3000 + 90_000, 200)
    assert third.feedback() == [KeyframeRequest(8)]
    third.stream.receive(rtp(499, 0, ssrc=8, number=100), 2.0)  # its number was the first source's
    assert other.seqs == [10, 11]


def test_4_another_ssrc_is_taken_when_the_old_one_is_silent() -> None:
    one, other = joined()
    one.stream.receive(rtp(10), 1.0)
    one.stream.receive(rtp(70, ssrc=9), 1.1)
    assert other.seqs == [10]
    one.feedback()
    one.stream.receive(rtp(71, ssrc=9), 1.5)
    assert other.seqs == [10, 11]
    assert one.feedback() == [KeyframeRequest(9)]


def test_4_header_extensions_do_not_cross() -> None:
    one, other = joined()
    extended = HEADER.pack(0x91, 96, 1, 2, 7) + bytes(4) + b"\xbe\xde\x00\x01" + bytes(4) + b"payload"
    one.stream.receive(extended, 1.0)
    assert other.packets == [HEADER.pack(0x80, 98, 1, 2, 200) + b"payload"]


def nack(ssrc: int, *seqs: int) -> bytes:
    return compound(Report(1, None, ()), "n") + Nack(ssrc, seqs).to_bytes(1)


def test_5_what_is_missed_is_sent_again_or_asked_of_the_source() -> None:
    one, other = joined()
    other.stream.route(one.stream, {98: 96})
    one.stream.receive(rtp(100, ssrc=1), 0.0)
    one.stream.receive(rtp(1000), 1.0)  # a second source: numbers are shifted
    one.stream.receive(rtp(1003), 1.0)
    assert other.seqs == [100, 101, 104]
    one.feedback()
    other.packets.clear()
    other.stream.receive_rtcp(nack(200, 101, 102, 103, 100), 1.1, 0.0)
    assert other.seqs == [101, 100], "that of the first source, too"
    assert one.feedback() == [Nack(7, (1001, 1002))]
    one.stream.receive(rtp(1001), 1.2)
    assert other.seqs == [101, 100, 102]
    other.stream.receive_rtcp(nack(999, 102), 1.1, 0.0)
    other.stream.receive_rtcp(nack(200, 99), 1.1, 0.0)  # from before either source: nobody has it
    assert other.seqs == [101, 100, 102]
    assert one.feedback() == []


def test_5_packets_kept_and_sent_again_are_limited() -> None:
    one, other = joined()
    for seq in range(KEPT + 10):
        one.stream.receive(rtp(seq), 1.0)
    one.feedback()
    other.packets.clear()
    other.stream.receive_rtcp(nack(200, 9, 10), 1.0, 0.0)
    assert other.seqs == [10]
    assert one.feedback() == [Nack(7, (9,))]
    for _ in range(20):
        other.stream.receive_rtcp(nack(200, *range(20, 120)), 1.5, 0.0)
    assert len(other.packets) == RESENT_A_S


def test_5_requests_for_a_keyframe_pass_by_the_kind_they_have() -> None:
    one, other = joined()
    one.stream.receive(rtp(1), 1.0)
    one.feedback()
    for number, now, passed in ((None, 2.0, KeyframeRequest(7)), (4, 3.0, KeyframeRequest(7, 1)), (5, 3.05, None)):
        request = compound(Report(1, None, ()), "n") + KeyframeRequest(200, number).to_bytes(1)
        other.stream.receive_rtcp(request, now, 0.0)
        assert one.feedback() == ([passed] if passed is not None else [])
    one.stream.receive(rtp(2), 3.05)
    assert one.feedback() == []
    one.stream.receive(rtp(3), 3.2)
    assert one.feedback() == [KeyframeRequest(7, 2)], "what came too soon is made good"
    one.stream.route(None, {})
    other.stream.receive_rtcp(compound(Report(1, None, ()), "n") + KeyframeRequest(200).to_bytes(1), 9.0, 0.0)
    assert one.feedback() == []


def test_5_reports_are_of_our_own_counters() -> None:
    one, other = joined()
    one.stream.report(0.0, 0.0)
    assert one.reports == []
    for seq in (1, 2, 5):
        one.stream.receive(rtp(seq, 900 * seq), 1.0)
    one.feedback()
    one.stream.report(2.0, 2.0)
    (report,) = [each for each in parse(one.reports[0]) if isinstance(each, Report)]
    (block,) = report.blocks
    assert (report.ssrc, report.sender) == (100, None)
    assert (block.ssrc, block.lost, block.highest, block.fraction_lost) == (7, 2, 5, 2 * 256 // 5)
    other.stream.report(2.0, 2.0, goodbye=True)
    first, last = parse(other.reports[0])
    assert isinstance(first, Report)
    assert first.sender is not None
    assert (first.sender.packets, first.sender.octets, first.sender.timestamp) == (3, 60, 4500 + 90_000)
    assert last == Goodbye((200,))


def test_5_what_could_not_be_sent_is_not_counted() -> None:
    one, other = joined()
    other.open = False
    one.stream.receive(rtp(1), 1.0)
    assert other.stream.packets_sent == 0


@given(st.lists(st.integers(0, 0xFFFF), unique=True, min_size=1, max_size=40), st.integers(0, 0xFFFFFFFF))
def test_5_nacks_are_read_back(seqs: list[int], ssrc: int) -> None:
    seqs.sort()
    assert list(parse(Nack(ssrc, tuple(seqs)).to_bytes(5))) == [Nack(ssrc, tuple(seqs))]


@given(st.binary(max_size=60), st.integers(0, 31), st.sampled_from([200, 201, 205, 206]))
def test_5_any_feedback_is_read_without_error(body: bytes, count: int, kind: int) -> None:
    body = body[: len(body) // 4 * 4]
    data = bytes([0x80 | count, kind]) + (len(body) // 4).to_bytes(2, "big") + body
    one, other = joined()
    one.stream.receive(rtp(1), 1.0)
    other.stream.receive_rtcp(data, 2.0, 2.0)


@given(st.binary(max_size=60))
def test_4_any_packet_is_taken_without_error(data: bytes) -> None:
    one, other = joined()
    one.stream.receive(b"\x80\x60" + data, 1.0)
    one.stream.receive(rtp(1, payload=data, ssrc=3), 2.0)
    assert HEADER.size + len(data) in map(len, other.packets)


def test_15_counters_of_what_came_and_went() -> None:
    one, other = joined()
    assert (one.stream.stats, other.stream.stats) == (None, None)
    for seq in (65534, 65535, 2):  # 0 and 1 are missing
        one.stream.receive(rtp(seq, 3000), 1.0)
    assert one.stream.stats == VideoStats(packets_received=3, packets_lost=2)
    assert other.stream.stats == VideoStats(packets_sent=3, octets_sent=60)
    one.stream.receive(rtp(1, 3000), 1.1)  # sent again
    one.stream.receive(rtp(500, ssrc=8), 2.0)  # another source
    one.stream.receive(rtp(502, ssrc=8), 2.0)
    told = one.stream.stats
    assert told is not None
    assert (told.packets_received, told.packets_lost) == (6, 2), "0 of the first source, 501 of the second"
    block = ReportBlock(200, 0, 3, 100, 900, 0, 0)
    other.stream.receive_rtcp(compound(Report(9, None, (block,)), "page"), 2.1, 0.0)
    told = other.stream.stats
    assert told is not None
    assert (told.remote_packets_lost, told.remote_jitter_ms) == (3, 10.0)
