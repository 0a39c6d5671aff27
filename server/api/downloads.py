"""[io] The files of a session behind signed links: chat, transcript and summary (E9-E11, E22-E24).

A file is sent in pieces and no connection to the database is held in between, so that a client that reads slowly
costs one piece of memory.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Annotated, get_args

from aiohttp import web
from pydantic import Field

from signalling import SignallingError, session_id_of, uuid_of_peer, uuid_of_session

from ..artefacts import Artefacts
from ..errors import ApiError
from .gate import TAG
from .links import KEY_BYTES, LIFETIME_S, Link, Links
from .model import Model
from .openapi import Bound, Call, operation, operations_of
from .session_files import CHAT_HEADER, NOBODY, Format, Message, Sentence, Speaker, chat_csv, transcript

PATH = "/downloads/sessions"
KEY_NAME = "download_key"
"Of the setting that holds the key, so that links outlive the process."
SEND_S = 60.0  # for one piece; a client that takes longer has gone away
PIECE = 64 * 1024  # bytes

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
}
TRANSCRIPTS: dict[str, Format] = {f"transcript.{form.lower()}": form for form in get_args(Format)}
CHAT, SUMMARY = "chat.csv", "summary.md"


class LinkQuery(Model):
    """What makes a link good."""

    expires: Annotated[str, Field(max_length=20, description="Seconds since the epoch.")] = ""
    signature: Annotated[str, Field(max_length=64)] = ""


class Downloads:
    """Makes links to the files of sessions, and serves them."""

    def __init__(
        self,
        artefacts: Artefacts,
        *,
        clock: Callable[[], float],
        lifetime_s: float = LIFETIME_S,
        key: bytes | None = None,
    ) -> None:
        """`clock`: seconds since the epoch. `key`: what links are signed with; None: one that the database keeps."""
        self._artefacts = artefacts
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._links = None if key is None else Links(key, clock=clock, lifetime_s=lifetime_s)

    def operations(self) -> tuple[Bound, ...]:
        """The routes."""
        return operations_of(self)

    async def chat(self, session_id: str) -> Link:
        """To the chat as it is when it is fetched."""
        return await self._link(session_id, CHAT)

    async def transcript(self, session_id: str, form: Format) -> Link:
        """To the transcript."""
        return await self._link(session_id, f"transcript.{form.lower()}")

    async def summary(self, session_id: str) -> Link:
        """To the summary."""
        return await self._link(session_id, SUMMARY)

    async def _link(self, session_id: str, file: str) -> Link:
        return (await self._signer()).make(f"{PATH}/{uuid_of_session(session_id)}/{file}")

    async def _signer(self) -> Links:
        if self._links is None:
            key = bytes.fromhex(await self._artefacts.secret(KEY_NAME, secrets.token_hex(KEY_BYTES)))
            self._links = Links(key, clock=self._clock, lifetime_s=self._lifetime_s)
        return self._links

    @operation(
        "GET",
        PATH + "/{session_id}/{file}",
        summary="Download a file of a session",
        tag=TAG,
        permission="realtimekit.download",
        errors=(403, 404, 410, 503),
        media_type="text/plain",
    )
    async def download(self, call: Call, query: LinkQuery) -> web.StreamResponse:
        """A link from one of the operations above: it needs no token, and is 410 once it has expired."""
        (await self._signer()).check(call.request.rel_url.raw_path, query.expires, query.signature)
        session_id, file = _decoded(call.path["session_id"]), call.path["file"]
        pieces = self._pieces(session_id, file)
        first = await anext(pieces)  # before the head is sent, since there may be no such file
        name, _, kind = file.partition(".")
        response = web.StreamResponse(
            headers={
                "Content-Type": TYPES[kind],
                "Content-Disposition": f'attachment; filename="{name}-{uuid_of_session(session_id)}.{kind}"',
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "private, no-store",
            }
        )
        await response.prepare(call.request)
        try:
            await _send(response, first)
            async for piece in pieces:
                await _send(response, piece)
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            pass  # the client went away: nobody is left to tell
        except SignallingError:
            # The head has gone out; only a broken connection says that the file is not whole.
            if call.request.transport is not None:
                call.request.transport.abort()
        return response

    async def _pieces(self, session_id: str, file: str) -> AsyncIterator[bytes]:
        if file == CHAT:
            async for text in self._chat(session_id):
                yield text.encode("utf-8", "replace")
            return
        text = await self._summary(session_id) if file == SUMMARY else await self._transcript(session_id, file)
        data = text.encode("utf-8", "replace")
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]

    async def _chat(self, session_id: str) -> AsyncIterator[str]:
        record = await self._artefacts.history.session(session_id)
        if record is None:
            raise _gone()
        yield CHAT_HEADER
        uuid = uuid_of_session(session_id)
        async for page in self._artefacts.chat(session_id):
            messages = [
                Message(
                    id=stored.id,
                    participant_id=_peer(session_id, stored.participant_idx),
                    display_name=stored.display_name or stored.user_id,
                    pinned=stored.pinned,
                    edited=stored.edited,
                    payload_type=stored.payload_type,
                    payload=stored.payload,
                    created_at=stored.created_at,
                )
                for stored in page
            ]
            yield chat_csv(messages, session_id=uuid, meeting_id=record.channel_id)

    async def _transcript(self, session_id: str, file: str) -> str:
        stored = await self._artefacts.transcript(session_id) if file in TRANSCRIPTS else []
        if not stored:
            raise _gone()
        records = await self._artefacts.history.participants(session_id)
        speakers = {
            record.idx: Speaker(
                uuid_of_peer(session_id, record.idx),
                record.user_id,
                record.custom_id or record.user_id,
                record.display_name or record.handle,
                record.joined_at,
                record.left_at,
            )
            for record in records
        }
        sentences = [
            Sentence(
                sentence.start_ms,
                sentence.end_ms,
                sentence.text,
                NOBODY if sentence.participant_idx is None else speakers.get(sentence.participant_idx, NOBODY),
            )
            for sentence in stored
        ]
        return transcript(sentences, TRANSCRIPTS[file])

    async def _summary(self, session_id: str) -> str:
        stored = await self._artefacts.summary(session_id)
        if stored is None or stored.text is None:
            raise _gone()
        return stored.text


async def _send(response: web.StreamResponse, piece: bytes) -> None:
    async with asyncio.timeout(SEND_S):
        await response.write(piece)


def _peer(session_id: str, index: int | None) -> str:
    return "" if index is None else uuid_of_peer(session_id, index)


def _gone() -> ApiError:
    return ApiError(404, "NOT_FOUND", "the session has no such file, or no longer")


def _decoded(text: str) -> str:
    session_id = session_id_of(text)
    assert session_id is not None, "we signed it"
    return session_id
