"""Sessions of an app, who took part in them, and what was written, said and summed up.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import RootModel

from .transport import Group, Model


class AddParticipant(Model):
    """Somebody who takes part from now on."""

    custom_participant_id: str
    """Id of the user."""
    preset_name: str
    """One that ends in host or viewer gives that role."""
    name: str | None = None


class AddedParticipant(Model):
    """Somebody who takes part."""

    id: str
    """Peer id."""
    token: str | None = None
    """Acts for this user in this meeting."""
    custom_participant_id: str
    preset_name: str
    name: str | None = None
    created_at: datetime
    updated_at: datetime


class AddedAnswer(Model):
    """Somebody takes part."""

    success: Literal[True] = True
    data: AddedParticipant


class ChatData(Model):
    """Where the chat is."""

    chat_download_url: str
    chat_download_url_expiry: datetime


class ChatAnswer(Model):
    """The chat (E9)."""

    success: Literal[True] = True
    data: ChatData


class CreateMeeting(Model):
    """A meeting to make."""

    title: str | None = None


class DetailsQuery(Model):
    """How much of a session."""

    include_breakout_rooms: bool = False


class EventsQuery(Model):
    """How much of a participant."""

    include_peer_events: bool = False


class JobData(Model):
    """A summary in the making."""

    session_id: str
    status: Literal["IN_PROGRESS", "COMPLETED", "FAILED"]


class JobAnswer(Model):
    """The making of a summary (E12)."""

    success: Literal[True] = True
    data: JobData


class Kick(Model):
    """Who has to leave."""

    participant_ids: list[str] | None = None
    custom_participant_ids: list[str] | None = None


class KickedAllData(Model):
    """How many had to leave."""

    action: Literal["kick-all"] = "kick-all"
    kicked_participants_count: int


class KickedAllAnswer(Model):
    """The session has ended."""

    success: Literal[True] = True
    data: KickedAllData


class KickedParticipant(Model):
    """Somebody who had to leave."""

    id: str
    name: str | None = None
    created_at: datetime
    updated_at: datetime


class KickedData(Model):
    """Who had to leave."""

    action: Literal["kick"] = "kick"
    participants: list[KickedParticipant]


class KickedAnswer(Model):
    """They had to leave."""

    success: Literal[True] = True
    data: KickedData


class LinkQuery(Model):
    """What makes a link good."""

    expires: str = ""
    """Seconds since the epoch."""
    signature: str = ""


class MeetingItem(Model):
    """A meeting: a channel in the other dialects."""

    id: str
    title: str
    status: Literal["ACTIVE", "INACTIVE"] = "ACTIVE"
    created_at: datetime
    updated_at: datetime


class MeetingAnswer(Model):
    """One meeting."""

    success: Literal[True] = True
    data: MeetingItem


class MeetingQuery(Model):
    """Which meetings."""

    page_no: int = 0
    """From 1; 0 is the first page too."""
    per_page: int = 20
    """At most 1000, more is cut down; 0 is the default."""
    search: str | None = None
    """A part of the title, or the id."""
    start_time: datetime | None = None
    """Made at this instant or later."""
    end_time: datetime | None = None
    """Made at this instant or earlier."""


class Paging(Model):
    """Which items these are, counted from 1; both offsets are 0 when there are none (E18)."""

    start_offset: int
    end_offset: int
    total_count: int


class MeetingsAnswer(Model):
    """A part of the meetings."""

    success: Literal[True] = True
    data: list[MeetingItem]
    paging: Paging


class PeerEvent(Model):
    """Somebody came or went (E8)."""

    id: str
    created_at: datetime
    event_name: Literal["PEER_CREATED", "PEER_JOINING", "PEER_LEAVING"]
    minutes_consumed: float
    participant_id: str
    peer_id: str
    preset_view_type: Literal["GROUP_CALL", "WEBINAR", "AUDIO_ROOM", "LIVESTREAM", "CHAT"]
    session_id: str
    socket_session_id: str
    updated_at: datetime


class ParticipantItem(Model):
    """One stay in a session (E6)."""

    id: str
    """Peer id."""
    created_at: datetime
    custom_participant_id: str
    display_name: str
    duration: float
    """Minutes."""
    joined_at: datetime
    left_at: datetime | None = None
    preset_name: str | None = None
    updated_at: datetime
    user_id: str
    peer_events: list[PeerEvent] | None = None


class ParticipantData(Model):
    """One of them."""

    participant: ParticipantItem


class ParticipantAnswer(Model):
    """One participant (E7)."""

    success: Literal[True] = True
    data: ParticipantData


class ParticipantQuery(Model):
    """Which participants (E5)."""

    page_no: int = 0
    """From 1; 0 is the first page too."""
    per_page: int = 20
    """At most 1000, more is cut down; 0 is the default."""
    search: str | None = None
    """A part of the id, custom id or display name."""
    sort_by: Literal["joinedAt", "duration"] = "joinedAt"
    sort_order: Literal["ASC", "DESC"] = "ASC"
    include_peer_events: bool = False
    view: Literal["raw", "consolidated"] = "raw"
    """consolidated: durations include what was spent in breakout rooms."""


class ParticipantsData(Model):
    """The part of the list, with its place as the original shows it."""

    participants: list[ParticipantItem]
    paging: Paging


class ParticipantsAnswer(Model):
    """A part of the participants (E5)."""

    success: Literal[True] = True
    data: ParticipantsData


class PeerReport(Model):
    """What is known of a peer's call (E14, E15); what is not known has no key."""

    metadata: dict[str, Any]
    quality: dict[str, Any]


class PeerItem(Model):
    """A participant with the report of its call (E13)."""

    id: str
    """Peer id."""
    created_at: datetime
    custom_participant_id: str
    display_name: str
    duration: float
    """Minutes."""
    joined_at: datetime
    left_at: datetime | None = None
    preset_name: str | None = None
    updated_at: datetime
    user_id: str
    peer_events: list[PeerEvent] | None = None
    peer_report: PeerReport
    session_id: str


class PeerAnswer(Model):
    """One peer (E13)."""

    success: Literal[True] = True
    data: PeerItem


class PeerQuery(Model):
    """How much of a peer."""

    include_peer_events: bool = True
    filters: str | None = None
    """Parts of the report, joined by commas: device_info, ip_information, precall_network_information, events,
    quality_stats.
    """


class RemovedParticipant(Model):
    """Somebody who has left."""

    custom_participant_id: str
    preset_id: str
    created_at: datetime
    updated_at: datetime


class RemovedAnswer(Model):
    """Somebody has left."""

    success: Literal[True] = True
    data: RemovedParticipant


class SessionItem(Model):
    """A session (E3)."""

    id: str
    associated_id: str
    """The meeting's id."""
    created_at: datetime
    live_participants: int
    max_concurrent_participants: int
    meeting_display_name: str
    minutes_consumed: float
    """Sum over its participants, until now if it is live (E19)."""
    organization_id: str
    """The app's id."""
    started_at: datetime
    status: Literal["LIVE", "ENDED"]
    type: Literal["meeting", "livestream", "participant"] = "meeting"
    updated_at: datetime
    breakout_rooms: list[SessionItem] | None = None
    ended_at: datetime | None = None
    meta: Any | None = None


class SessionAnswer(Model):
    """One session (E4)."""

    success: Literal[True] = True
    data: SessionItem


class SessionQuery(Model):
    """Which sessions (E1)."""

    page_no: int = 0
    """From 1; 0 is the first page too."""
    per_page: int = 20
    """At most 1000, more is cut down; 0 is the default."""
    sort_by: Literal["minutesConsumed", "createdAt"] = "createdAt"
    sort_order: Literal["ASC", "DESC"] = "DESC"
    start_time: datetime | None = None
    """Made at this instant or later (E20)."""
    end_time: datetime | None = None
    """Made at this instant or earlier (E20)."""
    participants: str | None = None
    """Participant ids, custom ids or user ids, joined by commas: any of them took part (E21)."""
    status: Literal["LIVE", "ENDED"] | None = None
    search: str | None = None
    """A part of the title, or the id of a meeting or session."""
    associated_id: str | None = None
    """Id of the meeting."""


class SessionsData(Model):
    """The part of the list."""

    sessions: list[SessionItem]


class SessionsAnswer(Model):
    """A part of the sessions (E2)."""

    success: Literal[True] = True
    data: SessionsData
    paging: Paging


class SpokenBy(Model):
    """Whose words they are."""

    id: str = ""
    """Peer id of a participant of the session."""


class SpokenSentence(Model):
    """A sentence, as the transcript's JSON file has it; times in ms since the session began."""

    startTime: int
    endTime: int
    """Before startTime, it counts as the same."""
    sentence: str
    peerData: SpokenBy | None = None


class Spoken(RootModel[list[SpokenSentence]]):
    """Sentences in the order they were said."""


class StoreQuery(Model):
    """How to store."""

    append: bool = False
    """true: after what is there; false: in its place."""


class StoredData(Model):
    """A transcript as it is now."""

    sessionId: str
    sentences: int


class StoredAnswer(Model):
    """A transcript was stored."""

    success: Literal[True] = True
    data: StoredData


class SummaryData(Model):
    """Where the summary is."""

    sessionId: str
    summaryDownloadUrl: str
    summaryDownloadUrlExpiry: datetime


class SummaryAnswer(Model):
    """The summary (E11)."""

    success: Literal[True] = True
    data: SummaryData


class TranscriptData(Model):
    """Where the transcript is."""

    sessionId: str
    transcript_download_url: str
    transcript_download_url_expiry: datetime


class TranscriptAnswer(Model):
    """The transcript (E10)."""

    success: Literal[True] = True
    data: TranscriptData


class TranscriptQuery(Model):
    """Which file."""

    format: Literal["CSV", "JSON", "SRT", "VTT"] = "CSV"


class RealtimeKitApi(Group):
    """Sessions of an app, who took part in them, and what was written, said and summed up."""

    async def list_sessions(self, query: SessionQuery | None = None) -> SessionsAnswer:
        """Fetch all sessions of an App. Those that the token may see: all with a role in the whole app, else those
        its user has to do with.
        """
        return await self.transport.ask(
            SessionsAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions",
            {"account_id": self.transport.account, "app_id": self.transport.app},
            query=query,
        )

    async def get_session(self, session_id: str, query: DetailsQuery | None = None) -> SessionAnswer:
        """Fetch details of a session. One session, live or ended, by any form of its id."""
        return await self.transport.ask(
            SessionAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/{session_id}",
            {"account_id": self.transport.account, "app_id": self.transport.app, "session_id": session_id},
            query=query,
        )

    async def list_participants(self, session_id: str, query: ParticipantQuery | None = None) -> ParticipantsAnswer:
        """Fetch participants list of a session. Each stay is a participant of its own: who left and came back is
        there twice.
        """
        return await self.transport.ask(
            ParticipantsAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/{session_id}/participants",
            {"account_id": self.transport.account, "app_id": self.transport.app, "session_id": session_id},
            query=query,
        )

    async def get_participant(
        self, session_id: str, participant_id: str, query: EventsQuery | None = None
    ) -> ParticipantAnswer:
        """Fetch details of a participant. One stay."""
        return await self.transport.ask(
            ParticipantAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/{session_id}/participants/{participant_id}",
            {
                "account_id": self.transport.account,
                "app_id": self.transport.app,
                "session_id": session_id,
                "participant_id": participant_id,
            },
            query=query,
        )

    async def get_chat(self, session_id: str) -> ChatAnswer:
        """Fetch all chat messages of a session. A link to a CSV file, which has but its header when nobody wrote
        anything.
        """
        return await self.transport.ask(
            ChatAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/{session_id}/chat",
            {"account_id": self.transport.account, "app_id": self.transport.app, "session_id": session_id},
        )

    async def get_transcript(self, session_id: str, query: TranscriptQuery | None = None) -> TranscriptAnswer:
        """Fetch the complete transcript for a session. A link to the transcript; 404 when there is none."""
        return await self.transport.ask(
            TranscriptAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/{session_id}/transcript",
            {"account_id": self.transport.account, "app_id": self.transport.app, "session_id": session_id},
            query=query,
        )

    async def store_transcript(self, session_id: str, body: Spoken, query: StoreQuery | None = None) -> StoredAnswer:
        """Store a transcript of a session. Ours: what speech recognition made of the session, in the form of the
        JSON file; a summary goes with it.
        """
        return await self.transport.ask(
            StoredAnswer,
            "POST",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/{session_id}/transcript",
            {"account_id": self.transport.account, "app_id": self.transport.app, "session_id": session_id},
            body=body,
            query=query,
        )

    async def get_summary(self, session_id: str) -> SummaryAnswer:
        """Fetch summary of transcripts for a session. A link to the summary, in Markdown; 404 until there is one."""
        return await self.transport.ask(
            SummaryAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/{session_id}/summary",
            {"account_id": self.transport.account, "app_id": self.transport.app, "session_id": session_id},
        )

    async def make_summary(self, session_id: str) -> JobAnswer:
        """Generate summary of Transcripts for the session. Answers at once; while the summary is made, and once it
        is, another request means the same one.
        """
        return await self.transport.ask(
            JobAnswer,
            "POST",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/{session_id}/summary",
            {"account_id": self.transport.account, "app_id": self.transport.app, "session_id": session_id},
        )

    async def get_peer(self, peer_id: str, query: PeerQuery | None = None) -> PeerAnswer:
        """Fetch details of peer. A participant with how its call was; addresses are told to hosts alone."""
        return await self.transport.ask(
            PeerAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/sessions/peer-report/{peer_id}",
            {"account_id": self.transport.account, "app_id": self.transport.app, "peer_id": peer_id},
            query=query,
        )

    async def create_meeting(self, body: CreateMeeting) -> MeetingAnswer:
        """Create a meeting. The token's user owns it, and is always a host of it."""
        return await self.transport.ask(
            MeetingAnswer,
            "POST",
            "/accounts/{account_id}/realtime/kit/{app_id}/meetings",
            {"account_id": self.transport.account, "app_id": self.transport.app},
            body=body,
        )

    async def list_meetings(self, query: MeetingQuery | None = None) -> MeetingsAnswer:
        """Fetch all meetings for an App. Those that the token has a role in, newest first."""
        return await self.transport.ask(
            MeetingsAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/meetings",
            {"account_id": self.transport.account, "app_id": self.transport.app},
            query=query,
        )

    async def get_meeting(self, meeting_id: str) -> MeetingAnswer:
        """Fetch a meeting for an App. One meeting, also that of a session of another dialect that has no room of its
        own.
        """
        return await self.transport.ask(
            MeetingAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/meetings/{meeting_id}",
            {"account_id": self.transport.account, "app_id": self.transport.app, "meeting_id": meeting_id},
        )

    async def add_participant(self, meeting_id: str, body: AddParticipant) -> AddedAnswer:
        """Add a participant. The user of `custom_participant_id` takes part from now on; only an admin's token adds
        anybody but its own. An admin is also given a token that acts for this user in this meeting, for a day or until
        the user leaves.
        """
        return await self.transport.ask(
            AddedAnswer,
            "POST",
            "/accounts/{account_id}/realtime/kit/{app_id}/meetings/{meeting_id}/participants",
            {"account_id": self.transport.account, "app_id": self.transport.app, "meeting_id": meeting_id},
            body=body,
        )

    async def remove_participant(self, meeting_id: str, participant_id: str) -> RemovedAnswer:
        """Delete a participant. Ends the stay, and the legs of that user alone. A host removes anybody, anybody else
        only itself.
        """
        return await self.transport.ask(
            RemovedAnswer,
            "DELETE",
            "/accounts/{account_id}/realtime/kit/{app_id}/meetings/{meeting_id}/participants/{participant_id}",
            {
                "account_id": self.transport.account,
                "app_id": self.transport.app,
                "meeting_id": meeting_id,
                "participant_id": participant_id,
            },
        )

    async def get_active_session(self, meeting_id: str) -> SessionAnswer:
        """Fetch details of the active session of a meeting. The present sitting; 404 while there is none."""
        return await self.transport.ask(
            SessionAnswer,
            "GET",
            "/accounts/{account_id}/realtime/kit/{app_id}/meetings/{meeting_id}/active-session",
            {"account_id": self.transport.account, "app_id": self.transport.app, "meeting_id": meeting_id},
        )

    async def kick(self, meeting_id: str, body: Kick) -> KickedAnswer:
        """Kick participants from an active session. Ends the stays of those named; 404 when none of them takes part."""
        return await self.transport.ask(
            KickedAnswer,
            "POST",
            "/accounts/{account_id}/realtime/kit/{app_id}/meetings/{meeting_id}/active-session/kick",
            {"account_id": self.transport.account, "app_id": self.transport.app, "meeting_id": meeting_id},
            body=body,
        )

    async def kick_all(self, meeting_id: str) -> KickedAllAnswer:
        """Kick all participants. Ends the session and hangs up every leg of it."""
        return await self.transport.ask(
            KickedAllAnswer,
            "POST",
            "/accounts/{account_id}/realtime/kit/{app_id}/meetings/{meeting_id}/active-session/kick-all",
            {"account_id": self.transport.account, "app_id": self.transport.app, "meeting_id": meeting_id},
        )

    async def download(self, session_id: str, file: str, query: LinkQuery | None = None) -> bytes:
        """Download a file of a session. A link from one of the operations above: it needs no token, and is 410 once
        it has expired.
        """
        return (
            await self.transport.send(
                "GET", "/downloads/sessions/{session_id}/{file}", {"session_id": session_id, "file": file}, query=query
            )
        )[1]
