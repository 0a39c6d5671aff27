"""Channels, and the sessions in them.

Generated from the operations of the server by `make client`: changes here do not last.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel

from .transport import Group, Model


class ChannelItem(Model):
    """A channel."""

    id: str
    name: str
    serviceMode: Literal["conference", "panel"]
    clientId: str
    created: int
    """Milliseconds since the epoch."""
    owner: int | None = None
    """Number of the user that made it."""
    imageUrl: str | None = None
    session: str | None = None
    """The active session."""


class ChannelPage(Model):
    """A part of the list of channels; `total` counts all that match."""

    total: int
    results: list[ChannelItem]


class ChannelsQuery(Model):
    """Which channels."""

    limit: int = 50
    """How many to give at most."""
    offset: int = 0
    """How many to leave out."""
    search: str | None = None
    """A part of the name, whatever the case of its letters."""


class CreateChannel(Model):
    """A channel to make."""

    name: str
    serviceMode: Literal["conference", "panel"] | None = None
    clientId: str | None = None


class GiveRole(Model):
    """What a user may do in a channel."""

    role: Literal["host", "member", "viewer"]


class ImageQuery(Model):
    """How images should be (B16)."""

    imgSize: str | None = None
    """`small`, `medium`, ...; images have one size here, so it changes nothing (B16)."""


class JoinChannel(Model):
    """Who joins, when it is not the token's user: one of the two, with an admin's token."""

    userId: int | None = None
    """The number of a known user."""
    handle: str | None = None
    """The id of a user, made now if it is new."""


class Nothing(Model):
    """Done."""


class RecordingItem(Model):
    """A file of a recording (B5)."""

    id: str
    recordingId: str
    format: str
    state: str
    kind: str
    label: str
    isIndividual: bool
    startTime: int
    """Milliseconds since the epoch."""
    endTime: int | None = None
    size: int | None = None
    """Bytes."""
    url: str | None = None
    relativePath: str | None = None
    streamUserId: int | None = None
    userId: int | None = None
    group: str | None = None


class RecordingItems(RootModel[list[RecordingItem]]):
    """The files of a session's recordings, by the time they begin."""


class UserItem(Model):
    """A user (B4)."""

    id: int
    """Stable, below 2**53 (B21)."""
    handle: str
    imageUrl: str | None = None


class RoleItem(Model):
    """What a user may do in a channel."""

    user: UserItem
    role: Literal["host", "member", "viewer"]


class RoleItems(RootModel[list[RoleItem]]):
    """The roles in a channel."""


class SessionItem(Model):
    """A session (B3)."""

    id: str
    name: str
    channel: str
    serviceMode: Literal["conference", "panel"]
    participantsCount: int
    """Distinct users over its life (B22)."""
    clientId: str
    hadRecording: bool
    created: int
    """Milliseconds since the epoch."""
    started: int | None = None
    """When the first participant came (B24)."""
    ended: int | None = None
    """Left out while it goes on."""
    groupId: str | None = None
    parentId: str | None = None
    imageUrl: str | None = None


class SessionPage(Model):
    """A part of a list of sessions; `total` counts all that match (B15)."""

    total: int
    results: list[SessionItem]


class SessionsQuery(Model):
    """Which sessions, in which order (B7)."""

    imgSize: str | None = None
    """`small`, `medium`, ...; images have one size here, so it changes nothing (B16)."""
    limit: int = 50
    """How many to give at most."""
    offset: int = 0
    """How many to leave out."""
    channel: str | None = None
    """Only sessions of this channel."""
    search: str | None = None
    """A part of the channel's name, whatever the case."""
    sort: Literal["started", "ended", "name", "presence"] = "started"
    """`presence`: by participantsCount; `ended`: running ones count as the last to end (B23)."""
    order: Literal["asc", "desc"] = "desc"
    from_: int | None = Field(default=None, validation_alias="from", serialization_alias="from")
    """Only sessions started after this instant, in ms."""
    to: int | None = None
    """Only sessions started before this instant, in ms."""
    hasRecording: Literal["true", "false"] | None = None


class UserItems(RootModel[list[UserItem]]):
    """Users, each once."""


class UserPage(Model):
    """A part of a list of users; `total` counts all that match (B15)."""

    total: int
    results: list[UserItem]


class UsersQuery(Model):
    """Which users of a channel (B6)."""

    imgSize: str | None = None
    """`small`, `medium`, ...; images have one size here, so it changes nothing (B16)."""
    limit: int = 50
    """How many to give at most."""
    offset: int = 0
    """How many to leave out."""
    search: str | None = None
    """A part of the name, whatever the case of its letters."""


class ChannelsApi(Group):
    """Channels, and the sessions in them."""

    async def end_session(self, uuid: str, session_id: str | None = None) -> Nothing:
        """End session. Ends the channel's active session for everybody; with a session's id only if that is the
        active one (B1). Without an active session nothing is done, and the answer is the same (B2).
        """
        path = "/channels/{uuid}/session" if session_id is None else "/channels/{uuid}/session/{sessionId}"
        return await self.transport.ask(Nothing, "DELETE", path, {"uuid": uuid, "sessionId": session_id or ""})

    async def get_session(self, session_id: str, query: ImageQuery | None = None) -> SessionItem:
        """Get session. One session, present or past (B3)."""
        return await self.transport.ask(
            SessionItem, "GET", "/sessions/{sessionId}", {"sessionId": session_id}, query=query
        )

    async def session_participants(self, session_id: str, query: ImageQuery | None = None) -> UserItems:
        """Get session participants. All who took part, each once, in the order of coming (B4)."""
        return await self.transport.ask(
            UserItems, "GET", "/sessions/{sessionId}/participants", {"sessionId": session_id}, query=query
        )

    async def session_recordings(self, session_id: str) -> RecordingItems:
        """Get session recordings. The files that recordings of the session have made (B5)."""
        return await self.transport.ask(
            RecordingItems, "GET", "/sessions/{sessionId}/recordings", {"sessionId": session_id}
        )

    async def channel_participants(self, uuid: str, query: UsersQuery | None = None) -> UserPage:
        """List historical channel participants. All who took part in sessions of the channel, who was there last
        first (B6).
        """
        return await self.transport.ask(UserPage, "GET", "/channels/{uuid}/participants", {"uuid": uuid}, query=query)

    async def list_sessions(self, query: SessionsQuery | None = None) -> SessionPage:
        """List sessions. Sessions of the channels that the token is at least a host of; an admin's token sees all
        (B7).
        """
        return await self.transport.ask(SessionPage, "GET", "/sessions", {}, query=query)

    async def create_channel(self, body: CreateChannel) -> ChannelItem:
        """Create channel. The token's user is its owner, who is always a host of it."""
        return await self.transport.ask(ChannelItem, "POST", "/channels", {}, body=body)

    async def list_channels(self, query: ChannelsQuery | None = None) -> ChannelPage:
        """List channels. The channels that the token has a role in, newest first; sessions' own channels are not
        among them.
        """
        return await self.transport.ask(ChannelPage, "GET", "/channels", {}, query=query)

    async def get_channel(self, uuid: str) -> ChannelItem:
        """Get channel. One channel, with its active session."""
        return await self.transport.ask(ChannelItem, "GET", "/channels/{uuid}", {"uuid": uuid})

    async def join_session(self, uuid: str, body: JoinChannel | None = None) -> SessionItem:
        """Join the active session, or start one. There is one active session at most (B25): whoever comes second
        joins it; who is there already stays.
        """
        return await self.transport.ask(SessionItem, "POST", "/channels/{uuid}/session", {"uuid": uuid}, body=body)

    async def leave_session(self, uuid: str, body: JoinChannel | None = None) -> Nothing:
        """Leave the active session. Ends the legs of this user and of nobody else; the session goes on."""
        return await self.transport.ask(Nothing, "POST", "/channels/{uuid}/session/leave", {"uuid": uuid}, body=body)

    async def list_roles(self, uuid: str) -> RoleItems:
        """List roles. Who may do what in the channel, the owner first."""
        return await self.transport.ask(RoleItems, "GET", "/channels/{uuid}/roles", {"uuid": uuid})

    async def give_role(self, uuid: str, user: str, body: GiveRole) -> RoleItem:
        """Give a role. `user` is the number or the id of a user; one of a new id is made."""
        return await self.transport.ask(
            RoleItem, "PUT", "/channels/{uuid}/roles/{user}", {"uuid": uuid, "user": user}, body=body
        )

    async def take_role(self, uuid: str, user: str) -> Nothing:
        """Take a role away. Who has none stays without; the owner remains a host."""
        return await self.transport.ask(
            Nothing, "DELETE", "/channels/{uuid}/roles/{user}", {"uuid": uuid, "user": user}
        )
