"""Bodies and queries of the RealtimeKit dialect (conformance E1-E15): what is absent has no key (G4)."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, RootModel

from ..fields import Printable
from .model import Model
from .openapi import Body

MAX_PAGE = 1000  # items a page
DEFAULT_PAGE = 20
MAX_SEARCH = 256  # characters
MAX_NAMED = 100  # participants that a filter names
MAX_NAMES = 640  # characters of their names; the first line of a request has at most 8190 bytes
MAX_OFFSET = 2**31  # items; no list is as long
MAX_SENTENCES = 500  # of a transcript, in one request; a body has at most 64 KiB
MAX_KICKED = 200  # by one request
MAX_SENTENCE = 4000  # characters
MAX_TRANSCRIPT_MS = 31 * 24 * 3600 * 1000  # no session is as long

Iso = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


def _written(value: object) -> object:
    """Instants are written as text: a bare number is none."""
    if isinstance(value, str) and not _INSTANT.match(value):
        raise ValueError("an instant as in 2023-02-01T10:51:08.039Z")
    return value


_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}")
Instant = Annotated[datetime, BeforeValidator(_written)]

PEER_FILTERS = ("device_info", "ip_information", "precall_network_information", "events", "quality_stats")
_FILTER = f"({'|'.join(PEER_FILTERS)})"


class SortOrder(StrEnum):
    """Smallest first, or largest."""

    ASC = "ASC"
    DESC = "DESC"


class Paged(Model):
    """Which part of a list (E18)."""

    page_no: Annotated[int, Field(ge=0, le=MAX_OFFSET, description="From 1; 0 is the first page too.")] = 0
    per_page: Annotated[
        int, Field(ge=0, le=MAX_OFFSET, description=f"At most {MAX_PAGE}, more is cut down; 0 is the default.")
    ] = DEFAULT_PAGE

    @property
    def limit(self) -> int:
        """Items a page."""
        return min(self.per_page or DEFAULT_PAGE, MAX_PAGE)

    @property
    def offset(self) -> int:
        """Items before the page."""
        return max(self.page_no - 1, 0) * self.limit


class SessionQuery(Paged):
    """Which sessions (E1)."""

    sort_by: Literal["minutesConsumed", "createdAt"] = "createdAt"
    sort_order: SortOrder = SortOrder.DESC
    start_time: Annotated[Instant | None, Field(description="Made at this instant or later (E20).")] = None
    end_time: Annotated[Instant | None, Field(description="Made at this instant or earlier (E20).")] = None
    participants: Annotated[
        str | None,
        Field(
            max_length=MAX_NAMES,
            description="Participant ids, custom ids or user ids, joined by commas: any of them took part (E21).",
        ),
    ] = None
    status: Literal["LIVE", "ENDED"] | None = None
    search: Annotated[
        str | None,
        Field(max_length=MAX_SEARCH, description="A part of the title, or the id of a meeting or session."),
    ] = None
    associated_id: Annotated[str | None, Field(max_length=128, description="Id of the meeting.")] = None


class ParticipantQuery(Paged):
    """Which participants (E5)."""

    search: Annotated[
        str | None, Field(max_length=MAX_SEARCH, description="A part of the id, custom id or display name.")
    ] = None
    sort_by: Literal["joinedAt", "duration"] = "joinedAt"
    sort_order: SortOrder = SortOrder.ASC
    include_peer_events: bool = False
    view: Annotated[
        Literal["raw", "consolidated"],
        Field(description="consolidated: durations include what was spent in breakout rooms."),
    ] = "raw"


class DetailsQuery(Model):
    """How much of a session."""

    include_breakout_rooms: bool = False


class EventsQuery(Model):
    """How much of a participant."""

    include_peer_events: bool = False


class PeerQuery(Model):
    """How much of a peer."""

    include_peer_events: bool = True
    filters: Annotated[
        str | None,
        Field(
            max_length=128,
            pattern=f"^{_FILTER}(,{_FILTER})*$",
            description=f"Parts of the report, joined by commas: {', '.join(PEER_FILTERS)}.",
        ),
    ] = None


class TranscriptQuery(Model):
    """Which file."""

    format: Literal["CSV", "JSON", "SRT", "VTT"] = "CSV"


class StoreQuery(Model):
    """How to store."""

    append: Annotated[bool, Field(description="true: after what is there; false: in its place.")] = False


class MeetingQuery(Paged):
    """Which meetings."""

    search: Annotated[str | None, Field(max_length=MAX_SEARCH, description="A part of the title, or the id.")] = None
    start_time: Annotated[Instant | None, Field(description="Made at this instant or later.")] = None
    end_time: Annotated[Instant | None, Field(description="Made at this instant or earlier.")] = None


# What is sent to us.


class CreateMeeting(Body):
    """A meeting to make."""

    title: Annotated[str, Field(max_length=256), Printable] | None = None


class AddParticipant(Body):
    """Somebody who takes part from now on."""

    custom_participant_id: Annotated[str, Field(min_length=1, max_length=128, description="Id of the user."), Printable]
    preset_name: Annotated[
        str,
        Field(min_length=1, max_length=64, description="One that ends in host or viewer gives that role."),
        Printable,
    ]
    name: Annotated[str, Field(min_length=1, max_length=256), Printable] | None = None


class Kick(Body):
    """Who has to leave."""

    participant_ids: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=MAX_KICKED)] = []
    custom_participant_ids: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=MAX_KICKED)] = []


class SpokenBy(Body):
    """Whose words they are."""

    id: Annotated[str, Field(max_length=64, description="Peer id of a participant of the session.")] = ""


class SpokenSentence(Body):
    """A sentence, as the transcript's JSON file has it; times in ms since the session began."""

    startTime: Annotated[int, Field(ge=0, le=MAX_TRANSCRIPT_MS)]
    endTime: Annotated[int, Field(ge=0, le=MAX_TRANSCRIPT_MS, description="Before startTime, it counts as the same.")]
    sentence: Annotated[str, Field(min_length=1, max_length=MAX_SENTENCE)]
    peerData: SpokenBy = SpokenBy()


class Spoken(RootModel[Annotated[list[SpokenSentence], Field(min_length=1, max_length=MAX_SENTENCES)]]):
    """Sentences in the order they were said."""

    model_config = ConfigDict(strict=True)


# What we answer.


class ErrorItem(Model):
    """One thing that went wrong."""

    code: Annotated[int, Field(description="The HTTP status.")]
    message: Annotated[str, Field(description="Begins with a stable word in upper case.")]


class ErrorBody(Model):
    """Every error of this dialect (G5)."""

    success: Literal[False] = False
    errors: list[ErrorItem]
    messages: list[ErrorItem] = []


class Success(Model):
    """It worked."""

    success: Literal[True] = True


class Paging(Model):
    """Which items these are, counted from 1; both offsets are 0 when there are none (E18)."""

    start_offset: int
    end_offset: int
    total_count: int


class SessionItem(Model):
    """A session (E3)."""

    id: str
    associated_id: Annotated[str, Field(description="The meeting's id.")]
    created_at: Iso
    live_participants: int
    max_concurrent_participants: int
    meeting_display_name: str
    minutes_consumed: Annotated[float, Field(description="Sum over its participants, until now if it is live (E19).")]
    organization_id: Annotated[str, Field(description="The app's id.")]
    started_at: Iso
    status: Literal["LIVE", "ENDED"]
    type: Literal["meeting", "livestream", "participant"] = "meeting"
    updated_at: Iso
    breakout_rooms: list[SessionItem] | None = None
    ended_at: Iso | None = None
    meta: Any = None


class SessionsData(Model):
    """The part of the list."""

    sessions: list[SessionItem]


class SessionsAnswer(Success):
    """A part of the sessions (E2)."""

    data: SessionsData
    paging: Paging


class SessionAnswer(Success):
    """One session (E4)."""

    data: SessionItem


class PeerEvent(Model):
    """Somebody came or went (E8)."""

    id: str
    created_at: Iso
    event_name: Literal["PEER_CREATED", "PEER_JOINING", "PEER_LEAVING"]
    minutes_consumed: float
    participant_id: str
    peer_id: str
    preset_view_type: Literal["GROUP_CALL", "WEBINAR", "AUDIO_ROOM", "LIVESTREAM", "CHAT"]
    session_id: str
    socket_session_id: str
    updated_at: Iso


class ParticipantItem(Model):
    """One stay in a session (E6)."""

    id: Annotated[str, Field(description="Peer id.")]
    created_at: Iso
    custom_participant_id: str
    display_name: str
    duration: Annotated[float, Field(description="Minutes.")]
    joined_at: Iso
    left_at: Iso | None = None
    preset_name: str | None = None
    updated_at: Iso
    user_id: str
    peer_events: list[PeerEvent] | None = None


class ParticipantsData(Model):
    """The part of the list, with its place as the original shows it."""

    participants: list[ParticipantItem]
    paging: Paging


class ParticipantsAnswer(Success):
    """A part of the participants (E5)."""

    data: ParticipantsData


class ParticipantData(Model):
    """One of them."""

    participant: ParticipantItem


class ParticipantAnswer(Success):
    """One participant (E7)."""

    data: ParticipantData


class PeerReport(Model):
    """What is known of a peer's call (E14, E15); what is not known has no key."""

    metadata: dict[str, Any]
    quality: dict[str, Any]


class PeerItem(ParticipantItem):
    """A participant with the report of its call (E13)."""

    peer_report: PeerReport
    session_id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]


class PeerAnswer(Success):
    """One peer (E13)."""

    data: PeerItem


class ChatData(Model):
    """Where the chat is."""

    chat_download_url: str
    chat_download_url_expiry: Iso


class ChatAnswer(Success):
    """The chat (E9)."""

    data: ChatData


class TranscriptData(Model):
    """Where the transcript is."""

    sessionId: str
    transcript_download_url: str
    transcript_download_url_expiry: Iso


class TranscriptAnswer(Success):
    """The transcript (E10)."""

    data: TranscriptData


class SummaryData(Model):
    """Where the summary is."""

    sessionId: str
    summaryDownloadUrl: str
    summaryDownloadUrlExpiry: Iso


class SummaryAnswer(Success):
    """The summary (E11)."""

    data: SummaryData


class JobData(Model):
    """A summary in the making."""

    session_id: str
    status: Literal["IN_PROGRESS", "COMPLETED", "FAILED"]


class JobAnswer(Success):
    """The making of a summary (E12)."""

    data: JobData


class StoredData(Model):
    """A transcript as it is now."""

    sessionId: str
    sentences: int


class StoredAnswer(Success):
    """A transcript was stored."""

    data: StoredData


class MeetingItem(Model):
    """A meeting: a channel in the other dialects."""

    id: str
    title: str
    status: Literal["ACTIVE", "INACTIVE"] = "ACTIVE"
    created_at: Iso
    updated_at: Iso


class MeetingAnswer(Success):
    """One meeting."""

    data: MeetingItem


class MeetingsAnswer(Success):
    """A part of the meetings."""

    data: list[MeetingItem]
    paging: Paging


class AddedParticipant(Model):
    """Somebody who takes part."""

    id: Annotated[str, Field(description="Peer id.")]
    token: Annotated[str | None, Field(description="Acts for this user in this meeting.")] = None
    custom_participant_id: str
    preset_name: str
    name: str | None = None
    created_at: Iso
    updated_at: Iso


class AddedAnswer(Success):
    """Somebody takes part."""

    data: AddedParticipant


class RemovedParticipant(Model):
    """Somebody who has left."""

    custom_participant_id: str
    preset_id: str
    created_at: Iso
    updated_at: Iso


class RemovedAnswer(Success):
    """Somebody has left."""

    data: RemovedParticipant


class KickedParticipant(Model):
    """Somebody who had to leave."""

    id: str
    name: str | None = None
    created_at: Iso
    updated_at: Iso


class KickedData(Model):
    """Who had to leave."""

    action: Literal["kick"] = "kick"
    participants: list[KickedParticipant]


class KickedAnswer(Success):
    """They had to leave."""

    data: KickedData


class KickedAllData(Model):
    """How many had to leave."""

    action: Literal["kick-all"] = "kick-all"
    kicked_participants_count: int


class KickedAllAnswer(Success):
    """The session has ended."""

    data: KickedAllData
