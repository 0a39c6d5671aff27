"""Who takes part in a session, by five POSTs.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from pydantic import RootModel

from .transport import Group, Model


class CreateSession(Model):
    """A session to make (A1)."""

    host: str
    """Opaque id of a user."""
    name: str | None = None
    """Empty if left out (A13)."""


class Done(Model):
    """An action was carried out."""


class OneSession(Model):
    """The session that is asked about (A6)."""

    session: str
    """Id of a session, in the form of any dialect."""


class SessionMade(Model):
    """The new session."""

    session: str
    """Its id."""


class UserAndSession(Model):
    """Who does it, and to which session (A3-A5)."""

    user: str
    """Opaque id of a user."""
    session: str
    """Id of a session, in the form of any dialect."""


class UserOf(Model):
    """One who takes part."""

    user: str


class UserList(RootModel[list[UserOf]]):
    """Those who take part, the host first, the others in the order of coming (A8)."""


class CallSessionApi(Group):
    """Who takes part in a session, by five POSTs."""

    async def create_session(self, body: CreateSession) -> SessionMade:
        """Create a session. The host is the first who takes part, and the one who may end it."""
        return await self.transport.ask(
            SessionMade, "POST", "/api/CallSession/createSession", {}, body=body, quiet_errors=True
        )

    async def join_session(self, body: UserAndSession) -> Done:
        """Join a session. 409 when the user takes part already, and when the session has ended."""
        return await self.transport.ask(Done, "POST", "/api/CallSession/joinSession", {}, body=body, quiet_errors=True)

    async def leave_session(self, body: UserAndSession) -> Done:
        """Leave a session. Ends the legs of this user and of nobody else. A session that all have left goes on
        (A14).
        """
        return await self.transport.ask(Done, "POST", "/api/CallSession/leaveSession", {}, body=body, quiet_errors=True)

    async def end_session(self, body: UserAndSession) -> Done:
        """End a session. Only for the host, who need not take part (A16). Hangs up every leg; the record is kept
        (A15).
        """
        return await self.transport.ask(Done, "POST", "/api/CallSession/endSession", {}, body=body, quiet_errors=True)

    async def get_participants(self, body: OneSession) -> UserList:
        """List who takes part. Nobody takes part in a session that has ended (A15)."""
        return await self.transport.ask(
            UserList, "POST", "/api/CallSession/_getParticipants", {}, body=body, quiet_errors=True
        )
