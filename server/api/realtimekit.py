"""The RealtimeKit dialect: sessions of an app and what they leave behind (conformance E1-E26).

Path and token both say which account and app are meant; where they differ there is nothing (404, E16).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from signalling import Registry, peer_of, session_id_of, uuid_of_peer, uuid_of_session

from ..artefacts import Artefacts
from ..errors import ApiError, bad_request
from ..store.database import Database
from ..store.history import History
from ..store.queries.artefacts import StoredEvent, StoredSentence, events_of
from ..store.queries.reading import reading
from ..store.queries.realtimekit import (
    Page,
    SessionFilter,
    Viewer,
    breakout_sessions,
    find_sessions,
    stays_in_breakouts,
)
from ..store.records import ParticipantRecord, SessionRecord
from ..store.writer import Writer
from .downloads import Downloads
from .gate import SESSIONS, TAG, Gate
from .links import Link
from .openapi import Call, operation
from .peer_report import minutes, peer_events, report, stay_ms
from .realtimekit_models import (
    MAX_NAMED,
    ChatAnswer,
    ChatData,
    DetailsQuery,
    EventsQuery,
    JobAnswer,
    JobData,
    Paging,
    ParticipantAnswer,
    ParticipantData,
    ParticipantItem,
    ParticipantQuery,
    ParticipantsAnswer,
    ParticipantsData,
    PeerAnswer,
    PeerItem,
    PeerQuery,
    SessionAnswer,
    SessionItem,
    SessionQuery,
    SessionsAnswer,
    SessionsData,
    SortOrder,
    Spoken,
    StoredAnswer,
    StoredData,
    StoreQuery,
    SummaryAnswer,
    SummaryData,
    TranscriptAnswer,
    TranscriptData,
    TranscriptQuery,
)
from .session_files import iso

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)
MAX_ID = 64  # characters; longer than any form of an id
UUID_LENGTH, UUID_DASHES = 36, 4


class RealtimeKitApi:
    """Translates questions about sessions; those that change something are in `.meetings`."""

    def __init__(
        self,
        registry: Registry,
        history: History,
        database: Database,
        writer: Writer,
        artefacts: Artefacts,
        downloads: Downloads,
        gate: Gate,
        *,
        clock: Callable[[], float],
        public_url: str | None = None,
    ) -> None:
        """`clock`: seconds since the epoch. `public_url`: how clients reach us, when not as they say themselves."""
        self._registry = registry
        self._history = history
        self._database = database
        self._writer = writer
        self._artefacts = artefacts
        self._downloads = downloads
        self._gate = gate
        self._clock = clock
        self._public_url = None if public_url is None else public_url.rstrip("/")

    @operation(
        "GET",
        SESSIONS,
        summary="Fetch all sessions of an App",
        tag=TAG,
        permission="realtimekit.session.list",
        errors=(400, 404, 429, 503),
    )
    async def list_sessions(self, call: Call, query: SessionQuery) -> SessionsAnswer:
        """Those that the token may see: all with a role in the whole app, else those its user has to do with."""
        app = self._gate.enter(call)
        now = self._now()
        wanted = _filter(call, query)
        page = Page(
            query.offset,
            query.limit,
            by_minutes=query.sort_by == "minutesConsumed",
            descending=query.sort_order is SortOrder.DESC,
        )
        await self._writer.settled()
        async with reading(self._database) as connection:
            records, total = await find_sessions(connection, wanted, page, now=now)
        items = [session_item(record, app, now) for record in records]
        return SessionsAnswer(data=SessionsData(sessions=items), paging=paging(query.offset, len(items), total))

    @operation(
        "GET",
        SESSIONS + "/{session_id}",
        summary="Fetch details of a session",
        tag=TAG,
        permission="realtimekit.session.get",
        errors=(400, 404, 429, 503),
    )
    async def get_session(self, call: Call, query: DetailsQuery) -> SessionAnswer:
        """One session, live or ended, by any form of its id."""
        app, record = await self._session(call)
        now = self._now()
        item = session_item(record, app, now)
        if query.include_breakout_rooms:
            await self._writer.settled()
            async with reading(self._database) as connection:
                rooms = await breakout_sessions(connection, record.tenant, record.id)
            item.breakout_rooms = [session_item(room, app, now) for room in rooms]
        return SessionAnswer(data=item)

    @operation(
        "GET",
        SESSIONS + "/{session_id}/participants",
        summary="Fetch participants list of a session",
        tag=TAG,
        permission="realtimekit.session.participants",
        errors=(400, 404, 429, 503),
    )
    async def list_participants(self, call: Call, query: ParticipantQuery) -> ParticipantsAnswer:
        """Each stay is a participant of its own: who left and came back is there twice."""
        _, record = await self._session(call)
        now = self._now()
        records = await self._history.participants(record.id)
        if query.search:
            records = [stay for stay in records if _found(stay, query.search.casefold())]
        spent = {stay.idx: stay_ms(stay, now) for stay in records}
        if query.view == "consolidated":
            await self._add_breakouts(record, records, spent, now)
        descending = query.sort_order is SortOrder.DESC

        def place(stay: ParticipantRecord) -> tuple[int, int]:
            return (spent[stay.idx] if query.sort_by == "duration" else stay.joined_at, stay.idx)

        records.sort(key=place, reverse=descending)
        part = records[query.offset : query.offset + query.limit]
        items = [self._item(stay, spent[stay.idx], now, events=query.include_peer_events) for stay in part]
        place_of_part = paging(query.offset, len(items), len(records))
        return ParticipantsAnswer(data=ParticipantsData(participants=items, paging=place_of_part))

    async def _add_breakouts(
        self, record: SessionRecord, stays: Sequence[ParticipantRecord], spent: dict[int, int], now: int
    ) -> None:
        """Count what users spent in breakout rooms with their last stay here."""
        await self._writer.settled()
        async with reading(self._database) as connection:
            elsewhere = await stays_in_breakouts(connection, record.tenant, record.id)
        last = {stay.user_id: stay.idx for stay in stays}
        for user, joined_at, left_at in elsewhere:
            if user in last:
                spent[last[user]] += max(0, (now if left_at is None else left_at) - joined_at)

    @operation(
        "GET",
        SESSIONS + "/{session_id}/participants/{participant_id}",
        summary="Fetch details of a participant",
        tag=TAG,
        permission="realtimekit.session.participant",
        errors=(400, 404, 429, 503),
    )
    async def get_participant(self, call: Call, query: EventsQuery) -> ParticipantAnswer:
        """One stay."""
        _, record = await self._session(call)
        peer = peer_of(call.path["participant_id"])
        if peer is None or peer[0] != record.id:
            raise _no_participant()
        stay = await self._stay(record.id, peer[1])
        now = self._now()
        item = self._item(stay, stay_ms(stay, now), now, events=query.include_peer_events)
        return ParticipantAnswer(data=ParticipantData(participant=item))

    @operation(
        "GET",
        SESSIONS + "/{session_id}/chat",
        summary="Fetch all chat messages of a session",
        tag=TAG,
        permission="realtimekit.session.chat",
        errors=(400, 404, 429, 503),
    )
    async def get_chat(self, call: Call) -> ChatAnswer:
        """A link to a CSV file, which has but its header when nobody wrote anything."""
        _, record = await self._session(call)
        url, expiry = self._url(call, await self._downloads.chat(record.id))
        return ChatAnswer(data=ChatData(chat_download_url=url, chat_download_url_expiry=expiry))

    @operation(
        "GET",
        SESSIONS + "/{session_id}/transcript",
        summary="Fetch the complete transcript for a session",
        tag=TAG,
        permission="realtimekit.session.transcript",
        errors=(400, 404, 429, 503),
    )
    async def get_transcript(self, call: Call, query: TranscriptQuery) -> TranscriptAnswer:
        """A link to the transcript; 404 when there is none."""
        _, record = await self._session(call)
        if not await self._artefacts.has_transcript(record.id):
            raise ApiError(404, "NO_TRANSCRIPT", "the session has no transcript")
        url, expiry = self._url(call, await self._downloads.transcript(record.id, query.format))
        return TranscriptAnswer(
            data=TranscriptData(
                sessionId=uuid_of_session(record.id),
                transcript_download_url=url,
                transcript_download_url_expiry=expiry,
            )
        )

    @operation(
        "POST",
        SESSIONS + "/{session_id}/transcript",
        summary="Store a transcript of a session",
        tag=TAG,
        permission="realtimekit.session.transcribe",
        errors=(400, 404, 413, 429, 503),
    )
    async def store_transcript(self, call: Call, query: StoreQuery, body: Spoken) -> StoredAnswer:
        """Ours: what speech recognition made of the session, in the form of the JSON file; a summary goes with it."""
        _, record = await self._session(call)
        stays = len(await self._history.participants(record.id))
        sentences = []
        for place, spoken in enumerate(body.root):
            index = None
            if spoken.peerData.id:
                peer = peer_of(spoken.peerData.id)
                if peer is None or peer[0] != record.id or peer[1] >= stays:
                    raise ApiError(404, "UNKNOWN_PARTICIPANT", f"{place}.peerData.id: no participant of this session")
                index = peer[1]
            end = max(spoken.startTime, spoken.endTime)
            sentences.append(StoredSentence(place, spoken.startTime, end, index, spoken.sentence))
        total = await self._artefacts.store_transcript(record.id, sentences, append=query.append)
        return StoredAnswer(data=StoredData(sessionId=uuid_of_session(record.id), sentences=total))

    @operation(
        "GET",
        SESSIONS + "/{session_id}/summary",
        summary="Fetch summary of transcripts for a session",
        tag=TAG,
        permission="realtimekit.session.summary",
        errors=(400, 404, 429, 503),
    )
    async def get_summary(self, call: Call) -> SummaryAnswer:
        """A link to the summary, in Markdown; 404 until there is one."""
        _, record = await self._session(call)
        stored = await self._artefacts.summary(record.id)
        if stored is None or stored.text is None:
            status = "was never made" if stored is None else f"is {stored.status.lower().replace('_', ' ')}"
            raise ApiError(404, "NO_SUMMARY", f"the summary {status}")
        url, expiry = self._url(call, await self._downloads.summary(record.id))
        return SummaryAnswer(
            data=SummaryData(
                sessionId=uuid_of_session(record.id), summaryDownloadUrl=url, summaryDownloadUrlExpiry=expiry
            )
        )

    @operation(
        "POST",
        SESSIONS + "/{session_id}/summary",
        summary="Generate summary of Transcripts for the session",
        tag=TAG,
        permission="realtimekit.session.summarise",
        errors=(400, 404, 409, 429, 503),
    )
    async def make_summary(self, call: Call) -> JobAnswer:
        """Answers at once; while the summary is made, and once it is, another request means the same one."""
        _, record = await self._session(call)
        status = await self._artefacts.summarise(record)
        return JobAnswer(data=JobData(session_id=uuid_of_session(record.id), status=status))

    @operation(
        "GET",
        SESSIONS + "/peer-report/{peer_id}",
        summary="Fetch details of peer",
        tag=TAG,
        permission="realtimekit.peer-report",
        errors=(400, 404, 429, 503),
    )
    async def get_peer(self, call: Call, query: PeerQuery) -> PeerAnswer:
        """A participant with how its call was; addresses are told to hosts alone."""
        self._gate.enter(call)
        peer = peer_of(call.path["peer_id"])
        record = None if peer is None else await self._history.session(peer[0])
        if peer is None or record is None or record.tenant != call.tenant:
            raise _no_participant()
        role = call.require(record)
        stay = await self._stay(record.id, peer[1])
        await self._writer.settled()
        async with reading(self._database) as connection:
            events = await events_of(connection, record.id)
        now = self._now()
        item = self._item(stay, stay_ms(stay, now), now, events=query.include_peer_events)
        filters = None if query.filters is None else frozenset(query.filters.split(","))
        told = self._report(stay, events, filters, addresses=role == "host")
        return PeerAnswer(data=PeerItem(**dict(item), peer_report=told, session_id=uuid_of_session(record.id)))

    def _report(
        self, stay: ParticipantRecord, events: Sequence[StoredEvent], filters: frozenset[str] | None, *, addresses: bool
    ) -> Any:
        quality = stay.quality
        session = self._registry.get(stay.session_id)
        if quality is None and session is not None:
            for leg in session.legs:
                if leg.participant is not None and leg.participant.index == stay.idx and leg.established is not None:
                    quality = asdict(leg.media.stats)
        return report(stay, events, quality, filters, addresses=addresses)

    # From a request to what it is about.

    def _now(self) -> int:
        return int(self._clock() * 1000)

    async def _session(self, call: Call) -> tuple[str, SessionRecord]:
        """The app, and the session of the path."""
        app = self._gate.enter(call)
        text = call.path["session_id"]
        session_id = session_id_of(text) if len(text) <= MAX_ID else None
        record = None if session_id is None else await self._history.session(session_id)
        return app, call.found(record, "UNKNOWN_SESSION", "there is no session of that id")

    async def _stay(self, session_id: str, index: int) -> ParticipantRecord:
        for stay in await self._history.participants(session_id):
            if stay.idx == index:
                return stay
        raise _no_participant()

    def _item(self, stay: ParticipantRecord, spent: int, now: int, *, events: bool) -> ParticipantItem:
        return ParticipantItem(
            id=uuid_of_peer(stay.session_id, stay.idx),
            created_at=iso(stay.joined_at),
            custom_participant_id=stay.custom_id or stay.user_id,
            display_name=stay.display_name or stay.handle,
            duration=minutes(spent),
            joined_at=iso(stay.joined_at),
            left_at=None if stay.left_at is None else iso(stay.left_at),
            preset_name=stay.preset or stay.role,
            updated_at=iso(stay.updated_at),
            user_id=stay.user_id,
            peer_events=peer_events(stay, now) if events else None,
        )

    def _url(self, call: Call, link: Link) -> tuple[str, str]:
        """Address and expiry of a link, from wherever the client reaches us."""
        base = self._public_url
        if base is None:
            try:
                base = str(call.request.url.origin())
            except ValueError as error:
                raise bad_request("Host: no name that a link could lead to") from error
        return base + link.target, iso(link.expires_at)


def session_item(record: SessionRecord, app: str, now: int) -> SessionItem:
    """A session as this dialect shows it; `now` in ms since the epoch."""
    spent = record.participant_ms
    if record.ended_at is None:
        spent += record.live_participants * max(0, now - record.updated_at)
    return SessionItem(
        id=uuid_of_session(record.id),
        associated_id=record.channel_id,
        created_at=iso(record.created_at),
        live_participants=record.live_participants if record.ended_at is None else 0,
        max_concurrent_participants=record.max_participants,
        meeting_display_name=record.channel_name,
        minutes_consumed=minutes(spent),
        organization_id=app,
        started_at=iso(record.created_at if record.started_at is None else record.started_at),
        status="LIVE" if record.ended_at is None else "ENDED",
        updated_at=iso(record.updated_at),
        ended_at=None if record.ended_at is None else iso(record.ended_at),
        meta=record.meta,
    )


def paging(offset: int, shown: int, total: int) -> Paging:
    """Offsets from 1, inclusive (E18)."""
    if not shown:
        return Paging(start_offset=0, end_offset=0, total_count=total)
    return Paging(start_offset=offset + 1, end_offset=offset + shown, total_count=total)


def milliseconds(at: datetime | None, *, up: bool = False) -> int | None:
    """Since the epoch, rounded down, or `up`; an instant without a zone is in UTC."""
    if at is None:
        return None
    since = (at.replace(tzinfo=UTC) if at.tzinfo is None else at) - EPOCH
    return -(-since // MS) if up else since // MS


def _filter(call: Call, query: SessionQuery) -> SessionFilter:
    names = [name.strip() for name in (query.participants or "").split(",")]
    names = [name for name in names if name]
    if len(names) > MAX_NAMED:
        raise bad_request(f"participants: at most {MAX_NAMED}")
    peers = [peer_of(name) for name in names]
    searched = None if query.search is None else session_id_of(query.search.strip())
    principal = call.principal
    viewer = None
    if not call.sees_all:
        viewer = Viewer(principal.owner, principal.user, tuple(principal.roles))
    return SessionFilter(
        tenant=call.tenant,
        live=None if query.status is None else query.status == "LIVE",
        created_from=milliseconds(query.start_time, up=True),
        created_to=milliseconds(query.end_time),
        channel_id=None if query.associated_id is None else query.associated_id.lower(),
        peers=tuple((int(peer[0]), peer[1]) for peer in peers if peer is not None) if names else None,
        people=tuple(name for name, peer in zip(names, peers, strict=True) if peer is None) if names else None,
        search=query.search or None,
        search_session=None if searched is None else int(searched),
        search_channel=None if query.search is None else _uuid(query.search.strip()),
        viewer=viewer,
    )


def _uuid(text: str) -> str | None:
    """`text` as channels are called, if it may be the id of one."""
    return text.lower() if len(text) == UUID_LENGTH and text.count("-") == UUID_DASHES else None


def _found(stay: ParticipantRecord, text: str) -> bool:
    """Whether a search finds a participant (E5)."""
    names = (
        uuid_of_peer(stay.session_id, stay.idx),
        stay.custom_id or stay.user_id,
        stay.display_name or stay.handle,
    )
    return any(text in name.casefold() for name in names)


def _no_participant() -> ApiError:
    return ApiError(404, "UNKNOWN_PARTICIPANT", "there is no participant of that id")
