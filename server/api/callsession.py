"""The CallSession dialect: `/api/CallSession/*`, five actions and queries by POST (conformance A1-A16).

Which errors come with which status is ours (A11); the shape of the body is the contract (A7): an object for an action,
an array for a query, an object with `error` for an error. With `legacy_status`, what an operation refuses is answered
with 200, as the original's server does; a request that is not understood or not authenticated keeps its 4xx.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, Field, RootModel

from signalling import Registry, Session, SignallingError, UnknownSession, WrongState, session_id_of

from ..auth import forbidden
from ..errors import ApiError
from ..fields import Printable
from ..store.history import History
from .model import Model
from .openapi import MAX_USER, Body, Call, Dialect, Handler, operation, operations_of

TAG = "CallSession"
MAX_NAME = 256  # characters
MAX_ID = 64  # characters; longer than any form of a session's id

UserId = Annotated[str, Field(min_length=1, max_length=MAX_USER, description="Opaque id of a user."), Printable]
SessionId = Annotated[
    str, Field(min_length=1, max_length=MAX_ID, description="Id of a session, in the form of any dialect.")
]


class CreateSession(Body):
    """A session to make (A1)."""

    host: UserId
    name: Annotated[
        Annotated[str, Field(max_length=MAX_NAME), Printable] | None, Field(description="Empty if left out (A13).")
    ] = None


class UserAndSession(Body):
    """Who does it, and to which session (A3-A5)."""

    user: UserId
    session: SessionId


class OneSession(Body):
    """The session that is asked about (A6)."""

    session: SessionId


class SessionMade(Model):
    """The new session."""

    session: Annotated[str, Field(description="Its id.")]


class Done(Model):
    """An action was carried out."""


class UserOf(Model):
    """One who takes part."""

    user: str


class UserList(RootModel[list[UserOf]]):
    """Those who take part, the host first, the others in the order of coming (A8)."""


class ErrorBody(Model):
    """Every error of this dialect."""

    error: Annotated[str, Field(description="What went wrong, for people.")]


EXAMPLE_ID = "1801439850948198400"
GONE = "there is no session of that id"


class CallSessionApi:
    """Translates requests of the dialect into what sessions can do; holds no call logic."""

    def __init__(self, registry: Registry, history: History, *, legacy_status: bool = False) -> None:
        self._registry = registry
        self._history = history
        self._legacy_status = legacy_status

    def dialect(self) -> Dialect:
        """The routes of this API."""
        operations = operations_of(self)
        if self._legacy_status:
            operations = tuple(replace(bound, handler=_answering(bound.handler)) for bound in operations)
        return Dialect(TAG, "Who takes part in a session, by five POSTs.", operations, _error, ErrorBody)

    @operation(
        "POST",
        "/api/CallSession/createSession",
        summary="Create a session",
        tag=TAG,
        permission="callsession.create",
        errors=(404, 413, 503),
        examples={"body": {"host": "alice", "name": "Stand-up"}, "200": {"session": EXAMPLE_ID}},
    )
    async def create_session(self, call: Call, body: CreateSession) -> SessionMade | ErrorBody:
        """The host is the first who takes part, and the one who may end it."""
        host = call.act_for(body.host)
        self._registry.people.see(call.tenant, host)
        session = self._registry.create(
            tenant=call.tenant,
            made_by="callsession",
            owner=call.principal.owner,
            host=host,
            name=body.name or "",
            role="host",
        )
        return SessionMade(session=session.id)

    @operation(
        "POST",
        "/api/CallSession/joinSession",
        summary="Join a session",
        tag=TAG,
        permission="callsession.join",
        errors=(404, 409, 413, 503),
        examples={"body": {"user": "bob", "session": EXAMPLE_ID}, "200": {}},
    )
    async def join_session(self, call: Call, body: UserAndSession) -> Done | ErrorBody:
        """409 when the user takes part already, and when the session has ended."""
        user = call.act_for(body.user)
        session = await self._session(call, body.session)
        known = self._registry.people.see(call.tenant, user)
        role = session.role_of(user) or "member"
        session.join(user, display_name=known.display_name, role=role)
        return Done()

    @operation(
        "POST",
        "/api/CallSession/leaveSession",
        summary="Leave a session",
        tag=TAG,
        permission="callsession.leave",
        errors=(404, 409, 413),
        examples={"body": {"user": "bob", "session": EXAMPLE_ID}, "200": {}},
    )
    async def leave_session(self, call: Call, body: UserAndSession) -> Done | ErrorBody:
        """Ends the legs of this user and of nobody else. A session that all have left goes on (A14)."""
        user = call.act_for(body.user)
        session = await self._session(call, body.session)
        session.leave(user)
        return Done()

    @operation(
        "POST",
        "/api/CallSession/endSession",
        summary="End a session",
        tag=TAG,
        permission="callsession.end",
        errors=(404, 409, 413),
        examples={"body": {"user": "alice", "session": EXAMPLE_ID}, "200": {}},
    )
    async def end_session(self, call: Call, body: UserAndSession) -> Done | ErrorBody:
        """Only for the host, who need not take part (A16). Hangs up every leg; the record is kept (A15)."""
        user = call.act_for(body.user)
        session = await self._session(call, body.session)
        _must_be_host(call, session, user)
        await session.end(by=user)
        return Done()

    @operation(
        "POST",
        "/api/CallSession/_getParticipants",
        summary="List who takes part",
        tag=TAG,
        permission="callsession.participants",
        errors=(404, 413, 503),
        examples={"body": {"session": EXAMPLE_ID}, "200": [{"user": "alice"}, {"user": "bob"}]},
    )
    async def get_participants(self, call: Call, body: OneSession) -> UserList | ErrorBody:
        """Nobody takes part in a session that has ended (A15)."""
        session_id = session_id_of(body.session)
        session = None if session_id is None else self._registry.get(session_id)
        if session is None:
            record = None if session_id is None else await self._history.session(session_id)
            call.found(record, UnknownSession.code, GONE)
            return UserList([])
        call.found(session, UnknownSession.code, GONE)
        if session.ended:
            return UserList([])
        users = [participant.user for participant in session.present()]
        return UserList([UserOf(user=user) for user in sorted(users, key=lambda user: user != session.host)])

    async def _session(self, call: Call, text: str) -> Session:
        """The session of that id, live or lately ended; WrongState when only its record is left."""
        session_id = session_id_of(text)
        session = None if session_id is None else self._registry.get(session_id)
        if session is not None and session.tenant == call.tenant:
            return session
        if session is None and session_id is not None:
            record = await self._history.session(session_id)
            if record is not None and record.tenant == call.tenant:
                raise WrongState("the session has ended")
        raise UnknownSession(GONE)


def _answering(act: Handler) -> Handler:
    """`act`, of which a refusal is an answer of its own."""

    async def answer(call: Call, **wanted: Any) -> Any:
        try:
            return await act(call, **wanted)
        except (SignallingError, ApiError) as error:
            return ErrorBody(error=error.message)

    return answer


def _must_be_host(call: Call, session: Session, user: str) -> None:
    """ApiError 403 unless `user` is the host of the session (A5).

    In a session that has none, such as a call between phones, whoever made it counts as its host, and an admin.
    """
    call.require(session)
    if call.principal.kind == "admin" and session.host is not None and session.role_of(user) != "host":
        raise forbidden("only the host may end the session")


def _error(_status: int, _code: str, message: str, _details: Any) -> BaseModel:
    return ErrorBody(error=message)
