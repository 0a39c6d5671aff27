"""Runs of client programs, and their logs.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from .transport import Group, Model


class AppSessionId(Model):
    """The new app session."""

    id: str


class UserItem(Model):
    """A user (B4)."""

    id: int
    """Stable, below 2**53 (B21)."""
    handle: str
    imageUrl: str | None = None


class AppSessionItem(Model):
    """An app session (B9)."""

    id: str
    clientId: str
    url: str
    started: int
    """Milliseconds since the epoch."""
    users: list[UserItem]
    """The users that were linked with it (B20)."""
    channels: list[str]
    channelsSessions: list[str]
    """The sessions of its channels while it ran."""


class AppSessionPage(Model):
    """A part of a list of app sessions; `total` counts all that match (B15)."""

    total: int
    results: list[AppSessionItem]


class AppSessionsQuery(Model):
    """Which app sessions (B11)."""

    limit: int = 50
    """How many to give at most."""
    offset: int = 0
    """How many to leave out."""
    user: str | None = None
    """Linked with this user, by number or id."""
    channelSession: str | None = None
    """Linked with this session."""
    channel: str | None = None
    """Linked with this channel."""
    url: str | None = None
    """A part of its URL, whatever the case."""
    startedBefore: int | None = None
    """Started before this instant, in ms."""
    startedAfter: int | None = None
    """Started after this instant, in ms."""


class LogBody(Model):
    """An entry of the log (B13)."""

    time: int
    """Milliseconds since the epoch."""
    data: str
    index: int | None = None
    """Unique within the app session; the next one if left out."""


class LogsQuery(Model):
    """Which entries."""

    search: str | None = None
    """Only entries that hold this, whatever the case."""


class Nothing(Model):
    """Done."""


class RegisterApp(Model):
    """A run of a client program (B12)."""

    started: int
    """Milliseconds since the epoch."""
    url: str
    """Where the program came from."""
    channel: str | None = None
    """The channel that it is about."""


class AppSessionsApi(Group):
    """Runs of client programs, and their logs."""

    async def register(self, client_id: str, body: RegisterApp) -> AppSessionId:
        """Register new app session. The id is all that is needed to send logs; it cannot be guessed."""
        return await self.transport.ask(
            AppSessionId, "POST", "/app_sessions/new/{clientId}", {"clientId": client_id}, body=body
        )

    async def link_user(self, app_session: str) -> Nothing:
        """Associate user with app session. Links the token's user; again changes nothing (B8)."""
        return await self.transport.ask(
            Nothing, "POST", "/app_sessions/{appSession}/link/user", {"appSession": app_session}
        )

    async def add_log(self, app_session: str, body: LogBody) -> Nothing:
        """Send logs to app session. An index that is there with the same time and text changes nothing; with others
        it is 409 (B13).
        """
        return await self.transport.ask(
            Nothing, "POST", "/app_sessions/{appSession}/logs", {"appSession": app_session}, body=body
        )

    async def get_app_session(self, app_session: str) -> AppSessionItem:
        """Get app session details. For users linked with it, hosts of one of its channels, and admins."""
        return await self.transport.ask(
            AppSessionItem, "GET", "/app_sessions/{appSession}", {"appSession": app_session}
        )

    async def get_logs(self, app_session: str, query: LogsQuery | None = None) -> str:
        """Get app session logs. The entries in the order of their indices, a line each; as a JSON string when only
        JSON is accepted (B10).
        """
        return (
            await self.transport.send(
                "GET", "/app_sessions/{appSession}/logs", {"appSession": app_session}, query=query
            )
        )[1].decode()

    async def list_app_sessions(self, query: AppSessionsQuery | None = None) -> AppSessionPage:
        """Query app sessions. All that match every criterion and that the token may read, those that started last
        first (B11).
        """
        return await self.transport.ask(AppSessionPage, "GET", "/app_sessions", {}, query=query)
