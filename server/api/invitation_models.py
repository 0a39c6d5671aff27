"""What the invitation dialect takes and answers (document 002, conformance C1-C24): models, limits, error bodies."""

from __future__ import annotations

import base64
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from signalling import Invitee

from ..errors import ApiError
from ..fields import Printable
from .model import Model
from .openapi import MAX_USER, Body

MAX_CONTEXT = 500  # characters, as the other limits (C15)
MAX_NAME = 100
MAX_PAUSE_REASON = 200
MAX_DECLINE_REASON = 500
MAX_EMAIL = 254  # RFC 5321 §4.5.3.1.3, less the brackets
MAX_PHONE = 40  # with spaces and brackets as people write them
MAX_MESSAGE = 16_384
MAX_CURSOR = 64

Id = Annotated[str, Field(min_length=1, max_length=MAX_USER), Printable]


def _absent(value: object) -> bool:
    return value is None


LEFT_OUT = Field(exclude_if=_absent)
"Written `name?:` in the document: without a value there is no key. `T | null` is null instead (G4)."
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class SessionStatus(StrEnum):
    """Where a session is in its life (C13)."""

    CREATED = "CREATED"
    INVITED = "INVITED"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    WAITING = "WAITING"
    RESOLVED = "RESOLVED"
    ABANDONED = "ABANDONED"


class StageStatus(StrEnum):
    """Where a user is in a stage."""

    NOT_STARTED = "NOT_STARTED"
    IN_PROGRESS = "IN_PROGRESS"
    GATE_PENDING = "GATE_PENDING"
    COMPLETED = "COMPLETED"


# What is asked.


class CreateSession(Body):
    """Somebody to invite: a person by id, or by an e-mail address, a telephone number, or both (C1, C19)."""

    personId: Annotated[Id | None, Field(description="User to invite; not together with a contact (C18).")] = None
    inviteEmail: Annotated[str, Field(max_length=MAX_EMAIL), Printable] | None = None
    invitePhone: Annotated[str, Field(max_length=MAX_PHONE), Printable] | None = None
    inviteName: Annotated[str, Field(min_length=1, max_length=MAX_NAME), Printable] | None = None
    context: Annotated[
        Annotated[str, Field(max_length=MAX_CONTEXT)] | None, Field(description="For its creator alone (C10).")
    ] = None


class PauseSession(Body):
    """Why the session is paused (C8)."""

    reason: Annotated[str, Field(max_length=MAX_PAUSE_REASON)] | None = None


class DeclineInvitation(Body):
    """Why the invitation is declined (C17)."""

    reason: Annotated[str, Field(max_length=MAX_DECLINE_REASON)] | None = None


class Say(Body):
    """Something to say in writing."""

    content: Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE)]


class Press(Body):
    """Digits for the others' telephones."""

    digits: Annotated[str, Field(min_length=1, max_length=64, pattern="^[0-9A-D*#]+$")]


class ListQuery(Model):
    """Which sessions, and where to go on (C6)."""

    status: Annotated[SessionStatus | None, Field(description="Only sessions of this status.")] = None
    cursor: Annotated[
        Annotated[str, Field(min_length=1, max_length=MAX_CURSOR)] | None,
        Field(description="From the answer before, to go on behind it."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=50)] = 20


class MessagesQuery(Model):
    """Where to go on."""

    cursor: Annotated[str, Field(min_length=1, max_length=MAX_CURSOR)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


# What is answered.


class Partner(Model):
    """The other one; `user_pending` until an invitation by contact is accepted (C5)."""

    id: str
    name: str | None


class StageProgress(Model):
    """How far a user is. This server has the one stage 0."""

    stage: Annotated[int, Field(ge=0, le=4)]
    status: StageStatus
    startedAt: Instant | None
    completedAt: Instant | None


class SessionSummary(Model):
    """A session as one of its users sees it (C5)."""

    id: str
    relationshipId: str
    status: SessionStatus
    createdAt: Instant
    partner: Partner
    myProgress: StageProgress
    partnerProgress: StageProgress
    isMyTurn: Annotated[bool, Field(description="The session waits for this user: to answer, or to come.")]
    waitingOnPartner: Annotated[bool, Field(description="This user waits for the partner to answer, or to come.")]


class RelationshipInfo(Model):
    """What two users share."""

    id: str
    createdAt: Instant
    sessionCount: int


class StageGate(Model):
    """What must happen before the session goes on."""

    id: str
    description: str
    satisfied: bool
    requiredForAdvance: bool


class DeliveryInfo(Model):
    """How the message to one contact went."""

    to: Literal["email", "phone"]
    by: Annotated[str, Field(description="email, sms, ring or webhook.")]
    state: Literal["PENDING", "RETRYING", "SENT", "FAILED"]
    error: str | None
    at: Instant | None


class InvitationInfo(Model):
    """The invitation behind a session: whole for who made it, its state for who was asked."""

    id: str
    status: Literal["PENDING", "ACCEPTED", "DECLINED", "EXPIRED"]
    expiresAt: Instant
    url: str | None
    context: str | None
    declineReason: str | None
    resendsLeft: int | None
    deliveries: list[DeliveryInfo]


class SessionDetail(SessionSummary):
    """A session in full (C7). `invitation` is an addition of ours, null for others than those two."""

    updatedAt: Instant
    relationship: RelationshipInfo
    currentGates: list[StageGate]
    resolvedAt: Instant | None
    invitation: InvitationInfo | None


class CreatedData(Model):
    """A new session and its invitation (C4)."""

    session: SessionSummary
    invitationId: str
    invitationUrl: str


class ListData(Model):
    """Some sessions; there is no `cursor` on the last page."""

    sessions: list[SessionSummary]
    cursor: Annotated[str | None, LEFT_OUT] = None
    hasMore: bool


class PausedData(Model):
    """A session that was paused."""

    session: SessionSummary
    pausedAt: Instant


class ResumedData(Model):
    """A session that goes on."""

    session: SessionSummary
    resumedAt: Instant


class SessionData(Model):
    """The session after what was done."""

    session: SessionSummary


class Message(Model):
    """What somebody said."""

    id: str
    senderId: str
    senderName: str | None
    type: str
    content: str
    createdAt: Instant


class MessageData(Model):
    """The message that was said."""

    message: Message


class MessagesData(Model):
    """Some messages, oldest first; there is no `cursor` on the last page."""

    messages: list[Message]
    cursor: Annotated[str | None, LEFT_OUT] = None
    hasMore: bool


class InvitedBy(Model):
    """Who invites."""

    name: str


class PreviewData(Model):
    """What an invitation tells everybody who has its link."""

    id: str
    status: Literal["PENDING", "ACCEPTED", "DECLINED", "EXPIRED"]
    invitedBy: InvitedBy
    expiresAt: Instant


class ResentData(Model):
    """An invitation that was sent again."""

    invitation: InvitationInfo


class NoData(Model):
    """There is nothing to say but that it was done."""


class Envelope(Model):
    """Around every success (C11)."""

    success: Literal[True] = True


class SessionCreated(Envelope):
    """Answer of create."""

    data: CreatedData


class SessionList(Envelope):
    """Answer of list."""

    data: ListData


class SessionFound(Envelope):
    """Answer of get."""

    data: SessionDetail


class SessionPausedAnswer(Envelope):
    """Answer of pause."""

    data: PausedData


class SessionResumedAnswer(Envelope):
    """Answer of resume."""

    data: ResumedData


class SessionAnswer(Envelope):
    """Answer of what changes a session."""

    data: SessionData


class MessageSaid(Envelope):
    """Answer of saying something."""

    data: MessageData


class MessageList(Envelope):
    """What was said."""

    data: MessagesData


class InvitationPreview(Envelope):
    """Answer of the preview."""

    data: PreviewData


class InvitationResent(Envelope):
    """Answer of resend."""

    data: ResentData


class DonePlainly(Envelope):
    """Answer of what has no result."""

    data: NoData = NoData()


class ErrorInfo(Model):
    """What went wrong."""

    code: Annotated[str, Field(description="For programs: upper case, stable.")]
    message: Annotated[str, Field(description="For people: names the field at fault.")]
    details: Annotated[dict[str, Any] | None, LEFT_OUT] = None


class ErrorBody(Model):
    """Every error of this dialect (C11)."""

    success: Literal[False] = False
    error: ErrorInfo


OWN_CODES = frozenset(
    {"SESSION_NOT_ACTIVE", "INVITATION_EXPIRED", "RATE_LIMITED", "UNAUTHORIZED", "METHOD_NOT_ALLOWED", "TOO_LARGE"}
)
CODES = {400: "VALIDATION_ERROR", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT"}
"Status -> what this dialect calls it (C12), whatever the other dialects call the cause."


def error_body(status: int, code: str, message: str, details: Any = None) -> BaseModel:
    """An error in this dialect's words."""
    code = code if code in OWN_CODES else CODES.get(status, code)
    return ErrorBody(error=ErrorInfo(code=code, message=message, details=details or None))


# From what is asked to what is meant.


def invitee_of(body: CreateSession, default_region: str) -> Invitee:
    """Whom `body` names (C1, C18, C19). ApiError 400."""
    person, email, phone = body.personId, body.inviteEmail, body.invitePhone
    if person is not None and (email is not None or phone is not None):
        raise invalid("personId: give either a person or a contact, not both")
    if person is None and email is None and phone is None:
        raise invalid("give personId, inviteEmail or invitePhone")
    return Invitee(
        person,
        None if email is None else normal_email(email),
        None if phone is None else normal_phone(phone, default_region),
        body.inviteName,
    )


def normal_email(text: str) -> str:
    """An address as it is compared and sent to. ApiError 400 when it is none."""
    from email_validator import EmailNotValidError, validate_email  # late: they take a twentieth of a second

    try:
        found = validate_email(text, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as error:
        raise invalid(f"inviteEmail: {error}") from error
    return found.ascii_email or found.normalized


def normal_phone(text: str, default_region: str) -> str:
    """A telephone number in E.164. ApiError 400 when it is none."""
    from phonenumbers import NumberParseException, PhoneNumberFormat, format_number, is_possible_number, parse

    try:
        number = parse(text, default_region or None)
    except NumberParseException as error:
        raise invalid("invitePhone: give a telephone number with its country, as in +33199001234") from error
    if not is_possible_number(number) or number.extension:
        raise invalid("invitePhone: no telephone number has this form")
    return str(format_number(number, PhoneNumberFormat.E164))


def invalid(message: str) -> ApiError:
    """400 in this dialect's words."""
    return ApiError(400, "VALIDATION_ERROR", message)


_CURSOR = re.compile("[sm]:(0|[1-9][0-9]{0,18})")


def cursor_at(kind: Literal["s", "m"], place: int) -> str:
    """An opaque cursor: `place` is the id of a session (s), or the index of a message (m)."""
    return base64.urlsafe_b64encode(f"{kind}:{place}".encode()).decode().rstrip("=")


def place_of(kind: Literal["s", "m"], cursor: str | None) -> int | None:
    """Where a cursor points. ApiError 400 when it is none of ours (C24)."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError as error:
        raise invalid("cursor: not one of ours") from error
    if _CURSOR.fullmatch(text) is None or text[0] != kind or int(text[2:]) >= 2**63:
        raise invalid("cursor: not one of ours")
    return int(text[2:])
