"""The files that hang on a session, as the RealtimeKit dialect serves them: chat and transcript (E9-E11, E24).

Cells of a CSV are always quoted and never changed: a cell that begins with `=` stays so, since the file is data for
programs. Whoever opens it in a spreadsheet imports it as text. Lines end with a line feed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Format = Literal["CSV", "JSON", "SRT", "VTT"]

CHAT_HEADER = "id,participantId,sessionId,meetingId,displayName,pinned,isEdited,payloadType,payload,createdAt\n"


@dataclass(frozen=True, slots=True)
class Message:
    """One row of the chat."""

    id: str
    participant_id: str
    display_name: str
    pinned: bool
    edited: bool
    payload_type: str
    payload: str
    created_at: int
    "ms since the epoch."


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whose words they are."""

    id: str
    "Peer id."
    user_id: str
    custom_id: str
    display_name: str
    joined_at: int
    "ms since the epoch."
    left_at: int | None


NOBODY = Speaker("", "", "", "", 0, None)
"Stands for a speaker that nobody knows."


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a transcript, in ms since the session began."""

    start_ms: int
    end_ms: int
    text: str
    speaker: Speaker


def iso(at_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds (G3)."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def chat_csv(messages: Iterable[Message], *, session_id: str, meeting_id: str) -> str:
    """Rows of the chat file, without its header (E9)."""
    return "".join(
        _row(
            message.id,
            message.participant_id,
            session_id,
            meeting_id,
            message.display_name,
            _truth(message.pinned),
            _truth(message.edited),
            message.payload_type,
            message.payload,
            iso(message.created_at),
        )
        for message in messages
    )


def transcript(sentences: Iterable[Sentence], form: Format) -> str:
    """The whole file (E10)."""
    return _FORMS[form](sentences)


def _csv(sentences: Iterable[Sentence]) -> str:
    rows = (
        _row(str(s.start_ms), s.speaker.id, s.speaker.user_id, s.speaker.custom_id, s.speaker.display_name, s.text)
        for s in sentences
    )
    return "".join(rows)


def _json(sentences: Iterable[Sentence]) -> str:
    return json.dumps([_json_item(sentence) for sentence in sentences], ensure_ascii=False, indent=1) + "\n"


def _json_item(sentence: Sentence) -> Mapping[str, object]:
    speaker = sentence.speaker
    return {
        "startTime": sentence.start_ms,
        "endTime": sentence.end_ms,
        "sentence": sentence.text,
        "peerData": {
            "id": speaker.id,
            "userId": speaker.user_id,
            "displayName": speaker.display_name,
            "cpi": speaker.custom_id,
            "joinedAt": iso(speaker.joined_at) if speaker.id else "",
            "leftAt": "" if speaker.left_at is None else iso(speaker.left_at),
        },
    }


def _srt(sentences: Iterable[Sentence]) -> str:
    return "\n".join(_cues(sentences, ",", numbered=True))


def _vtt(sentences: Iterable[Sentence]) -> str:
    return "\n".join(("WEBVTT\n", *_cues(sentences, ".", numbered=False)))


def _cues(sentences: Iterable[Sentence], point: str, *, numbered: bool) -> Iterator[str]:
    for number, sentence in enumerate(sentences, 1):
        name = f"{sentence.speaker.display_name}: " if sentence.speaker.display_name else ""
        # A line break would end the cue, and an arrow in its text is not legal in WebVTT.
        text = " ".join(f"{name}{sentence.text}".split())
        if not numbered:
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        times = f"{_clock(sentence.start_ms, point)} --> {_clock(sentence.end_ms, point)}"
        yield (f"{number}\n" if numbered else "") + f"{times}\n{text}\n"


def _clock(at_ms: int, point: str) -> str:
    seconds, ms = divmod(at_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{ms:03d}"


def _row(*cells: str) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


def _truth(value: bool) -> str:
    return "true" if value else "false"


_FORMS = {"CSV": _csv, "JSON": _json, "SRT": _srt, "VTT": _vtt}
