"""The forms in which webhooks tell of an event: ours, that of the channel dialect (B18), that of RealtimeKit (E17)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from signalling import EVENT_KINDS, Happening, Session, event_body, uuid_of_peer, uuid_of_session, wire_kind

HORN_VERSION = 1

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


class Link(Protocol):
    """A link to a file, without the server's own address."""

    @property
    def target(self) -> str:
        """Path and query."""

    @property
    def expires_at(self) -> int:
        """ms since the epoch."""


@dataclass(frozen=True, slots=True)
class FileLinks:
    """How the files of a session are reached from outside."""

    base: str
    "The server's own address, as `https://calls.example.net`."
    chat: Callable[[str], Link]
    transcript: Callable[[str], Link]
    summary: Callable[[str], Link]
    "Each from a session's id."


@dataclass(frozen=True, slots=True)
class Form:
    """One way to word events."""

    kinds: frozenset[str]
    "Which ones it has words for."
    body: Callable[[Happening, FileLinks | None], Mapping[str, Any]]


def text_of(form: str, happening: Happening, links: FileLinks | None = None) -> str:
    """The body of a webhook."""
    return json.dumps(FORMS[form].body(happening, links), ensure_ascii=False, separators=(",", ":"))


def _ringway(happening: Happening, _links: FileLinks | None) -> Mapping[str, Any]:
    return event_body(happening)


def _horn(happening: Happening, _links: FileLinks | None) -> Mapping[str, Any]:
    """Version, type, and the event's own parameters; instants are ms since the epoch (G3), absent is left out (G4)."""
    session = happening.session
    return {
        "version": HORN_VERSION,
        "type": wire_kind(happening.kind),
        "parameters": {
            "id": f"evt_{happening.position}",
            "time": int(happening.at * 1000),
            "session": session.id,
            "channel": session.channel_id,
            "clientId": session.client_id,
            "seq": happening.seq,
            **{_camel(name): value for name, value in happening.fields.items() if value is not None},
        },
    }


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _realtimekit(happening: Happening, links: FileLinks | None) -> Mapping[str, Any]:
    """A meeting and what happened to it, as the original's webhooks have it (G3: ISO 8601 with ms)."""
    kind = wire_kind(happening.kind)
    session = happening.session
    body: dict[str, Any] = {"event": MEETING_EVENTS[kind], "meeting": _meeting(session, happening)}
    if kind == "session.ended":
        by_command = happening.fields.get("by") == "command"
        body["reason"] = "HOST_ENDED_MEETING" if by_command else "ALL_PARTICIPANTS_LEFT"
    elif kind.startswith("participant."):
        body["participant"] = _participant(session, happening.fields["participant"])
    elif links is not None and kind == "chat.synced":
        body |= _link("chat", links.chat(session.id), links)
    elif links is not None and kind == "transcript.ready":
        body |= _link("transcript", links.transcript(session.id), links)
    elif links is not None and kind == "summary.ready":
        body |= _link("summary", links.summary(session.id), links)
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


def _link(name: str, link: Link, links: FileLinks) -> dict[str, str]:
    return {
        f"{name}DownloadUrl": f"{links.base}{link.target}",
        f"{name}DownloadUrlExpiry": _iso(link.expires_at / 1000),
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


FORMS: Mapping[str, Form] = {
    "ringway": Form(frozenset(EVENT_KINDS), _ringway),
    "horn": Form(frozenset(EVENT_KINDS), _horn),
    "realtimekit": Form(frozenset(MEETING_EVENTS), _realtimekit),
}
