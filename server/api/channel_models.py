"""The channel dialect on the wire: instants in milliseconds, users as numbers, no key without a value (G3, G4)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from signalling import Channel, Registry, Role, ServiceMode, implicit_channel_of, uuid_of_session

from ..fields import Printable
from ..store.queries.channels import Recording
from ..store.records import SessionRecord
from .model import Model
from .openapi import MAX_USER, Body

API = "/api/v1_0"
"Where every path of the dialect is mounted as well."
MAX_TEXT = 256  # characters of a name, or of what is searched for
MAX_ID = 64  # characters; longer than any id that we give
MAX_LIMIT = 500
MAX_LONG = 2**63 - 1

Long = Annotated[int, Field(ge=0, le=MAX_LONG, json_schema_extra={"format": "int64"})]
Instant = Annotated[Long, Field(description="Milliseconds since the epoch.")]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID), Printable]
Text = Annotated[str, Field(max_length=MAX_TEXT), Printable]
Search = Annotated[Text | None, Field(description="A part of the name, whatever the case of its letters.")]


# What is asked.


class ImageQuery(Model):
    """How images should be (B16)."""

    imgSize: Annotated[
        Annotated[str, Field(max_length=MAX_ID), Printable] | None,
        Field(description="`small`, `medium`, ...; images have one size here, so it changes nothing (B16)."),
    ] = None


class PageQuery(Model):
    """Which part of a list (B14)."""

    limit: Annotated[int, Field(ge=0, le=MAX_LIMIT, description="How many to give at most.")] = 50
    offset: Annotated[int, Field(ge=0, le=MAX_LONG, description="How many to leave out.")] = 0


class UsersQuery(PageQuery, ImageQuery):
    """Which users of a channel (B6)."""

    search: Search = None


class ChannelsQuery(PageQuery):
    """Which channels."""

    search: Search = None


class SessionsQuery(PageQuery, ImageQuery):
    """Which sessions, in which order (B7)."""

    channel: Annotated[Id | None, Field(description="Only sessions of this channel.")] = None
    search: Annotated[Text | None, Field(description="A part of the channel's name, whatever the case.")] = None
    sort: Annotated[
        Literal["started", "ended", "name", "presence"],
        Field(description="`presence`: by participantsCount; `ended`: running ones count as the last to end (B23)."),
    ] = "started"
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[
        Long | None, Field(alias="from", description="Only sessions started after this instant, in ms.")
    ] = None
    before: Annotated[
        Long | None, Field(alias="to", description="Only sessions started before this instant, in ms.")
    ] = None
    hasRecording: Literal["true", "false"] | None = None


class CreateChannel(Body):
    """A channel to make."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_TEXT), Printable]
    serviceMode: ServiceMode | None = None
    clientId: Text | None = None


class JoinChannel(Body):
    """Who joins, when it is not the token's user: one of the two, with an admin's token."""

    userId: Annotated[Long | None, Field(description="The number of a known user.")] = None
    handle: Annotated[
        Annotated[str, Field(min_length=1, max_length=MAX_USER), Printable] | None,
        Field(description="The id of a user, made now if it is new."),
    ] = None


class GiveRole(Body):
    """What a user may do in a channel."""

    role: Role


# What is answered.


class Nothing(Model):
    """Done."""


class ErrorBody(Model):
    """Every error of this dialect (B17)."""

    message: Annotated[str, Field(description="For people.")]
    error: Annotated[str, Field(description="For programs: upper case, stable.")]


class UserItem(Model):
    """A user (B4)."""

    id: Annotated[Long, Field(description="Stable, below 2**53 (B21).")]
    handle: str
    imageUrl: str | None = None


class UserItems(RootModel[list[UserItem]]):
    """Users, each once."""


class UserPage(Model):
    """A part of a list of users; `total` counts all that match (B15)."""

    total: int
    results: list[UserItem]


class SessionItem(Model):
    """A session (B3)."""

    id: str
    name: str
    channel: str
    serviceMode: ServiceMode
    participantsCount: Annotated[int, Field(description="Distinct users over its life (B22).")]
    clientId: str
    hadRecording: bool
    created: Instant
    started: Annotated[Instant | None, Field(description="When the first participant came (B24).")] = None
    ended: Annotated[Instant | None, Field(description="Left out while it goes on.")] = None
    groupId: str | None = None
    parentId: str | None = None
    imageUrl: str | None = None


class SessionPage(Model):
    """A part of a list of sessions; `total` counts all that match (B15)."""

    total: int
    results: list[SessionItem]


class RecordingItem(Model):
    """A file of a recording (B5)."""

    id: str
    recordingId: str
    format: str
    state: str
    kind: str
    label: str
    isIndividual: bool
    startTime: Instant
    endTime: Instant | None = None
    size: Annotated[Long | None, Field(description="Bytes.")] = None
    url: str | None = None
    relativePath: str | None = None
    streamUserId: Long | None = None
    userId: Long | None = None
    group: str | None = None


class RecordingItems(RootModel[list[RecordingItem]]):
    """The files of a session's recordings, by the time they begin."""


class ChannelItem(Model):
    """A channel."""

    id: str
    name: str
    serviceMode: ServiceMode
    clientId: str
    created: Instant
    owner: Annotated[Long | None, Field(description="Number of the user that made it.")] = None
    imageUrl: str | None = None
    session: Annotated[str | None, Field(description="The active session.")] = None


class ChannelPage(Model):
    """A part of the list of channels; `total` counts all that match."""

    total: int
    results: list[ChannelItem]


class RoleItem(Model):
    """What a user may do in a channel."""

    user: UserItem
    role: Role


class RoleItems(RootModel[list[RoleItem]]):
    """The roles in a channel."""


# From our values to the wire.

CODES = {
    "FORBIDDEN": "ACCESS_FORBIDDEN",
    "NOT_ALLOWED": "ACCESS_FORBIDDEN",
    "UNKNOWN_CHANNEL": "CHANNEL_NOT_FOUND",
    "UNKNOWN_SESSION": "SESSION_NOT_FOUND",
    "UNKNOWN_USER": "USER_NOT_FOUND",
}
"Our codes -> those of the dialect, where they differ (B17)."


def error_body(_status: int, code: str, message: str, _details: Any) -> BaseModel:
    """An error in this dialect's words."""
    return ErrorBody(message=message, error=CODES.get(code, code))


def alias(path: str) -> tuple[str]:
    """The other place of a path."""
    return (API + path,)


def milliseconds(at: float) -> int:
    """Of an instant in seconds."""
    return round(at * 1000)


def user_item(registry: Registry, tenant: str, user_id: str, number: int = 0, handle: str = "") -> UserItem:
    """A user as the directory knows it now, else as it was recorded."""
    user = registry.people.get(tenant, user_id)
    if user is not None:
        return UserItem(id=user.number, handle=user.handle, imageUrl=user.image_url)
    return UserItem(id=number or registry.people.number_of(tenant, user_id), handle=handle or user_id)


def session_item(registry: Registry, record: SessionRecord) -> SessionItem:
    """A session as this dialect shows it."""
    return SessionItem(
        id=uuid_of_session(record.id),
        name=record.name,
        channel=record.channel_id,
        serviceMode=_service_mode(registry, record),
        participantsCount=record.participants_count,
        clientId=record.client_id or "",
        hadRecording=record.had_recording,
        created=record.created_at,
        started=record.started_at,
        ended=record.ended_at,
        groupId=record.group_id,
        parentId=record.parent_id,
        imageUrl=record.image_url,
    )


def _service_mode(registry: Registry, record: SessionRecord) -> ServiceMode:
    if implicit_channel_of(record.channel_id) is not None:
        return "conference"
    channel = registry.rooms.get(record.tenant, record.channel_id)
    return "conference" if channel is None else channel.service_mode


def recording_item(recording: Recording) -> RecordingItem:
    """A file of a recording as this dialect shows it."""
    return RecordingItem(
        id=recording.id,
        recordingId=recording.recording_id,
        format=recording.format,
        state=recording.state,
        kind=recording.kind,
        label=recording.label,
        isIndividual=recording.is_individual,
        startTime=recording.start_time,
        endTime=recording.end_time,
        size=recording.size,
        url=recording.url,
        relativePath=recording.relative_path,
        streamUserId=recording.stream_user_id,
        userId=recording.user_id,
        group=recording.group,
    )


def channel_item(registry: Registry, channel: Channel) -> ChannelItem:
    """A channel as this dialect shows it."""
    session = registry.rooms.active_session(channel.id)
    return ChannelItem(
        id=channel.id,
        name=channel.name,
        serviceMode=channel.service_mode,
        clientId=channel.client_id,
        created=milliseconds(channel.created_at),
        owner=None if channel.owner is None else registry.people.number_of(channel.tenant, channel.owner),
        imageUrl=channel.image_url,
        session=None if session is None else uuid_of_session(session.id),
    )
