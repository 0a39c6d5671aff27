"""What the RealtimeKit dialect tells of a peer: its coming and going, and how its call was (conformance E8, E14, E15).

The keys and their places are the original's; what this server cannot know, such as a browser's devices, has no key.
Quality has one sample a stay, the counters of its media: an average is that sample, and so is each percentile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from signalling import uuid_of_peer, uuid_of_session

from ..store.queries.artefacts import StoredEvent
from ..store.records import ParticipantRecord
from .realtimekit_models import PeerEvent, PeerReport
from .session_files import iso

EventName = Literal["PEER_CREATED", "PEER_JOINING", "PEER_LEAVING"]
MS_A_MINUTE = 60_000
LOSS_STEPS = (5, 10, 25, 50)  # percent
RTT_STEPS = (100, 250, 500)  # ms
VIEW: Literal["GROUP_CALL"] = "GROUP_CALL"
CODEC_DELAY_MS = 40.0  # of packetising and a jitter buffer, beside what the network takes
LOSS_ROBUSTNESS = 4.3  # Bpl of G.711 without concealment (ITU-T G.113 Appendix I)


def minutes(ms: int) -> float:
    """As the original writes them, with four digits behind the point."""
    return round(ms / MS_A_MINUTE, 4)


def stay_ms(record: ParticipantRecord, now: int) -> int:
    """How long a stay is or was; `now` in ms since the epoch."""
    return max(0, (now if record.left_at is None else record.left_at) - record.joined_at)


def peer_events(record: ParticipantRecord, now: int) -> list[PeerEvent]:
    """Created and joining at once, for there is no lobby; leaving with the minutes that it cost."""
    happened: list[tuple[EventName, int, float]] = [
        ("PEER_CREATED", record.joined_at, 0.0),
        ("PEER_JOINING", record.joined_at, 0.0),
    ]
    if record.left_at is not None:
        happened.append(("PEER_LEAVING", record.left_at, minutes(stay_ms(record, now))))
    peer = uuid_of_peer(record.session_id, record.idx)
    session = uuid_of_session(record.session_id)
    return [
        PeerEvent(
            id=str(uuid5(NAMESPACE_URL, f"{peer}/{name}")),
            created_at=iso(at),
            event_name=name,
            minutes_consumed=spent,
            participant_id=peer,
            peer_id=peer,
            preset_view_type=VIEW,
            session_id=session,
            socket_session_id=session,
            updated_at=iso(at),
        )
        for name, at, spent in happened
    ]


def report(
    record: ParticipantRecord,
    events: Iterable[StoredEvent],
    quality: Mapping[str, Any] | None,
    filters: frozenset[str] | None = None,
    *,
    addresses: bool = False,
) -> PeerReport:
    """The report of a stay, of the parts that `filters` name, or of all.

    `quality`: the counters of its media, None when it has or had none, or when the media went past us. `addresses`:
    whether to tell where it was; that is for hosts.
    """

    def wanted(part: str) -> bool:
        return filters is None or part in filters

    metadata: dict[str, Any] = {"room_view_type": VIEW}
    if wanted("device_info"):
        metadata["sdk_name"] = "ringway" if quality is None else "sip"
    if wanted("events"):
        metadata["events"] = [_event(event) for event in events if _concerns(event, record)]
    if quality:
        remote = quality.get("remote") if addresses else None
        if remote and wanted("ip_information") and ":" not in remote[0]:
            metadata["ip_information"] = {"ipv4": remote[0]}
        if wanted("quality_stats"):
            metadata["candidate_pairs"] = _candidate_pairs(quality, addresses=addresses)
    return PeerReport(metadata=metadata, quality=_quality(record, quality) if wanted("quality_stats") else {})


def _concerns(event: StoredEvent, record: ParticipantRecord) -> bool:
    """Whether a peer has to do with an event: its own, and what happened to all while it was there."""
    of_peer = event.data.get("participant")
    if of_peer is not None:
        return bool(of_peer == record.idx)
    if event.kind.startswith(("invitation.", "chat.", "transcript.", "summary.")):
        return False
    return record.joined_at <= event.at and (record.left_at is None or event.at <= record.left_at)


_TOLD = ("leg", "status", "reason", "by", "digit", "duration_ms", "cause", "paused_by", "resumed_by")
"Of what an event says, what a peer's report repeats: no numbers, names or words of anybody."


def _event(event: StoredEvent) -> dict[str, Any]:
    metadata = {key: event.data[key] for key in _TOLD if event.data.get(key) is not None}
    return {"name": event.kind, "timestamp": iso(event.at), "metadata": metadata}


def _candidate_pairs(counters: Mapping[str, Any], *, addresses: bool) -> dict[str, Any]:
    """One pair for both directions, which share their ports."""
    pair = {
        "nominated": True,
        "bytes_received": counters.get("octets_received", 0),
        "bytes_sent": counters.get("octets_sent", 0),
        "packets_received": counters.get("packets_received", 0),
        "packets_sent": counters.get("packets_sent", 0),
        "local_candidate_protocol": "udp",
        "remote_candidate_protocol": "udp",
    }
    rtt = counters.get("rtt_ms")
    if rtt is not None:
        pair["current_round_trip_time"] = rtt / 1000
    for side in ("local", "remote") if addresses else ():
        if counters.get(side):
            pair[f"{side}_candidate_address"], pair[f"{side}_candidate_port"] = counters[side]
    return {"producing_transport": [pair], "consuming_transport": [pair]}


def _quality(record: ParticipantRecord, counters: Mapping[str, Any] | None) -> dict[str, Any]:
    if not counters:
        return {}
    video = counters.get("video")
    return _streams(record, "audio", counters) | (_streams(record, "video", video) if video else {})


def _streams(record: ParticipantRecord, kind: Literal["audio", "video"], counters: Mapping[str, Any]) -> dict[str, Any]:
    """What the peer sends and what it gets, of one kind. The E-model is one of voices: video has no MOS."""
    at, audible = iso(record.updated_at), kind == "audio"
    rtt, jitter, far_jitter = (counters.get(key) for key in ("rtt_ms", "jitter_ms", "remote_jitter_ms"))
    came, lost = int(counters.get("packets_received", 0)), max(0, int(counters.get("packets_lost", 0)))
    went, missed = int(counters.get("packets_sent", 0)), max(0, int(counters.get("remote_packets_lost", 0)))
    sent_loss, got_loss = _percent(lost, came + lost), _percent(missed, went)
    sent_quality = mos(sent_loss, rtt, jitter or 0.0) if audible else None
    got_quality = mos(got_loss, rtt, far_jitter or 0.0) if audible else None
    producer = {
        "producer_id": uuid_of_peer(record.session_id, record.idx),
        **_known(bytes_sent=counters.get("octets_received", 0) if audible else None),
        "packets_sent": came + lost,
        "packets_lost": lost,
        "jitter": jitter or 0.0,
        **_known(rtt=rtt, mos_quality=sent_quality),
        "timestamp": at,
    }
    consumer = {
        "consumer_id": uuid_of_peer(record.session_id, record.idx),
        **_known(bytes_received=None if audible else counters.get("octets_sent", 0)),
        "packets_received": max(0, went - missed),
        "packets_lost": missed,
        "jitter": far_jitter or 0.0,
        **_known(rtt=rtt, mos_quality=got_quality),
        "timestamp": at,
    }
    return {
        f"{kind}_producer": [producer],
        f"{kind}_producer_cumulative": _cumulative(sent_loss, sent_quality, rtt),
        f"{kind}_consumer": [consumer],
        f"{kind}_consumer_cumulative": _cumulative(got_loss, got_quality, rtt),
    }


def _cumulative(loss: float, quality: float | None, rtt: float | None) -> dict[str, Any]:
    packet_loss = {"avg": loss, **{f"{step}_or_greater_event_fraction": float(loss >= step) for step in LOSS_STEPS}}
    cumulative: dict[str, Any] = {"packet_loss": packet_loss}
    if quality is not None:
        cumulative["quality_mos"] = {"avg": quality, "p50": quality, "p75": quality, "p90": quality}
    if rtt is not None:
        fractions = {f"{step}ms_or_greater_event_fraction": float(rtt >= step) for step in RTT_STEPS}
        cumulative["rtt"] = {"avg": rtt, **fractions}
    return cumulative


def mos(loss_percent: float, rtt_ms: float | None, jitter_ms: float) -> float:
    """Listening quality from 1 to 4.5 by the E-model (ITU-T G.107, its defaults, random loss)."""
    delay = (rtt_ms or 0.0) / 2 + 2 * jitter_ms + CODEC_DELAY_MS
    impaired_by_delay = 0.024 * delay + (0.11 * (delay - 177.3) if delay > 177.3 else 0.0)
    impaired_by_loss = 95 * loss_percent / (loss_percent + LOSS_ROBUSTNESS)
    rating = min(100.0, max(0.0, 93.2 - impaired_by_delay - impaired_by_loss))
    return round(max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6), 2)


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole > 0 else 0.0


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
