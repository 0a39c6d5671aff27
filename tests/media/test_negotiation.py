"""Offer/answer of a leg, by RFC 3264, with a leg that has no socket."""

from __future__ import annotations

import re

import pytest

from media import Codec, MediaError, NoCommonCodec, SdpError, sdp
from media.codecs import policy_of
from media.negotiation import Negotiation, Remote, bits, mirror

from .fake import FakeMediaEngine, FakeMediaLeg
from .party import offer


@pytest.fixture
def engine() -> FakeMediaEngine:
    return FakeMediaEngine()


@pytest.fixture
def leg(engine: FakeMediaEngine) -> FakeMediaLeg:
    return engine.create_leg()


def stream(text: str) -> sdp.MediaDescription:
    """The first section of a description."""
    return sdp.parse(text).media[0]


def version(text: str) -> int:
    return sdp.parse(text).origin.version


def agreed(leg: FakeMediaLeg) -> bool:
    return leg.agreed


def held(leg: FakeMediaLeg) -> bool:
    return leg.on_hold


def names(codecs: tuple[Codec, ...]) -> list[tuple[str, int]]:
    return [(codec.name, codec.payload_type) for codec in codecs]


# Answers.


def test_an_answer_takes_the_common_codecs_in_the_order_and_numbers_of_the_offer(leg: FakeMediaLeg) -> None:
    leg.receive_offer(offer("192.0.2.7", 4000, "18 96 8 0 101"))
    assert names(leg.codecs) == [("opus", 96), ("PCMA", 8), ("PCMU", 0)]
    assert not agreed(leg)
    answer = leg.create_answer()
    described = stream(answer)
    assert agreed(leg)
    assert described.port == 40000
    assert described.formats == ("96", "8", "0", "101")
    assert [str(each) for each in described.rtpmaps.values()] == [
        "96 opus/48000/2",
        "8 PCMA/8000",
        "0 PCMU/8000",
        "101 telephone-event/8000",
    ]
    assert described.fmtps == {96: "minptime=10;useinbandfec=1", 101: "0-16"}
    assert (described.direction, described.ptime_ms) == ("sendrecv", 20)
    assert leg.local_sdp == answer
    assert names(leg.events) == [("telephone-event", 101)]


def test_an_answer_is_well_formed_and_short(leg: FakeMediaLeg) -> None:
    leg.receive_offer(offer(formats="0"))
    session = r"\d+"
    assert re.fullmatch(
        rf"v=0\r\no=- {session} {session} IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        r"m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n",
        leg.create_answer(),
    )


def test_ipv6_is_announced_as_such() -> None:
    leg = FakeMediaEngine(host="2001:db8::1").create_leg()
    text = leg.create_offer()
    assert "c=IN IP6 2001:db8::1\r\n" in text
    assert " IN IP6 2001:db8::1\r\n" in text


@pytest.mark.parametrize(
    ("offered", "answered"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_directions_are_mirrored(leg: FakeMediaLeg, offered: str, answered: str) -> None:
    leg.receive_offer(offer(direction=offered))
    assert leg.remote_direction == offered
    assert stream(leg.create_answer()).direction == answered
    assert leg.direction == answered
    assert leg.on_hold is (offered in ("sendonly", "inactive"))


def test_a_direction_of_the_session_counts_unless_the_stream_has_its_own(leg: FakeMediaLeg) -> None:
    text = offer().replace("a=sendrecv\r\n", "").replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n")
    leg.receive_offer(text)
    assert leg.remote_direction == "sendonly"
    leg.rollback()
    leg.receive_offer(text + "a=recvonly\r\n")
    assert leg.remote_direction == "recvonly"


def test_hold_by_the_null_address(leg: FakeMediaLeg) -> None:
    leg.receive_offer(offer("0.0.0.0"))
    assert held(leg)
    assert stream(leg.create_answer()).direction == "recvonly"


def test_a_narrower_direction_of_our_own(leg: FakeMediaLeg) -> None:
    leg.receive_offer(offer())
    assert stream(leg.create_answer(direction="recvonly")).direction == "recvonly"


VIDEO = ("m=video 5000 RTP/AVP 31", "a=rtpmap:31 H261/90000")


def test_refused_streams_keep_their_place(leg: FakeMediaLeg) -> None:
    text = offer().replace("m=audio", "m=image 6000 udptl t38\r\nm=audio") + "\r\n".join(VIDEO) + "\r\n"
    leg.receive_offer(text)
    answer = sdp.parse(leg.create_answer())
    assert [(m.kind, m.port, m.protocol, m.formats) for m in answer.media] == [
        ("image", 0, "udptl", ("t38",)),
        ("audio", 40000, "RTP/AVP", ("0", "8", "101")),
        ("video", 0, "RTP/AVP", ("31",)),
    ]
    ours = sdp.parse(leg.create_offer())
    assert [(m.kind, m.port) for m in ours.media] == [("image", 0), ("audio", 40000), ("video", 0)]
    leg.receive_answer(text)
    assert agreed(leg)


def test_the_first_usable_audio_stream_is_taken(leg: FakeMediaLeg) -> None:
    secure = "m=audio 7000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n"
    off = "m=audio 0 RTP/AVP 0\r\n"
    leg.receive_offer(offer().replace("m=audio", secure + off + "m=audio"))
    answer = sdp.parse(leg.create_answer())
    assert [(m.port, m.protocol) for m in answer.media] == [(0, "RTP/SAVP"), (0, "RTP/AVP"), (40000, "RTP/AVP")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (offer().replace("RTP/AVP", "RTP/SAVP"), "only plain RTP/AVP"),
        (offer().replace("RTP/AVP", "RTP/AVPF"), "only plain RTP/AVP"),
        (offer().replace("RTP/AVP", "UDP/TLS/RTP/SAVPF"), "only plain RTP/AVP"),
        (offer(formats="18 3"), "no codec"),
        (offer(formats="101"), "no codec"),
        (offer().replace("m=audio", "m=video"), "no audio"),
        ("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\n", "no audio"),
        (offer(port=0), "disabled"),
    ],
)
def test_what_suits_nothing_is_refused(leg: FakeMediaLeg, text: str, reason: str) -> None:
    with pytest.raises(NoCommonCodec, match=reason) as caught:
        leg.receive_offer(text)
    assert caught.value.status == 488
    leg.receive_offer(offer())  # and nothing was changed by it


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "v=0"),
        (offer().replace("c=IN IP4 127.0.0.1\r\n", ""), "no c="),
        (offer(formats="0", direction="sendrecv\r\na=rtpmap:0 PCMU"), "rtpmap"),
    ],
)
def test_malformed_offers(leg: FakeMediaLeg, text: str, reason: str) -> None:
    with pytest.raises(SdpError, match=reason) as caught:
        leg.receive_offer(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("host", ["224.1.2.3/127", "255.255.255.255", "ff02::1"])
def test_multicast_is_refused(leg: FakeMediaLeg, host: str) -> None:
    with pytest.raises(MediaError, match="multicast") as caught:
        leg.receive_offer(offer(host))
    assert caught.value.status == 488


def test_addresses_of_the_remote_party() -> None:
    seen: list[Remote] = []
    policy = policy_of(["PCMU"])
    negotiation = Negotiation(policy, "192.0.2.1", 40000, 1, lambda remote, is_offer: seen.append(remote))
    texts = [
        offer("192.0.2.7", 4000),
        offer("192.0.2.7", 4000, "0", "a=rtcp:5001"),
        offer("192.0.2.7", 4000, "0", "a=rtcp:5001 IN IP4 192.0.2.8"),
        offer("phone.example.com", 4000),
        offer("0.0.0.0", 4000),
        offer("192.0.2.7", 65535),
    ]
    for text in texts:
        negotiation.receive_offer(text)
        negotiation.rollback()
    assert [(remote.rtp, remote.rtcp) for remote in seen] == [
        (("192.0.2.7", 4000), ("192.0.2.7", 4001)),
        (("192.0.2.7", 4000), ("192.0.2.7", 5001)),
        (("192.0.2.7", 4000), ("192.0.2.8", 5001)),
        (None, None),
        (None, None),
        (("192.0.2.7", 65535), None),
    ]


# Offers.


def test_a_late_offer_has_the_whole_policy(leg: FakeMediaLeg) -> None:
    described = stream(leg.create_offer())
    assert described.formats == ("0", "8", "9", "96", "101", "103")
    assert [str(each) for each in described.rtpmaps.values()][3:] == [
        "96 opus/48000/2",
        "101 telephone-event/8000",
        "103 telephone-event/48000",
    ]
    assert described.fmtps[101] == described.fmtps[103] == "0-16"
    assert leg.remote_direction == "sendrecv"
    assert not agreed(leg)


def test_an_answer_to_our_offer(leg: FakeMediaLeg) -> None:
    leg.create_offer()
    leg.receive_answer(offer(formats="8 101", direction="recvonly"))
    assert names(leg.codecs) == [("PCMA", 8)]
    assert names(leg.events) == [("telephone-event", 101)]
    assert leg.direction == "sendonly"
    assert leg.remote_direction == "recvonly"
    assert not held(leg)


def test_an_answer_cannot_widen_our_direction(leg: FakeMediaLeg) -> None:
    leg.create_offer(direction="sendonly")
    leg.receive_answer(offer(direction="sendrecv"))
    assert leg.direction == "sendonly"


def test_held_by_the_answer_only_if_it_refused_what_we_offered(leg: FakeMediaLeg) -> None:
    leg.create_offer(direction="inactive")
    leg.receive_answer(offer(direction="inactive"))
    assert not held(leg)
    leg.create_offer(direction="sendrecv")
    leg.receive_answer(offer(direction="sendonly", version=2))
    assert held(leg)


def test_an_answer_may_number_codecs_its_own_way(leg: FakeMediaLeg) -> None:
    leg.create_offer()
    leg.receive_answer(offer(formats="97", direction="sendrecv\r\na=rtpmap:97 OPUS/48000/2"))
    assert names(leg.codecs) == [("OPUS", 97)]
    agreement = leg._negotiation.agreement
    assert agreement is not None
    assert names(agreement.receives) == [("OPUS", 96)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (offer(formats="18"), NoCommonCodec),
        (offer(port=0), NoCommonCodec),
        ("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\n", SdpError),
        ("junk", SdpError),
    ],
)
def test_an_answer_of_no_use(leg: FakeMediaLeg, text: str, error: type[MediaError]) -> None:
    leg.create_offer()
    with pytest.raises(error):
        leg.receive_answer(text)
    assert not agreed(leg)
    leg.rollback()
    leg.receive_offer(offer())


def test_a_codec_that_we_did_not_offer_is_not_agreed(engine: FakeMediaEngine) -> None:
    leg = engine.create_leg(codecs=["PCMA"])
    leg.create_offer()
    leg.receive_answer(offer(formats="0 8"))
    assert names(leg.codecs) == [("PCMA", 8)]


def test_the_answer_of_another_fork_replaces_the_first(leg: FakeMediaLeg) -> None:
    leg.create_offer()
    leg.receive_answer(offer("192.0.2.7", 4000, "0"))
    leg.receive_answer(offer("192.0.2.8", 5000, "8"))
    assert names(leg.codecs) == [("PCMA", 8)]
    assert leg.remote_sdp == offer("192.0.2.8", 5000, "8")


# Exchanges after the first.


def test_the_version_rises_only_with_a_change(leg: FakeMediaLeg) -> None:
    leg.receive_offer(offer())
    first = leg.create_answer()
    leg.receive_offer(offer())
    assert leg.create_answer() == first
    leg.receive_offer(offer(direction="sendonly", version=2))
    held = leg.create_answer()
    assert version(held) == version(first) + 1
    leg.create_offer(direction="inactive")
    leg.rollback()
    leg.receive_offer(offer(direction="sendonly", version=3))
    assert version(leg.create_answer()) == version(first) + 3  # a refused offer was sent in between
    assert sdp.parse(first).origin.session_id == sdp.parse(held).origin.session_id


def test_rollback_returns_to_what_was_agreed(leg: FakeMediaLeg) -> None:
    leg.rollback()
    leg.receive_offer(offer())
    leg.create_answer()
    leg.receive_offer(offer(formats="8", direction="sendonly", version=2))
    assert held(leg)
    assert leg.remote_direction == "sendonly"
    assert names(leg.codecs) == [("PCMA", 8)]
    leg.rollback()
    assert not held(leg)
    assert names(leg.codecs) == [("PCMU", 0), ("PCMA", 8)]
    leg.create_offer(direction="sendonly")
    leg.rollback()
    assert leg.direction == "sendrecv"
    assert leg.local_sdp is not None
    assert "a=sendrecv" in leg.local_sdp


def test_verbs_out_of_order(leg: FakeMediaLeg) -> None:
    with pytest.raises(RuntimeError):
        leg.create_answer()
    with pytest.raises(RuntimeError):
        leg.receive_answer(offer())
    leg.receive_offer(offer())
    with pytest.raises(RuntimeError):
        leg.receive_offer(offer())
    with pytest.raises(RuntimeError):
        leg.create_offer()
    with pytest.raises(RuntimeError):
        leg.receive_answer(offer())


def test_a_later_offer_of_ours_repeats_what_is_agreed(leg: FakeMediaLeg) -> None:
    leg.receive_offer(offer(formats="8 0 101"))
    first = leg.create_answer()
    again = leg.create_offer(direction="sendonly")
    assert stream(again).formats == stream(first).formats
    assert version(again) == version(first) + 1


def test_a_payload_type_keeps_its_meaning(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    b.create_offer()  # opus is 96 on this leg
    b.receive_answer(offer(formats="96 0"))
    a.receive_offer(
        offer(formats="0 111 96", direction="sendrecv\r\na=rtpmap:111 opus/48000/2").replace(
            "a=rtpmap:96 opus/48000/2\r\n", "a=rtpmap:96 telephone-event/8000\r\n"
        )
    )
    described = stream(b.create_offer(a))
    maps = {(each.encoding, each.clock_hz): each.payload_type for each in described.rtpmaps.values()}
    assert maps["opus", 48000] == 96
    assert maps["telephone-event", 8000] == 101  # what this leg had for it, not the other's 96


def test_a_number_that_is_taken_is_replaced_by_a_free_one(engine: FakeMediaEngine) -> None:
    b = engine.create_leg(codecs=["PCMU", "opus"])
    b.create_offer()
    b.receive_answer(offer(formats="0 96"))
    other = engine.create_leg(codecs=["PCMU"])
    other.receive_offer(offer(formats="0 96").replace("opus/48000/2", "telephone-event/8000"))
    b._negotiation._numbers.pop(("telephone-event", 8000, 1))
    described = stream(b.create_offer(other))
    assert described.formats == ("0", "96", "127", "103")


def test_a_stream_switched_off_and_on_again(leg: FakeMediaLeg) -> None:
    leg.receive_offer(offer())
    leg.create_answer()
    leg.receive_offer(offer(port=0, version=2))
    described = stream(leg.create_answer())
    assert (described.port, described.direction) == (0, "inactive")
    assert held(leg)
    leg.receive_offer(offer(version=3))
    assert stream(leg.create_answer()).port == 40000
    assert leg.direction == "sendrecv"


# Two legs.


def test_an_offer_like_another_leg_has_its_codecs_numbers_ptime_and_direction(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    a.receive_offer(
        offer(
            formats="111 8 0 110",
            direction="sendonly\r\na=ptime:30\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 stereo=1"
            "\r\na=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-15",
        )
    )
    described = stream(b.create_offer(a))
    assert described.formats == ("111", "8", "0", "9", "110", "101")  # then what we can transcode
    assert described.fmtps == {111: "stereo=1", 110: "0-15", 101: "0-16"}
    assert (described.direction, described.ptime_ms) == ("sendonly", 30)


def test_an_offer_like_another_leg_keeps_to_its_own_policy(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg(codecs=["PCMA"])
    a.receive_offer(offer(formats="96 0 8"))
    assert stream(b.create_offer(a)).formats == ("8", "101")  # A has no telephone-event, but may hear of digits
    c = engine.create_leg(codecs=["G729"])
    with pytest.raises(NoCommonCodec):
        c.create_offer(a)


def test_an_offer_like_a_leg_that_we_cannot_decode_has_nothing_to_transcode(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(codecs=["G729"]), engine.create_leg(codecs=["PCMU", "G729"])
    a.receive_offer(offer(formats="18 101"))
    assert stream(b.create_offer(a)).formats == ("18", "101")
    c = engine.create_leg()
    with pytest.raises(NoCommonCodec):
        c.create_offer(a)


def test_an_offer_goes_on_with_what_can_be_transcoded_the_other_law_first(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg(codecs=["opus", "GSM", "G722", "PCMA"])
    a.receive_offer(offer(formats="0 101"))
    described = stream(b.create_offer(a))
    assert described.formats == ("8", "96", "9", "101", "103")


def test_an_answer_names_what_can_be_transcoded_only_if_there_is_nothing_else(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    a.receive_offer(offer(formats="96 9 101"))
    b.create_offer(a)
    b.receive_answer(offer(formats="8 0 101"))
    assert stream(a.create_answer(b)).formats == ("96", "9", "101")
    c, d = engine.create_leg(), engine.create_leg()
    c.receive_offer(offer(formats="96 9 0 101"))
    d.create_offer(c)
    d.receive_answer(offer(formats="8 0 101"))
    assert stream(c.create_answer(d)).formats == ("0", "101")


def test_each_party_has_telephone_events_at_the_clock_of_its_codec(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    a.receive_offer(offer(formats="96 102", direction="sendrecv\r\na=rtpmap:102 telephone-event/48000"))
    offered = stream(b.create_offer(a))
    assert [str(each) for each in offered.rtpmaps.values() if each.encoding == "telephone-event"] == [
        "102 telephone-event/48000",
        "101 telephone-event/8000",
    ]
    b.receive_answer(offer(formats="8 101"))
    assert stream(a.create_answer(b)).formats == ("96", "102")


def test_an_answer_like_another_leg_has_what_that_one_agreed(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    a.receive_offer(offer(formats="96 0 8 101"))
    b.create_offer(a)
    b.receive_answer(offer(formats="8 0", direction="sendrecv\r\na=ptime:40"))
    described = stream(a.create_answer(b))
    assert described.formats == ("8", "0", "101")  # B has no telephone-event, but may hear of digits
    assert described.ptime_ms == 40
    assert a.codecs == b.codecs


def test_parameters_of_a_codec_cross(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    a.receive_offer(offer(formats="96"))
    b.create_offer(a)
    b.receive_answer(offer(formats="98", direction="sendrecv\r\na=rtpmap:98 opus/48000/2\r\na=fmtp:98 usedtx=1"))
    described = stream(a.create_answer(b))
    assert described.formats == ("96",)
    assert described.fmtps == {96: "usedtx=1"}


def test_hold_and_resume_cross(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    a.receive_offer(offer())
    b.create_offer(a)
    b.receive_answer(offer())
    a.create_answer(b)
    for asked, answered in (("sendonly", "recvonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")):
        a.receive_offer(offer(direction=asked))
        assert stream(b.create_offer(a)).direction == asked
        b.receive_answer(offer(direction=answered))
        assert stream(a.create_answer(b)).direction == answered
        assert a.on_hold is (asked != "sendrecv")
        assert not b.on_hold


def test_a_party_that_refuses_to_send_is_heard_of_by_the_other(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    a.receive_offer(offer())
    b.create_offer(a)
    b.receive_answer(offer(direction="sendonly"))
    assert stream(a.create_answer(b)).direction == "sendonly"
    assert b.on_hold


def test_only_the_law_differs(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg(codecs=["PCMA"])
    a.receive_offer(offer(formats="0 101"))
    assert stream(b.create_offer(a)).formats == ("8", "101")
    b.receive_answer(offer(formats="8 101"))
    assert stream(a.create_answer(b)).formats == ("0", "101")


def test_late_offer_towards_one_that_was_dialled_first(engine: FakeMediaEngine) -> None:
    a, b = engine.create_leg(), engine.create_leg()
    b.create_offer()
    assert names(b.codecs)[0] == ("PCMU", 0)
    b.receive_answer(offer(formats="8 101"))
    assert stream(a.create_offer(b)).formats == ("8", "0", "9", "96", "101", "103")
    a.receive_answer(offer(formats="8 101"))
    assert a.codecs == b.codecs


def test_mirror() -> None:
    assert [sdp.DIRECTIONS[mirror(bits(each))] for each in sdp.DIRECTIONS] == [
        "inactive",
        "recvonly",
        "sendonly",
        "sendrecv",
    ]
    with pytest.raises(ValueError, match="not in"):
        bits("both")


def test_an_unknown_codec_in_a_policy() -> None:
    with pytest.raises(ValueError, match="MP3"):
        policy_of(["PCMU", "MP3"])
    with pytest.raises(ValueError, match="no codec"):
        policy_of([])
