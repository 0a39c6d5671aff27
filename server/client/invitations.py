"""Sessions of two, begun by an invitation.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from .transport import Group, Model


class CreateSession(Model):
    """Somebody to invite: a person by id, or by an e-mail address, a telephone number, or both (C1, C19)."""

    personId: str | None = None
    """User to invite; not together with a contact (C18)."""
    inviteEmail: str | None = None
    invitePhone: str | None = None
    inviteName: str | None = None
    context: str | None = None
    """For its creator alone (C10)."""


class Partner(Model):
    """The other one; `user_pending` until an invitation by contact is accepted (C5)."""

    id: str
    name: str | None


class StageProgress(Model):
    """How far a user is. This server has the one stage 0."""

    stage: int
    status: Literal["NOT_STARTED", "IN_PROGRESS", "GATE_PENDING", "COMPLETED"]
    startedAt: datetime | None
    completedAt: datetime | None


class SessionSummary(Model):
    """A session as one of its users sees it (C5)."""

    id: str
    relationshipId: str
    status: Literal["CREATED", "INVITED", "ACTIVE", "PAUSED", "WAITING", "RESOLVED", "ABANDONED"]
    createdAt: datetime
    partner: Partner
    myProgress: StageProgress
    partnerProgress: StageProgress
    isMyTurn: bool
    """The session waits for this user: to answer, or to come."""
    waitingOnPartner: bool
    """This user waits for the partner to answer, or to come."""


class CreatedData(Model):
    """A new session and its invitation (C4)."""

    session: SessionSummary
    invitationId: str
    invitationUrl: str


class DeclineInvitation(Model):
    """Why the invitation is declined (C17)."""

    reason: str | None = None


class DeliveryInfo(Model):
    """How the message to one contact went."""

    to: Literal["email", "phone"]
    by: str
    """email, sms, ring or webhook."""
    state: Literal["PENDING", "RETRYING", "SENT", "FAILED"]
    error: str | None
    at: datetime | None


class NoData(Model):
    """There is nothing to say but that it was done."""


class DonePlainly(Model):
    """Answer of what has no result."""

    success: Literal[True] = True
    data: NoData | None = None


class InvitationInfo(Model):
    """The invitation behind a session: whole for who made it, its state for who was asked."""

    id: str
    status: Literal["PENDING", "ACCEPTED", "DECLINED", "EXPIRED"]
    expiresAt: datetime
    url: str | None
    context: str | None
    declineReason: str | None
    resendsLeft: int | None
    deliveries: list[DeliveryInfo]


class InvitedBy(Model):
    """Who invites."""

    name: str


class PreviewData(Model):
    """What an invitation tells everybody who has its link."""

    id: str
    status: Literal["PENDING", "ACCEPTED", "DECLINED", "EXPIRED"]
    invitedBy: InvitedBy
    expiresAt: datetime


class InvitationPreview(Model):
    """Answer of the preview."""

    success: Literal[True] = True
    data: PreviewData


class ResentData(Model):
    """An invitation that was sent again."""

    invitation: InvitationInfo


class InvitationResent(Model):
    """Answer of resend."""

    success: Literal[True] = True
    data: ResentData


class ListData(Model):
    """Some sessions; there is no `cursor` on the last page."""

    sessions: list[SessionSummary]
    cursor: str | None = None
    hasMore: bool


class ListQuery(Model):
    """Which sessions, and where to go on (C6)."""

    status: Literal["CREATED", "INVITED", "ACTIVE", "PAUSED", "WAITING", "RESOLVED", "ABANDONED"] | None = None
    """Only sessions of this status."""
    cursor: str | None = None
    """From the answer before, to go on behind it."""
    limit: int = 20


class Message(Model):
    """What somebody said."""

    id: str
    senderId: str
    senderName: str | None
    type: str
    content: str
    createdAt: datetime


class MessageData(Model):
    """The message that was said."""

    message: Message


class MessagesData(Model):
    """Some messages, oldest first; there is no `cursor` on the last page."""

    messages: list[Message]
    cursor: str | None = None
    hasMore: bool


class MessageList(Model):
    """What was said."""

    success: Literal[True] = True
    data: MessagesData


class MessageSaid(Model):
    """Answer of saying something."""

    success: Literal[True] = True
    data: MessageData


class MessagesQuery(Model):
    """Where to go on."""

    cursor: str | None = None
    limit: int = 50


class PauseSession(Model):
    """Why the session is paused (C8)."""

    reason: str | None = None


class PausedData(Model):
    """A session that was paused."""

    session: SessionSummary
    pausedAt: datetime


class Press(Model):
    """Digits for the others' telephones."""

    digits: str


class RelationshipInfo(Model):
    """What two users share."""

    id: str
    createdAt: datetime
    sessionCount: int


class ResumedData(Model):
    """A session that goes on."""

    session: SessionSummary
    resumedAt: datetime


class Say(Model):
    """Something to say in writing."""

    content: str


class SessionData(Model):
    """The session after what was done."""

    session: SessionSummary


class SessionAnswer(Model):
    """Answer of what changes a session."""

    success: Literal[True] = True
    data: SessionData


class SessionCreated(Model):
    """Answer of create."""

    success: Literal[True] = True
    data: CreatedData


class StageGate(Model):
    """What must happen before the session goes on."""

    id: str
    description: str
    satisfied: bool
    requiredForAdvance: bool


class SessionDetail(Model):
    """A session in full (C7). `invitation` is an addition of ours, null for others than those two."""

    id: str
    relationshipId: str
    status: Literal["CREATED", "INVITED", "ACTIVE", "PAUSED", "WAITING", "RESOLVED", "ABANDONED"]
    createdAt: datetime
    partner: Partner
    myProgress: StageProgress
    partnerProgress: StageProgress
    isMyTurn: bool
    """The session waits for this user: to answer, or to come."""
    waitingOnPartner: bool
    """This user waits for the partner to answer, or to come."""
    updatedAt: datetime
    relationship: RelationshipInfo
    currentGates: list[StageGate]
    resolvedAt: datetime | None
    invitation: InvitationInfo | None


class SessionFound(Model):
    """Answer of get."""

    success: Literal[True] = True
    data: SessionDetail


class SessionList(Model):
    """Answer of list."""

    success: Literal[True] = True
    data: ListData


class SessionPausedAnswer(Model):
    """Answer of pause."""

    success: Literal[True] = True
    data: PausedData


class SessionResumedAnswer(Model):
    """Answer of resume."""

    success: Literal[True] = True
    data: ResumedData


class InvitationsApi(Group):
    """Sessions of two, begun by an invitation."""

    async def create_session(self, body: CreateSession) -> SessionCreated:
        """Create a session and invite a partner. The answer does not wait for the delivery of the invitation, whose
        failure loses nothing (C3).
        """
        return await self.transport.ask(SessionCreated, "POST", "/api/v1/sessions", {}, body=body)

    async def list_sessions(self, query: ListQuery | None = None) -> SessionList:
        """List the sessions of the acting user. Those that the user takes or took part in, or was invited to by
        name; the newest first.
        """
        return await self.transport.ask(SessionList, "GET", "/api/v1/sessions", {}, query=query)

    async def get_session(self, id: str) -> SessionFound:
        """Get session details. 403 for whoever has no part in it (C20)."""
        return await self.transport.ask(SessionFound, "GET", "/api/v1/sessions/{id}", {"id": id})

    async def pause_session(self, id: str, body: PauseSession | None = None) -> SessionPausedAnswer:
        """Pause a session. Every call is put on hold, and nothing can be said until the session is resumed (C8,
        C23).
        """
        return await self.transport.ask(
            SessionPausedAnswer, "POST", "/api/v1/sessions/{id}/pause", {"id": id}, body=body
        )

    async def resume_session(self, id: str) -> SessionResumedAnswer:
        """Resume a paused session. 400 when it is not paused (C16)."""
        return await self.transport.ask(SessionResumedAnswer, "POST", "/api/v1/sessions/{id}/resume", {"id": id})

    async def resolve_session(self, id: str) -> SessionAnswer:
        """End a session. Hangs up every call. One whose invitation still waits for an answer is abandoned."""
        return await self.transport.ask(SessionAnswer, "POST", "/api/v1/sessions/{id}/resolve", {"id": id})

    async def join_session(self, id: str) -> SessionAnswer:
        """Take part in a session. For who comes without an invitation, or comes back. Who is asked by name accepts
        by it.
        """
        return await self.transport.ask(SessionAnswer, "POST", "/api/v1/sessions/{id}/join", {"id": id})

    async def leave_session(self, id: str) -> SessionAnswer:
        """No longer take part in a session. Hangs up the user's own telephones; the session goes on."""
        return await self.transport.ask(SessionAnswer, "POST", "/api/v1/sessions/{id}/leave", {"id": id})

    async def say(self, id: str, body: Say) -> MessageSaid:
        """Say something. SESSION_NOT_ACTIVE while the session is paused, and once it has ended (C8)."""
        return await self.transport.ask(MessageSaid, "POST", "/api/v1/sessions/{id}/messages", {"id": id}, body=body)

    async def messages(self, id: str, query: MessagesQuery | None = None) -> MessageList:
        """What was said. Oldest first; also while the session is paused (C8)."""
        return await self.transport.ask(MessageList, "GET", "/api/v1/sessions/{id}/messages", {"id": id}, query=query)

    async def press(self, id: str, body: Press) -> DonePlainly:
        """Press digits. Sends DTMF to the others' telephones; SESSION_NOT_ACTIVE as for messages (C23)."""
        return await self.transport.ask(DonePlainly, "POST", "/api/v1/sessions/{id}/dtmf", {"id": id}, body=body)

    async def preview(self, id: str) -> InvitationPreview:
        """Look at an invitation. Needs no token: who invites, whether it is open, and until when; nothing else (C10,
        C17).
        """
        return await self.transport.ask(InvitationPreview, "GET", "/api/v1/invitations/{id}", {"id": id})

    async def accept(self, id: str) -> SessionAnswer:
        """Accept an invitation. As the token's user. The page behind the link accepts for who has none (C17)."""
        return await self.transport.ask(SessionAnswer, "POST", "/api/v1/invitations/{id}/accept", {"id": id})

    async def decline(self, id: str, body: DeclineInvitation | None = None) -> SessionAnswer:
        """Decline an invitation. The session is abandoned (C17)."""
        return await self.transport.ask(
            SessionAnswer, "POST", "/api/v1/invitations/{id}/decline", {"id": id}, body=body
        )

    async def resend(self, id: str) -> InvitationResent:
        """Send an invitation again. Its inviter alone, three times at most, a day after one that arrived; it is open
        for a week again (C17).
        """
        return await self.transport.ask(InvitationResent, "POST", "/api/v1/invitations/{id}/resend", {"id": id})
