"""The PBX dialect: `/api/sessions` and its neighbours (conformance D1-D26)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from signalling import DryRun, OriginateRequest, SignallingError, session_id_of

from ..errors import ApiError, bad_request, refused
from ..fields import Printable
from .idempotency import MAX_KEY_LENGTH, IdempotencyStore
from .live import CallView, LiveSessions, SessionView
from .model import Model
from .openapi import Body, Call, Dialect, Header, operation, operations_of

TAG = "PBX call sessions"

Party = Annotated[str, Field(min_length=1, max_length=256), Printable]
Short = Annotated[str, Field(min_length=1, max_length=128), Printable]
UserPart = Annotated[str, Field(min_length=1, max_length=16), Printable]

IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "Any text of the client's making. A second request with the same key and the same content gets the first"
    " one's answer and dials nothing; with other content it gets 422. Kept for 24 hours.",
    MAX_KEY_LENGTH,
)


class AdditionalHeader(StrEnum):
    """The header that makes a phone answer by itself (D5)."""

    ANSWER_MODE = "ANSWER_MODE"
    CALL_INFO = "CALL_INFO"
    ALERT_INFO_AUTO_ANSWER_DELAY0 = "ALERT_INFO_AUTO_ANSWER_DELAY0"
    ALERT_INFO_AUTO_ANSWER = "ALERT_INFO_AUTO_ANSWER"
    ALERT_INFO_INTERCOM = "ALERT_INFO_INTERCOM"


class HeaderDirection(StrEnum):
    """Whose INVITE gets the additional header (D6)."""

    CALLER = "CALLER"
    CALLEE = "CALLEE"
    ALL = "ALL"


class CreateSession(Body):
    """A call to make (D3). Unknown fields are ignored; null stands for an absent optional field."""

    caller: Annotated[Party, Field(description="Extension or number that is rung first.")]
    callee: Annotated[Party, Field(description="Extension or number that is rung once the caller has answered.")]
    send_sdp: Annotated[
        bool,
        Field(description="true: the caller's INVITE carries our offer; false: none, and the caller offers (D12)."),
    ]
    caller_display_name: Annotated[str, Field(max_length=1024), Printable] | None = None
    trunk: Annotated[
        Annotated[str, Field(min_length=1, max_length=64), Printable] | None,
        Field(description="Name of the trunk to use for what is not an extension."),
    ] = None
    rewrite_from: Annotated[
        UserPart | None,
        Field(description="User part of From on calls through `trunk`; ignored without one (D14)."),
    ] = None
    rewrite_pai: Annotated[
        UserPart | None,
        Field(description="User part of P-Asserted-Identity on calls through `trunk`; added if need be (D15)."),
    ] = None
    rewrite_rpi: Annotated[
        UserPart | None,
        Field(description="User part of Remote-Party-ID on calls through `trunk`; added if need be (D15)."),
    ] = None
    user_data: Annotated[
        Annotated[str, Field(max_length=128), Printable] | None, Field(description="Kept with the call record.")
    ] = None
    target: Annotated[
        Short | None, Field(description="Contact URI or host:port of the one phone of the caller that rings (D21).")
    ] = None
    target_instance_id: Annotated[
        Short | None, Field(description="`+sip.instance` of the one phone of the caller that rings (D21).")
    ] = None
    target_extension_number: Annotated[
        Short | None, Field(description="Extension whose phones ring in the caller's place (D21).")
    ] = None
    additional_header: Annotated[
        AdditionalHeader | None, Field(description="Header that makes a phone answer by itself (D5).")
    ] = None
    header_direction: Annotated[
        HeaderDirection | None,
        Field(description="Whose INVITE gets it: CALLER if left out (D13); ignored without `additional_header`."),
    ] = None


class CreateQuery(Model):
    """How to create."""

    dry_run: Annotated[bool, Field(description="1: say what would be sent, and send nothing.")] = False


class ListQuery(Model):
    """Which part of a list (D23)."""

    skip: Annotated[int, Field(ge=0, le=2**63 - 1, description="How many to leave out.")] = 0
    top: Annotated[int, Field(ge=0, le=1000, description="How many to give at most.")] = 100


class CallItem(Model):
    """One caller-callee pair (D2)."""

    caller: str
    caller_display_name: str | None
    callee: str
    trunk: str | None
    started_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    talking_time: Annotated[int, Field(description="Whole seconds since the answer, 0 before (D17).")]


class SessionItem(Model):
    """A session with its calls (D4)."""

    id: str
    calls: list[CallItem]


class SessionList(Model):
    """Active sessions, oldest first; `count` is their total whatever part is shown (D1)."""

    count: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    items: list[SessionItem]


class SessionId(Model):
    """The session that was created or commanded."""

    id: str


class DryRunHeader(Model):
    """One header of an INVITE and what made it."""

    header: str
    value: str
    rule: str


class DryRunSkipped(Model):
    """A trunk that was not chosen."""

    trunk: str
    reason: str


class DryRunLegItem(Model):
    """One INVITE that would be sent."""

    role: Annotated[str, Field(description="CALLER or CALLEE.")]
    trunk: str | None
    why: Annotated[str, Field(description="What led to this way.")]
    invite: Annotated[str, Field(description="The whole message.")]
    headers: list[DryRunHeader]
    why_not: list[DryRunSkipped]
    also: Annotated[list[str], Field(description="Other Request-URIs that would ring at the same time.")]


class DryRunReport(Model):
    """What a request would send; nothing was sent."""

    dry_run: bool
    legs: list[DryRunLegItem]
    notes: list[str]


class ErrorBody(Model):
    """Every error of this dialect (D22)."""

    error_code: Annotated[str, Field(description="For programs: upper case, stable.")]
    message: Annotated[str, Field(description="For people: names the field at fault.")]


class PbxApi:
    """Translates requests of the dialect into commands on live sessions; holds no call logic."""

    def __init__(self, live: LiveSessions, *, clock: Callable[[], float]) -> None:
        self._live = live
        self._clock = clock
        self._created: IdempotencyStore[SessionId] = IdempotencyStore()

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(TAG, "Calls between two numbers, made and watched.", operations_of(self), _error, ErrorBody)

    @operation(
        "GET", "/api/sessions", summary="List current active call sessions", tag=TAG, permission="pbx.session.list"
    )
    async def list_sessions(self, call: Call, query: ListQuery) -> SessionList:
        """Active sessions only, oldest first: those that the token has a role in."""
        active = [session for session in self._live.sessions() if call.role_in(session) is not None]
        part = active[query.skip : query.skip + query.top]
        return SessionList(count=len(active), items=[_session_item(session) for session in part])

    @operation(
        "POST",
        "/api/sessions",
        summary="Create call session",
        tag=TAG,
        permission="pbx.session.create",
        errors=(400, 403, 404, 409, 413, 422, 503),
        headers=(IDEMPOTENCY_KEY,),
    )
    async def create_session(self, call: Call, query: CreateQuery, body: CreateSession) -> SessionId | DryRunReport:
        """Rings the caller, on answer the callee, and joins them. Answers at once, before anybody has."""
        principal = call.principal
        request = OriginateRequest(**body.model_dump(mode="json"))
        key = _idempotency_key(call)
        if query.dry_run:
            report = await self._live.dry_run(request, principal)
            return _report(report)

        async def originate() -> SessionId:
            try:
                session = await self._live.originate(request, principal)
            except SignallingError as error:
                raise refused(error) from error
            return SessionId(id=session.id)

        if key is None:
            return await originate()
        scope = (principal.kind, principal.name, "create")
        return await self._created.once(scope, key, body.model_dump_json(), originate, now=self._clock())

    @operation(
        "GET",
        "/api/sessions/directly",
        summary="Create call session by an extension's password",
        tag=TAG,
        permission="pbx.session.directly",
        errors=(501,),
    )
    async def create_directly(self, call: Call) -> SessionId:
        """Not offered: a password in a URL ends up in logs and histories. Use POST /api/sessions."""
        raise ApiError(
            501, "NOT_IMPLEMENTED", "a password does not belong in a URL; use POST /api/sessions with a token"
        )

    @operation(
        "GET",
        "/api/sessions/{id}",
        summary="Retrieve call session by ID",
        tag=TAG,
        permission="pbx.session.get",
        errors=(404,),
    )
    async def get_session(self, call: Call) -> SessionItem:
        """An ended session is found, in its last state, while it is retained."""
        return _session_item(self._session(call))

    @operation(
        "POST",
        "/api/sessions/{id}/destroy",
        summary="End call session",
        tag=TAG,
        permission="pbx.session.destroy",
        errors=(404, 409),
    )
    async def destroy_session(self, call: Call) -> SessionId:
        """Hangs up every leg."""
        session = self._session(call)
        await session.end(by=call.principal.user, cause="ended through the API")
        return SessionId(id=session.id)

    @operation(
        "POST",
        "/api/sessions/{id}/calls",
        summary="Call into a session",
        tag=TAG,
        permission="pbx.session.call",
        errors=(400, 403, 404, 409, 503),
    )
    async def call_into_session(self, call: Call, body: CreateSession) -> SessionId:
        """As "Create call session", in a session that has no call now: both parties take part in it once they answer,
        and it goes on when they hang up. Who has media there already hears them, and is not rung as the caller.
        Ours; 409 while a call goes on, 400 while it is paused."""
        session = self._session(call)
        await self._live.originate(OriginateRequest(**body.model_dump(mode="json")), call.principal, session)
        return SessionId(id=session.id)

    @operation(
        "POST",
        "/api/sessions/{id}/hold",
        summary="Hold call session",
        tag=TAG,
        permission="pbx.session.hold",
        errors=(404, 409),
    )
    async def hold_session(self, call: Call) -> SessionId:
        """Stops the media of every leg."""
        session = self._session(call)
        await session.hold()
        return SessionId(id=session.id)

    @operation(
        "POST",
        "/api/sessions/{id}/unhold",
        summary="Resume held call session",
        tag=TAG,
        permission="pbx.session.unhold",
        errors=(404, 409),
    )
    async def unhold_session(self, call: Call) -> SessionId:
        """Lets the media of every leg go on."""
        session = self._session(call)
        await session.unhold()
        return SessionId(id=session.id)

    @operation(
        "POST",
        "/api/sessions/{id}/refer",
        summary="Transfer call session",
        tag=TAG,
        permission="pbx.session.refer",
        errors=(404, 501),
    )
    async def refer_session(self, call: Call) -> SessionId:
        """Not offered yet."""
        self._session(call)
        raise ApiError(501, "NOT_IMPLEMENTED", "transfer is not implemented yet")

    def _session(self, call: Call) -> SessionView:
        session_id = session_id_of(call.path["id"])
        session = None if session_id is None else self._live.get(session_id)
        return call.found(session, "UNKNOWN_SESSION", "there is no session of that id")


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with whole seconds (G3)."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _session_item(session: SessionView) -> SessionItem:
    return SessionItem(id=session.id, calls=[_call_item(call) for call in session.calls])


def _call_item(call: CallView) -> CallItem:
    return CallItem(
        caller=call.caller,
        caller_display_name=call.caller_display_name,
        callee=call.callee,
        trunk=call.trunk,
        started_at=timestamp(call.started_at),
        talking_time=call.talking_time_s,
    )


def _report(report: DryRun) -> DryRunReport:
    return DryRunReport(
        dry_run=True,
        legs=[
            DryRunLegItem(
                role=leg.role,
                trunk=leg.trunk,
                why=leg.why,
                invite=leg.invite,
                headers=[DryRunHeader(header=h, value=v, rule=r) for h, v, r in leg.headers],
                why_not=[DryRunSkipped(trunk=t, reason=r) for t, r in leg.why_not],
                also=list(leg.also),
            )
            for leg in report.legs
        ],
        notes=list(report.notes),
    )


def _idempotency_key(call: Call) -> str | None:
    key = call.headers.get(IDEMPOTENCY_KEY.name)
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise bad_request(f"Idempotency-Key: 1 to {MAX_KEY_LENGTH} printable ASCII characters")
    return key


def _error(_status: int, code: str, message: str, _details: Any) -> BaseModel:
    return ErrorBody(error_code=code, message=message)
