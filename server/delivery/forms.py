"""The forms in which webhooks tell of an event: ours, that of the channel dialect (B18), that of RealtimeKit (E17)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from signalling import EVENT_KINDS, Happening, Session, event_body, uuid_of_peer, uuid_of_session, wire_kind

HORN_VERSION = 1
EVERYBODY_LEFT = "everybody left"
"Cause of a session's end that nobody asked for, although a command was the last to leave."

MEETING_EVENTS = {
    "session.started": "meeting.started",
    "session.ended": "meeting.ended",
    "participant.joined": "meeting.participantJoined",
    "participant.left": "meeting.participantLeft",
    "chat.synced": "meeting.chatSynced",
    "transcript.ready": "meeting.transcript",
    "summary.ready": "meeting.summary",
}
"Our kind -> what RealtimeKit calls it; it has no word for the others."
KIND_OF_MEETING_EVENT = {theirs: ours for ours, theirs in MEETING_EVENTS.items()}


FILE_OF: Mapping[str, str] = {"chat.synced": "chat", "transcript.ready": "transcript", "summary.ready": "summary"}
"Our kind -> the file that RealtimeKit's event has a link to; links expire, so each attempt gets a new one."


@dataclass(frozen=True, slots=True)
class Form:
    """One way to word events."""

    kinds: frozenset[str]
    "Which ones it has words for."
    body: Callable[[Happening], Mapping[str, Any]]


def payload_of(form: str, happening: Happening) -> dict[str, str]:
    """What the outbox keeps of an event on its way to a webhook: its id, the body, and which file it links to."""
    payload = {"event": f"evt_{happening.position}", "body": _json(FORMS[form].body(happening))}
    file = FILE_OF.get(wire_kind(happening.kind)) if form == "realtimekit" else None
    if file is not None:
        payload |= {"file": file, "session": happening.session.id}
    return payload


def with_link(body: str, file: str, url: str, expires_at_ms: int) -> str:
    """`body` with the link to its file, as RealtimeKit names it."""
    link = {f"{file}DownloadUrl": url, f"{file}DownloadUrlExpiry": _iso(expires_at_ms / 1000)}
    return _json(json.loads(body) | link)


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _ringway(happening: Happening) -> Mapping[str, Any]:
    return event_body(happening)


def _horn(happening: Happening) -> Mapping[str, Any]:
    """Version, type, and the event's own parameters, worded as that API does (G1).

    Instants are ms since the epoch (G3), absent is left out (G4).
    """
    session = happening.session
    return {
        "version": HORN_VERSION,
        "type": wire_kind(happening.kind),
        "parameters": {
            "id": f"evt_{happening.position}",
            "time": round(happening.at * 1000),
            "session": uuid_of_session(session.id),
            "channel": session.channel_id,
            "clientId": session.client_id,
            "seq": happening.seq,
            **{_camel(name): value for name, value in happening.fields.items() if value is not None},
        },
    }


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _realtimekit(happening: Happening) -> Mapping[str, Any]:
    """A meeting and what happened to it, as the original's webhooks have it (G3: ISO 8601 with ms)."""
    kind = wire_kind(happening.kind)
    session = happening.session
    body: dict[str, Any] = {"event": MEETING_EVENTS[kind], "meeting": _meeting(session, happening)}
    if kind == "session.ended":
        told_to = happening.fields["by"] == "command" and happening.fields["cause"] != EVERYBODY_LEFT
        body["reason"] = "HOST_ENDED_MEETING" if told_to else "ALL_PARTICIPANTS_LEFT"
    elif kind.startswith("participant."):
        body["participant"] = _participant(session, happening.fields["participant"])
    return body


def _meeting(session: Session, happening: Happening) -> dict[str, Any]:
    meeting: dict[str, Any] = {
        "id": session.channel_id,
        "sessionId": uuid_of_session(session.id),
        "title": session.channel_name,
        "status": "ENDED" if session.ended else "LIVE",
        "createdAt": _iso(session.created_at),
        "startedAt": _iso(session.started_at or session.created_at),
    }
    if session.ended:
        meeting["endedAt"] = _iso(session.ended_at or happening.at)
    app = session.tenant.partition("/")[2]
    meeting["organizedBy"] = {"id": app, "name": app}
    return meeting


def _participant(session: Session, index: int) -> dict[str, Any]:
    stay = session.participants[index]
    participant = {
        "peerId": uuid_of_peer(session.id, index),
        "userDisplayName": stay.display_name or stay.user,
        "customParticipantId": stay.custom_id or stay.user,
        "joinedAt": _iso(stay.joined_at),
    }
    if stay.left_at is not None:
        participant["leftAt"] = _iso(stay.left_at)
    return participant


def _iso(at: float) -> str:
    at_ms = round(at * 1000)  # as it is stored: the API tells the same instant
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


FORMS: Mapping[str, Form] = {
    "ringway": Form(frozenset(EVENT_KINDS), _ringway),
    "horn": Form(frozenset(EVENT_KINDS), _horn),
    "realtimekit": Form(frozenset(MEETING_EVENTS), _realtimekit),
}
