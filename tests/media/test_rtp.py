"""RTP headers."""

from __future__ import annotations

import struct

from media.rtp import BUFFER, VIEWS, payload_end, payload_offset


def test_a_plain_header() -> None:
    packet = b"\x80\x00" + bytes(10) + b"payload"
    assert packet[payload_offset(packet, len(packet)) : payload_end(packet, len(packet))] == b"payload"


def test_contributing_sources_extension_and_padding() -> None:
    packet = b"\xb2\x00" + bytes(10) + bytes(8) + struct.pack(">HH", 0xBEDE, 1) + bytes(4) + b"payload\x00\x00\x03"
    assert packet[payload_offset(packet, len(packet)) : payload_end(packet, len(packet))] == b"payload"


def test_a_header_cut_short_has_no_payload() -> None:
    for packet in (b"\x8f" + bytes(11), b"\x90" + bytes(11), b"\x90" + bytes(13) + b"\xff\xff"):
        assert payload_offset(packet, len(packet)) >= len(packet)


def test_padding_longer_than_the_packet() -> None:
    packet = b"\xa0" + bytes(11) + b"\xff"
    assert payload_end(packet, len(packet)) < payload_offset(packet, len(packet))


def test_views_share_the_buffer() -> None:
    BUFFER[:3] = b"abc"
    assert bytes(VIEWS[3]) == b"abc"
