"""RTCP packets and the reports of one leg."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.rtcp import Goodbye, Report, ReportBlock, SenderInfo, compound, ntp_of, parse
from media.rtcp_session import Received, RtcpSession, Sent

BLOCK = ReportBlock(0xABCD, 12, -5, 0x10FFFF, 77, 0x12345678, 0x8000)


@pytest.mark.parametrize("sender", [None, SenderInfo(0x0123456789ABCDEF, 160, 10, 1600)])
@pytest.mark.parametrize("blocks", [(), (BLOCK,), (BLOCK, BLOCK)])
@pytest.mark.parametrize("cname", ["", "a", "abcd", "abcdef0123456789"])
def test_a_compound_packet_is_read_back(sender: SenderInfo | None, blocks: tuple[ReportBlock, ...], cname: str) -> None:
    report = Report(7, sender, blocks)
    data = compound(report, cname, goodbye=True)
    assert len(data) % 4 == 0
    assert list(parse(data)) == [report, Goodbye((7,))]
    assert cname.encode() in data


@given(st.binary(max_size=200))
def test_any_octets_are_read_without_error(data: bytes) -> None:
    list(parse(data))
    whole = compound(Report(7, None, (BLOCK,)), "name", goodbye=True)
    list(parse(whole[: len(data)]))
    list(parse(whole[:8] + data))


def test_what_is_cut_short_is_left_out() -> None:
    data = compound(Report(7, None, (BLOCK, BLOCK)), "name")
    assert list(parse(data[:20])) == []
    liar = bytes([data[0] + 5]) + data[1:]
    assert list(parse(liar)) == []


def test_ntp() -> None:
    assert ntp_of(0) >> 32 == 2_208_988_800
    assert ntp_of(0.5) & 0xFFFFFFFF == 1 << 31
    assert SenderInfo(ntp_of(0.5), 0, 0, 0).middle == (2_208_988_800 & 0xFFFF) << 16 | 0x8000


SENT = Sent(10, 1600, 5000)


def only(data: bytes) -> Report:
    (report,) = [each for each in parse(data) if isinstance(each, Report)]
    return report


def test_a_sender_report_only_if_something_was_sent_since() -> None:
    session = RtcpSession("x", 99)
    assert only(session.report(1, SENT, None, 0.0, 0.0)).sender == SenderInfo(ntp_of(0.0), 5000, 10, 1600)
    assert only(session.report(1, SENT, None, 5.0, 5.0)).sender is None


def test_who_never_sent_has_an_ssrc_too() -> None:
    session = RtcpSession("x", 99)
    assert only(session.report(None, Sent(0, 0, 0), None, 0.0, 0.0)) == Report(99, None, ())


def test_loss_since_the_last_report() -> None:
    session = RtcpSession("x", 99)

    def block(expected: int, received: int) -> ReportBlock:
        return only(session.report(1, SENT, Received(9, expected, expected, received, 3), 0.0, 0.0)).blocks[0]

    assert (block(100, 90).fraction_lost, block(200, 190).fraction_lost) == (25, 0)
    assert block(300, 230).lost == 70
    assert block(300, 330) == ReportBlock(9, 0, -30, 300, 3, 0, 0)
    assert block(1300, 330).fraction_lost == 255
    session.forget_source()
    assert block(10, 10).fraction_lost == 0


def test_delay_since_the_last_sender_report_and_round_trip() -> None:
    session = RtcpSession("x", 99)
    theirs = SenderInfo(ntp_of(1000.0), 0, 0, 0)
    session.receive(compound(Report(9, theirs, ()), "y"), 1, 50.0, 1000.0)
    (block,) = only(session.report(1, SENT, Received(9, 1, 1, 1, 0), 52.0, 1002.0)).blocks
    assert (block.last_sr, block.delay) == (theirs.middle, 2 * 65536)
    mine = SenderInfo(ntp_of(1002.0), 0, 0, 0).middle
    reply = ReportBlock(1, 0, 3, 0, 40, mine, 65536)
    session.receive(compound(Report(9, None, (reply,)), "y"), 1, 53.1, 1003.1)
    assert session.rtt_s == pytest.approx(0.1, abs=0.001)
    assert (session.remote_lost, session.remote_jitter) == (3, 40)


def test_reports_on_other_streams_and_impossible_times_are_ignored() -> None:
    session = RtcpSession("x", 99)
    mine = SenderInfo(ntp_of(1002.0), 0, 0, 0).middle
    session.receive(compound(Report(9, None, (ReportBlock(2, 0, 3, 0, 40, mine, 0),)), "y"), 1, 53.0, 1003.0)
    assert session.remote_lost == 0
    session.receive(compound(Report(9, None, (ReportBlock(1, 0, 3, 0, 40, mine, 0),)), "y"), 1, 53.0, 1001.0)
    assert session.remote_lost == 3
    assert session.rtt_s is None


def test_reports_are_planned_with_jitter() -> None:
    session = RtcpSession("x", 99)
    session.plan(100.0, 0.0)
    assert session.due_at == 102.5
    session.plan(100.0, 1.0)
    assert session.due_at == 107.5
