"""[io] What a session leaves behind in words: its chat, its transcript, and the summary of that.

Speech recognition hands a transcript in with `store_transcript`; a summary is made by a job in the background, one
at a time. Events tell when the chat of an ended session is complete, and when a transcript or summary can be fetched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Literal
from uuid import uuid4

import structlog

from signalling import (
    Channel,
    ChatSynced,
    Happening,
    LimitReached,
    Participant,
    Registry,
    Session,
    SessionEnded,
    SessionEvent,
    SignallingError,
    SummaryReady,
    TranscriptReady,
    WrongState,
    cut_off_session,
    recall,
    uuid_of_channel,
)

from .store.database import Database
from .store.history import History
from .store.queries.artefacts import (
    CHAT_PAGE,
    StoredMessage,
    StoredSentence,
    StoredSummary,
    chat_page,
    last_seq,
    sentence_count,
    sentences_of,
    setting,
    summary_of,
)
from .store.queries.reading import reading
from .store.records import ParticipantRecord, SessionRecord
from .store.writer import Writer
from .summary import Utterance, summarise

log = structlog.get_logger("server.artefacts")

MAX_SENTENCES = 50_000  # of one transcript: some forty hours of talk
MAX_JOBS = 64  # summaries waiting or in the making; each holds a transcript once it is its turn
RETRY_AFTER_S = 5
SYNC_AGAIN_S = 5.0  # when the database was down as a session ended

JobStatus = Literal["IN_PROGRESS", "COMPLETED", "FAILED"]


class Artefacts:
    """Keeps transcripts and summaries, and reads them and the chat."""

    def __init__(
        self,
        registry: Registry,
        history: History,
        database: Database,
        writer: Writer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.history = history
        self._registry = registry
        self._database = database
        self._writer = writer
        self._clock = clock
        self._storing = asyncio.Lock()
        self._turn = asyncio.Semaphore(1)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._syncing: set[asyncio.Task[None]] = set()
        registry.bus.follow(self._on_end, SessionEnded)

    async def close(self) -> None:
        """Stop what is under way; an unfinished summary can be asked for again."""
        tasks = [*self._jobs.values(), *self._syncing]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # Reading. StoreUnavailable (503) when the database is down.

    async def chat(self, session_id: str) -> AsyncIterator[list[StoredMessage]]:
        """The chat of a session, page by page."""
        await self._writer.settled()
        after = -1
        while True:
            async with reading(self._database) as connection:
                page = await chat_page(connection, session_id, after)
            if page:
                yield page
                after = page[-1].idx
            if len(page) < CHAT_PAGE:
                return

    async def transcript(self, session_id: str) -> list[StoredSentence]:
        """The transcript in the order of time; empty when there is none."""
        await self._writer.settled()
        async with reading(self._database) as connection:
            return await sentences_of(connection, session_id)

    async def has_transcript(self, session_id: str) -> bool:
        """Whether there is one."""
        return await self._sentences(session_id) > 0

    async def summary(self, session_id: str) -> StoredSummary | None:
        """The summary, also one that is not finished; None when nobody asked for one."""
        await self._writer.settled()
        async with reading(self._database) as connection:
            return await summary_of(connection, session_id)

    async def secret(self, name: str, fresh: str) -> str:
        """The setting of that name, which is `fresh` from now on if there is none."""
        self._writer.write("settings", {"name": name, "value": fresh}, "insert")
        await self._writer.settled()
        async with reading(self._database) as connection:
            kept = await setting(connection, name)
        return fresh if kept is None else kept

    async def _sentences(self, session_id: str) -> int:
        await self._writer.settled()
        async with reading(self._database) as connection:
            return await sentence_count(connection, session_id)

    # Writing.

    async def store_transcript(
        self, session_id: str, sentences: Sequence[StoredSentence], *, append: bool = False
    ) -> int:
        """Keep what was said, in place of what is there or after it; the indexes of `sentences` are not looked at.

        Returns how many there are then. A summary of what was there before is dropped. LimitReached.
        """
        async with self._storing:
            there = await self._sentences(session_id) if append else 0
            total = there + len(sentences)
            if total > MAX_SENTENCES:
                raise LimitReached(f"a transcript has at most {MAX_SENTENCES} sentences")
            job = self._jobs.pop(session_id, None)
            if job is not None:
                job.cancel()
            key = int(session_id)
            if not append:
                self._writer.write("transcripts", {"session_id": key}, "delete")
            self._writer.write("summaries", {"session_id": key}, "delete")
            for idx, sentence in enumerate(sentences, there):
                row = {
                    "session_id": key,
                    "idx": idx,
                    "start_ms": sentence.start_ms,
                    "end_ms": sentence.end_ms,
                    "participant_idx": sentence.participant_idx,
                    "text": sentence.text,
                }
                self._writer.write("transcripts", row)
            await self._writer.settled()
        await self._tell(session_id, TranscriptReady, sentences=total)
        return total

    async def summarise(self, record: SessionRecord) -> JobStatus:
        """Begin to make the summary of a session; while one is made, and once it is, that is the one.

        WrongState (409) without a transcript; LimitReached (503) when too many wait.
        """
        if record.id in self._jobs:
            return "IN_PROGRESS"
        stored = await self.summary(record.id)
        if stored is not None and stored.status == "COMPLETED":
            return "COMPLETED"
        if not await self.has_transcript(record.id):
            raise WrongState("the session has no transcript to make a summary of")
        if record.id not in self._jobs:
            if len(self._jobs) >= MAX_JOBS:
                raise LimitReached(f"{MAX_JOBS} summaries are in the making", retry_after_s=RETRY_AFTER_S)
            job_id = str(uuid4())
            self._write_summary(record.id, job_id, "IN_PROGRESS", None)
            task = asyncio.get_running_loop().create_task(self._job(record, job_id))
            self._jobs[record.id] = task
            task.add_done_callback(lambda done: self._forget(record.id, done))
        return "IN_PROGRESS"

    async def _job(self, record: SessionRecord, job_id: str) -> None:
        try:
            async with self._turn:
                text = await self._made(record)
            self._write_summary(record.id, job_id, "COMPLETED", text)
            await self._writer.settled()
        except SignallingError as error:
            log.warning("summary_failed", session=record.id, reason=error.message)
            self._write_summary(record.id, job_id, "FAILED", None)
        else:
            await self._tell(record.id, SummaryReady)

    async def _made(self, record: SessionRecord) -> str:
        sentences = await self.transcript(record.id)
        stays = {stay.idx: stay for stay in await self.history.participants(record.id)}

        def name(index: int | None) -> str:
            stay = None if index is None else stays.get(index)
            return "" if stay is None else stay.display_name or stay.handle

        said = [Utterance(name(sentence.participant_idx), sentence.text) for sentence in sentences]
        return await asyncio.to_thread(summarise, said, title=record.channel_name)

    def _forget(self, session_id: str, task: asyncio.Task[None]) -> None:
        if self._jobs.get(session_id) is task:
            del self._jobs[session_id]
        if not task.cancelled() and task.exception() is not None:
            log.error("summary_failed", session=session_id, exc_info=task.exception())

    def _write_summary(self, session_id: str, job_id: str, status: JobStatus, text: str | None) -> None:
        now = int(self._clock() * 1000)
        row = {"session_id": int(session_id), "job_id": job_id, "status": status, "text": text}
        self._writer.write("summaries", {**row, "created_at": now, "updated_at": now})

    # Events.

    async def _tell(self, session_id: str, kind: type[SessionEvent], **fields: Any) -> None:
        """Tell the followers of a session, also of one that ended long ago."""
        session = self._registry.get(session_id) or await self._recalled(session_id)
        if session is not None:
            session.emit(kind, **fields)

    async def _recalled(self, session_id: str) -> Session | None:
        """An ended session as the database has it, for an event that comes late; it is listed nowhere."""
        record = await self.history.session(session_id)
        if record is None or record.ended_at is None:
            return None
        stays = await self.history.participants(session_id)
        async with reading(self._database) as connection:
            seq = await last_seq(connection, session_id)
        session = cut_off_session(
            self._registry,
            session_id,
            tenant=record.tenant,
            made_by=record.made_by,
            owner=record.owner,
            host=record.host,
            name=record.name,
            channel=_channel(record),
        )
        session.kind = "call" if record.kind == "call" else "room"
        session.client_id, session.group_id, session.parent_id = record.client_id, record.group_id, record.parent_id
        session.meta = None if record.meta is None else dict(record.meta)
        session.max_present = record.max_participants
        session.user_data, session.invitation_id = record.user_data, record.invitation_id
        session.paused_at = None if record.paused_at is None else record.paused_at / 1000
        session.paused_by = record.paused_by
        session.outcome = "ABANDONED" if record.status == "ABANDONED" else "RESOLVED"
        session.ended, session.ended_at, session.end_cause = True, record.ended_at / 1000, record.end_cause
        participants = [_participant(stay) for stay in stays]
        recall(session, seq=seq, updated_at=record.updated_at / 1000, participants=participants, calls=())
        return session

    def _on_end(self, happening: Happening) -> None:
        if happening.session.chat_count:
            task = asyncio.get_running_loop().create_task(self._sync(happening.session))
            self._syncing.add(task)
            task.add_done_callback(self._syncing.discard)

    async def _sync(self, session: Session) -> None:
        """Once the chat of an ended session is in the database, say so."""
        while True:
            with suppress(SignallingError):
                await self._writer.settled()
                break
            await asyncio.sleep(SYNC_AGAIN_S)
        session.emit(ChatSynced, messages=session.chat_count)


def _channel(record: SessionRecord) -> Channel | None:
    """The room that a past session was a sitting of, as it was then; None when it had its own."""
    if record.channel_id == uuid_of_channel(record.id):
        return None
    return Channel(
        record.channel_id,
        record.tenant,
        record.channel_name,
        client_id=record.client_id,
        image_url=record.image_url,
        roles=dict(record.roles),
    )


def _participant(stay: ParticipantRecord) -> Participant:
    return Participant(
        stay.idx,
        stay.user_id,
        stay.joined_at / 1000,
        display_name=stay.display_name,
        custom_id=stay.custom_id,
        preset=stay.preset,
        role=stay.role,
        left_at=None if stay.left_at is None else stay.left_at / 1000,
    )
