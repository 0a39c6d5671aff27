"""The invitation dialect: `/api/v1/sessions` and `/api/v1/invitations` (document 002, conformance C1-C24).

The sessions of every dialect are here for those who take part in them; what only this dialect makes is the invitation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from signalling import (
    Invitation,
    Role,
    Session,
    SessionNotActive,
    UnknownInvitation,
    UnknownSession,
    session_id_of,
)

from ..auth import forbidden
from ..invitations import Inviting
from ..relationships import Pair, Shared, SharedSessions
from ..store.database import Database
from ..store.history import History
from ..store.queries import invitations as queries
from ..store.queries.invitations import Sitting
from ..store.queries.reading import reading
from ..store.records import SessionRecord, session_record
from ..store.writer import Writer
from .invitation_models import (
    CreatedData,
    CreateSession,
    DeclineInvitation,
    DonePlainly,
    ErrorBody,
    InvitationPreview,
    InvitationResent,
    ListData,
    ListQuery,
    MessageData,
    MessageList,
    MessageSaid,
    MessagesData,
    MessagesQuery,
    PausedData,
    PauseSession,
    Press,
    ResentData,
    ResumedData,
    Say,
    SessionAnswer,
    SessionCreated,
    SessionData,
    SessionFound,
    SessionList,
    SessionPausedAnswer,
    SessionResumedAnswer,
    SessionSummary,
    cursor_at,
    error_body,
    invalid,
    invitee_of,
    place_of,
)
from .invitation_views import Views, instant_or_none, message_of
from .openapi import ACTING_USER, Call, Dialect, operation, operations_of

TAG = "Invitation sessions"
LIVE = frozenset({"CREATED", "INVITED", "ACTIVE", "PAUSED", "WAITING"})


class InvitationsApi:
    """Translates requests of the dialect into what sessions and invitations can do; holds no call logic."""

    def __init__(
        self,
        inviting: Inviting,
        history: History,
        database: Database,
        writer: Writer,
        *,
        clock: Callable[[], float],
        default_region: str = "",
    ) -> None:
        """`clock`: seconds, monotonic."""
        self._inviting = inviting
        self._registry = inviting.registry
        self._history = history
        self._database = database
        self._writer = writer
        self._default_region = default_region
        self._views = Views(inviting)
        self._shared = SharedSessions(self._read_shared, clock)
        self._shared.follow(inviting.registry.bus)

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(
            TAG, "Sessions of two, begun by an invitation.", operations_of(self), error_body, ErrorBody, omit_none=False
        )

    # Sessions.

    @operation(
        "POST",
        "/api/v1/sessions",
        summary="Create a session and invite a partner",
        tag=TAG,
        permission="invitations.session.create",
        status=201,
        errors=(404, 409, 413, 429, 503),
        headers=(ACTING_USER,),
        examples={
            "body": {
                "inviteEmail": "partner@example.com",
                "inviteName": "Alex",
                "context": "Discussion about household responsibilities",
            }
        },
    )
    async def create_session(self, call: Call, body: CreateSession) -> SessionCreated:
        """The answer does not wait for the delivery of the invitation, whose failure loses nothing (C3)."""
        invitee = invitee_of(body, self._default_region)
        user = call.user
        session, invitation = self._inviting.create(
            call.tenant, user, invitee, owner=call.principal.owner, context=body.context
        )
        return SessionCreated(
            data=CreatedData(
                session=self._views.summary(await self._sitting(session, user, invitation), user),
                invitationId=invitation.id,
                invitationUrl=self._inviting.link(invitation),
            )
        )

    @operation(
        "GET",
        "/api/v1/sessions",
        summary="List the sessions of the acting user",
        tag=TAG,
        permission="invitations.session.list",
        errors=(503,),
        headers=(ACTING_USER,),
    )
    async def list_sessions(self, call: Call, query: ListQuery) -> SessionList:
        """Those that the user takes or took part in, or was invited to by name; the newest first."""
        user = call.user
        before = place_of("s", query.cursor)
        status = None if query.status is None else query.status.value
        if status in LIVE:
            found = await self._live(call.tenant, user, status or "", before, query.limit + 1)
        else:
            await self._writer.settled()
            async with reading(self._database) as connection:
                ids = await queries.session_ids(
                    connection, call.tenant, user, limit=query.limit + 1, before=before, status=status
                )
                memory = await self._in_memory(ids, user)
                stored = await queries.sittings(connection, [key for key in ids if key not in memory], user)
            memory.update((int(sitting.session.id), sitting) for sitting in stored)
            found = [memory[key] for key in ids if key in memory]
        page, more = found[: query.limit], len(found) > query.limit
        return SessionList(
            data=ListData(
                sessions=[self._views.summary(sitting, user) for sitting in page],
                cursor=cursor_at("s", int(page[-1].session.id)) if more else None,
                hasMore=more,
            )
        )

    async def _in_memory(self, ids: Sequence[int], user: str) -> dict[int, Sitting]:
        """Those of these sessions that have not ended."""
        live = {key: session for key in ids if (session := self._registry.get(str(key))) and not session.ended}
        return {key: await self._sitting(session, user) for key, session in live.items()}

    async def _live(self, tenant: str, user: str, status: str, before: int | None, limit: int) -> list[Sitting]:
        """Sessions that have not ended are all in memory."""
        sessions = [
            session
            for session in self._inviting.sessions_of(tenant, user)
            if session.status == status and (before is None or int(session.id) < before)
        ]
        sessions.sort(key=lambda session: int(session.id), reverse=True)
        return [await self._sitting(session, user) for session in sessions[:limit]]

    @operation(
        "GET",
        "/api/v1/sessions/{id}",
        summary="Get session details",
        tag=TAG,
        permission="invitations.session.get",
        errors=(404, 503),
        headers=(ACTING_USER,),
    )
    async def get_session(self, call: Call) -> SessionFound:
        """403 for whoever has no part in it (C20)."""
        sitting, user, reader = await self._seen(call)
        pair = Pair(
            call.tenant, user, self._views.partner_id(sitting, user), self._views.relationship_id(sitting, user)
        )
        count, first = await self._shared.of(pair)
        own = int(sitting.session.id)
        first_at_ms = min(own, first or own) >> 20
        return SessionFound(
            data=self._views.detail(sitting, user, reader=reader, count=max(count, 1), first_at_ms=first_at_ms)
        )

    async def _read_shared(self, pair: Pair) -> Shared:
        await self._writer.settled()
        async with reading(self._database) as connection:
            return await queries.shared_sessions(connection, *pair)

    @operation(
        "POST",
        "/api/v1/sessions/{id}/pause",
        summary="Pause a session",
        tag=TAG,
        permission="invitations.session.pause",
        errors=(404, 409, 413, 503),
        headers=(ACTING_USER,),
    )
    async def pause_session(self, call: Call, body: PauseSession | None) -> SessionPausedAnswer:
        """Every call is put on hold, and nothing can be said until the session is resumed (C8, C23)."""
        session, user = await self._changed(call)
        await session.pause(user, None if body is None else body.reason)
        at = instant_or_none(session.paused_at) or ""
        return SessionPausedAnswer(data=PausedData(session=await self._summary(session, user), pausedAt=at))

    @operation(
        "POST",
        "/api/v1/sessions/{id}/resume",
        summary="Resume a paused session",
        tag=TAG,
        permission="invitations.session.resume",
        errors=(404, 409, 413, 503),
        headers=(ACTING_USER,),
    )
    async def resume_session(self, call: Call) -> SessionResumedAnswer:
        """400 when it is not paused (C16)."""
        session, user = await self._changed(call)
        if session.paused_at is None:
            raise invalid("the session is not paused")
        await session.resume(user)
        at = instant_or_none(session.updated_at) or ""
        return SessionResumedAnswer(data=ResumedData(session=await self._summary(session, user), resumedAt=at))

    @operation(
        "POST",
        "/api/v1/sessions/{id}/resolve",
        summary="End a session",
        tag=TAG,
        permission="invitations.session.resolve",
        errors=(404, 409, 413, 503),
        headers=(ACTING_USER,),
    )
    async def resolve_session(self, call: Call) -> SessionAnswer:
        """Hangs up every call. One whose invitation still waits for an answer is abandoned."""
        session, user = await self._changed(call)
        await session.end(by=user, cause="resolved")
        return SessionAnswer(data=SessionData(session=await self._summary(session, user)))

    @operation(
        "POST",
        "/api/v1/sessions/{id}/join",
        summary="Take part in a session",
        tag=TAG,
        permission="invitations.session.join",
        errors=(404, 409, 413, 503),
        headers=(ACTING_USER,),
    )
    async def join_session(self, call: Call) -> SessionAnswer:
        """For who comes without an invitation, or comes back. Who is asked by name accepts by it."""
        session = await self._session(call)
        user = call.user
        invitation = self._inviting.invitations.of_session(session.id)
        role = call.role_in(session)
        if invitation is not None and invitation.status == "PENDING" and session.role_of(user) is None:
            if not invitation.is_for(user) and role is None:
                raise forbidden("the session waits for somebody else")
            if invitation.is_for(user):
                await self._inviting.accept(invitation, user)
                return SessionAnswer(data=SessionData(session=await self._summary(session, user)))
        known = self._registry.people.see(call.tenant, user)
        session.join(user, display_name=known.display_name, role=session.role_of(user) or role or "member")
        return SessionAnswer(data=SessionData(session=await self._summary(session, user)))

    @operation(
        "POST",
        "/api/v1/sessions/{id}/leave",
        summary="No longer take part in a session",
        tag=TAG,
        permission="invitations.session.leave",
        errors=(404, 409, 413, 503),
        headers=(ACTING_USER,),
    )
    async def leave_session(self, call: Call) -> SessionAnswer:
        """Hangs up the user's own telephones; the session goes on."""
        session = await self._session(call)
        user = call.user
        session.leave(user)
        return SessionAnswer(data=SessionData(session=await self._summary(session, user)))

    # What is said.

    @operation(
        "POST",
        "/api/v1/sessions/{id}/messages",
        summary="Say something",
        tag=TAG,
        permission="invitations.session.say",
        status=201,
        errors=(404, 413, 503),
        headers=(ACTING_USER,),
        examples={"body": {"content": "Hello"}},
    )
    async def say(self, call: Call, body: Say) -> MessageSaid:
        """SESSION_NOT_ACTIVE while the session is paused, and once it has ended (C8)."""
        session, user = await self._changed(call)
        return MessageSaid(data=MessageData(message=message_of(session.say(user, body.content))))

    @operation(
        "GET",
        "/api/v1/sessions/{id}/messages",
        summary="What was said",
        tag=TAG,
        permission="invitations.session.messages",
        errors=(404, 503),
        headers=(ACTING_USER,),
    )
    async def messages(self, call: Call, query: MessagesQuery) -> MessageList:
        """Oldest first; also while the session is paused (C8)."""
        after = place_of("m", query.cursor)
        sitting, _, _ = await self._seen(call)
        await self._writer.settled()
        async with reading(self._database) as connection:
            found = await queries.messages(connection, int(sitting.session.id), limit=query.limit + 1, after=after)
        page, more = found[: query.limit], len(found) > query.limit
        return MessageList(
            data=MessagesData(
                messages=[message_of(said) for said in page],
                cursor=cursor_at("m", page[-1].index) if more else None,
                hasMore=more,
            )
        )

    @operation(
        "POST",
        "/api/v1/sessions/{id}/dtmf",
        summary="Press digits",
        tag=TAG,
        permission="invitations.session.dtmf",
        errors=(404, 409, 413, 503),
        headers=(ACTING_USER,),
        examples={"body": {"digits": "1#"}},
    )
    async def press(self, call: Call, body: Press) -> DonePlainly:
        """Sends DTMF to the others' telephones; SESSION_NOT_ACTIVE as for messages (C23)."""
        session, user = await self._changed(call)
        session.press(user, body.digits)
        return DonePlainly()

    # Invitations.

    @operation(
        "GET",
        "/api/v1/invitations/{id}",
        summary="Look at an invitation",
        tag=TAG,
        permission="invitations.preview",
        errors=(404, 503),
    )
    async def preview(self, call: Call) -> InvitationPreview:
        """Needs no token: who invites, whether it is open, and until when; nothing else (C10, C17)."""
        return InvitationPreview(data=self._views.preview(await self._invitation(call, anybody=True)))

    @operation(
        "POST",
        "/api/v1/invitations/{id}/accept",
        summary="Accept an invitation",
        tag=TAG,
        permission="invitations.accept",
        errors=(404, 409, 410, 413, 503),
        headers=(ACTING_USER,),
    )
    async def accept(self, call: Call) -> SessionAnswer:
        """As the token's user. The page behind the link accepts for who has none (C17)."""
        user = call.user
        invitation = await self._invitation(call)
        session = await self._inviting.accept(invitation, user)
        return SessionAnswer(data=SessionData(session=await self._summary(session, user)))

    @operation(
        "POST",
        "/api/v1/invitations/{id}/decline",
        summary="Decline an invitation",
        tag=TAG,
        permission="invitations.decline",
        errors=(404, 409, 410, 413, 503),
        headers=(ACTING_USER,),
    )
    async def decline(self, call: Call, body: DeclineInvitation | None) -> SessionAnswer:
        """The session is abandoned (C17)."""
        user = call.user
        invitation = await self._invitation(call)
        session = await self._inviting.decline(invitation, user, None if body is None else body.reason)
        sitting = await self._sitting(session, user, invitation)
        return SessionAnswer(data=SessionData(session=self._views.summary(sitting, user)))

    @operation(
        "POST",
        "/api/v1/invitations/{id}/resend",
        summary="Send an invitation again",
        tag=TAG,
        permission="invitations.resend",
        errors=(404, 409, 410, 413, 429, 503),
        headers=(ACTING_USER,),
    )
    async def resend(self, call: Call) -> InvitationResent:
        """Its inviter alone, three times at most, a day after one that arrived; it is open for a week again (C17)."""
        user = call.user
        invitation = await self._invitation(call)
        self._inviting.resend(invitation, user)
        info = self._views.invitation(invitation, user, user)
        assert info is not None, "it is the inviter's"
        return InvitationResent(data=ResentData(invitation=info))

    # Finding.

    async def _session(self, call: Call) -> Session:
        """The session of the path, alive. UnknownSession; SessionNotActive once it has ended."""
        session_id = session_id_of(call.path["id"])
        session = None if session_id is None else self._registry.get(session_id)
        if session is None and session_id is not None:
            record = await self._history.session(session_id)
            if record is not None and record.tenant == call.tenant:
                call.require(record, await self._role(call, record))
                raise SessionNotActive("the session has ended")
        if session is None or session.tenant != call.tenant:
            raise UnknownSession("there is no session of that id")
        if session.ended:
            call.require(session)
            raise SessionNotActive("the session has ended")
        return session

    async def _changed(self, call: Call) -> tuple[Session, str]:
        """The session of the path for who may do this with it, and the acting user."""
        session = await self._session(call)
        call.require(session)
        return session, self._actor(call)

    async def _seen(self, call: Call) -> tuple[Sitting, str, str | None]:
        """A session, live or ended, the user whose view of it is shown, and who looks.

        An admin that acts for nobody (None) looks from the host's place.
        """
        session_id = session_id_of(call.path["id"])
        record = None if session_id is None else await self._history.session(session_id)
        if record is None or session_id is None or record.tenant != call.tenant:
            raise UnknownSession("there is no session of that id")
        call.require(record, await self._role(call, record))
        named = call.user if ACTING_USER.name in call.headers else call.principal.user
        user = named or record.host or call.principal.owner
        session = self._registry.get(session_id)
        if session is not None:
            invitation = await self._inviting.of_session(session)
            return queries.sitting_of(session, record, user, invitation), user, named
        await self._writer.settled()
        async with reading(self._database) as connection:
            (sitting,) = await queries.sittings(connection, [int(session_id)], user) or [
                queries.Sitting(record, None, None, None)
            ]
        return sitting, user, named

    async def _role(self, call: Call, subject: SessionRecord) -> Role | None:
        """What an invitation adds: who is asked, or has answered, may look."""
        user = call.principal.user
        if user is None or subject.invitation_id is None or call.role_in(subject) is not None:
            return None
        invitation = await self._inviting.find(subject.invitation_id)
        return "member" if invitation is not None and invitation.is_for(user) else None

    def _actor(self, call: Call) -> str:
        """Who does it: the acting user; an admin that acts for nobody is called by its token's name."""
        if call.principal.kind == "admin" and call.principal.user is None and ACTING_USER.name not in call.headers:
            return call.principal.owner
        return call.user

    async def _invitation(self, call: Call, *, anybody: bool = False) -> Invitation:
        invitation = await self._inviting.find(call.path["id"])
        if invitation is None or not (anybody or invitation.tenant == call.tenant):
            raise UnknownInvitation("there is no invitation of that id")
        return invitation

    async def _sitting(self, session: Session, user: str, invitation: Invitation | None = None) -> Sitting:
        invitation = invitation or await self._inviting.of_session(session)
        return queries.sitting_of(session, session_record(session), user, invitation)

    async def _summary(self, session: Session, user: str) -> SessionSummary:
        return self._views.summary(await self._sitting(session, user), user)
