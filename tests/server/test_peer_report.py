"""What is told of a peer's call, from the counters of its media (conformance E14, E15)."""

from __future__ import annotations

import pytest

from server.api.peer_report import minutes, mos, peer_events, report
from server.store.queries.artefacts import StoredEvent
from server.store.records import ParticipantRecord

COUNTERS = {
    "local": ["192.0.2.1", 40000], "remote": ["198.51.100.7", 5004],
    "packets_sent": 1000, "octets_sent": 160_000, "packets_received": 900, "octets_received": 144_000,
    "packets_lost": 100, "packets_refused": 0, "jitter_ms": 2.5, "rtt_ms": 300.0,
    "remote_packets_lost": 0, "remote_jitter_ms": 1.0,
}  # fmt: skip


def stay(left_at: int | None = 61_000) -> ParticipantRecord:
    return ParticipantRecord(
        "1801439850948198400", 3, "t/t", "c", "alice", 1, "alice", None, None, None, "member", 1000, left_at, 1000, None
    )


def event(kind: str, at: int, **data: object) -> StoredEvent:
    return StoredEvent(1, kind, at, data)


def test_e15_producer_is_what_the_peer_sends_and_consumer_what_it_hears() -> None:
    quality = report(stay(), [], COUNTERS).quality
    (producer,), (consumer,) = quality["audio_producer"], quality["audio_consumer"]
    assert (producer["packets_sent"], producer["packets_lost"], producer["bytes_sent"]) == (1000, 100, 144_000)
    assert (producer["jitter"], producer["rtt"]) == (2.5, 300.0)
    assert (consumer["packets_received"], consumer["packets_lost"], consumer["jitter"]) == (1000, 0, 1.0)
    cumulative = quality["audio_producer_cumulative"]
    assert cumulative["packet_loss"] == {
        "avg": 10.0,
        "5_or_greater_event_fraction": 1.0,
        "10_or_greater_event_fraction": 1.0,
        "25_or_greater_event_fraction": 0.0,
        "50_or_greater_event_fraction": 0.0,
    }
    assert cumulative["rtt"] == {
        "avg": 300.0,
        "100ms_or_greater_event_fraction": 1.0,
        "250ms_or_greater_event_fraction": 1.0,
        "500ms_or_greater_event_fraction": 0.0,
    }
    assert "rtt" not in report(stay(), [], {**COUNTERS, "rtt_ms": None}).quality["audio_consumer_cumulative"]


def test_e15_video_has_streams_of_its_own_without_a_mos() -> None:
    assert not [name for name in report(stay(), [], COUNTERS).quality if name.startswith("video")]
    video = {
        "packets_sent": 500, "octets_sent": 400_000, "packets_received": 190, "packets_lost": 10, "jitter_ms": 4.0,
        "rtt_ms": 120.0, "remote_packets_lost": 50, "remote_jitter_ms": 6.0,
    }  # fmt: skip
    quality = report(stay(), [], {**COUNTERS, "video": video}).quality
    (producer,), (consumer,) = quality["video_producer"], quality["video_consumer"]
    assert (producer["packets_sent"], producer["packets_lost"], producer["jitter"]) == (200, 10, 4.0)
    assert (consumer["packets_received"], consumer["bytes_received"], consumer["packets_lost"]) == (450, 400_000, 50)
    assert quality["video_producer_cumulative"]["packet_loss"]["avg"] == 5.0
    assert quality["video_consumer_cumulative"]["packet_loss"]["avg"] == 10.0
    assert quality["video_consumer_cumulative"]["rtt"]["avg"] == 120.0
    for stream in (producer, consumer):
        assert "mos_quality" not in stream
    assert "quality_mos" not in quality["video_producer_cumulative"]
    assert quality["audio_producer"] == report(stay(), [], COUNTERS).quality["audio_producer"]


def test_e15_without_media_nothing_is_made_up() -> None:
    made = report(stay(), [], None)
    assert made.quality == {}
    assert made.metadata == {"room_view_type": "GROUP_CALL", "sdk_name": "ringway", "events": []}


def test_e14_addresses_are_told_to_hosts_alone() -> None:
    assert "198.51.100.7" not in str(report(stay(), [], COUNTERS))
    made = report(stay(), [], COUNTERS, addresses=True).metadata
    assert made["ip_information"] == {"ipv4": "198.51.100.7"}
    (pair,) = made["candidate_pairs"]["consuming_transport"]
    assert (pair["remote_candidate_address"], pair["remote_candidate_port"]) == ("198.51.100.7", 5004)
    assert pair["current_round_trip_time"] == 0.3
    v6 = {**COUNTERS, "remote": ["2001:db8::1", 5004]}
    assert "ip_information" not in report(stay(), [], v6, addresses=True).metadata


def test_e14_events_are_those_of_the_peer_and_of_its_time() -> None:
    events = [
        event("session.started", 900),
        event("participant.joined", 1000, participant=3, user="alice"),
        event("participant.joined", 1500, participant=4, user="bob"),
        event("leg.held", 2000, leg="caller", by="phone"),
        event("chat.sent", 2500, participant=3, payload="secret"),
        event("invitation.created", 2600, invitation="i"),
        event("leg.dialled", 3000, leg="callee", target="sip:+331234", call_id="x"),
        event("session.ended", 70_000, cause="completed"),
    ]
    told = report(stay(), events, None).metadata["events"]
    assert [item["name"] for item in told] == ["participant.joined", "leg.held", "chat.sent", "leg.dialled"]
    assert told[1] == {
        "name": "leg.held",
        "timestamp": "1970-01-01T00:00:02.000Z",
        "metadata": {"leg": "caller", "by": "phone"},
    }
    assert "secret" not in str(told)
    assert "+33" not in str(told)
    assert "alice" not in str(told)


def test_e8_leaving_costs_the_minutes_of_the_stay() -> None:
    assert [event.minutes_consumed for event in peer_events(stay(), 99_000)] == [0.0, 0.0, 1.0]
    assert [event.event_name for event in peer_events(stay(None), 99_000)] == ["PEER_CREATED", "PEER_JOINING"]
    assert minutes(348_582) == 5.8097


@pytest.mark.parametrize(
    ("loss", "rtt", "jitter", "low", "high"),
    [
        (0, 20, 1, 4.3, 4.5),
        (0, None, 0, 4.3, 4.5),
        (3, 100, 5, 2.3, 3.3),
        (30, 800, 60, 1.0, 1.5),
        (100, 0, 0, 1.0, 1.2),
    ],
)
def test_e15_quality_falls_with_loss_and_delay(
    loss: float, rtt: float | None, jitter: float, low: float, high: float
) -> None:
    assert low <= mos(loss, rtt, jitter) <= high
