"""The channel dialect: `/channels` and `/sessions`, also under `/api/v1_0` (conformance B1-B7, B14-B25).

The document can end, read and list sessions. What is needed so that there are any (making a channel, joining, leaving,
giving roles) is ours, worded like the rest.
"""

from __future__ import annotations

from signalling import (
    Channel,
    NotThere,
    Registry,
    Role,
    Session,
    UnknownChannel,
    UnknownSession,
    UnknownUser,
    WrongState,
    implicit_channel_of,
    session_id_of,
)

from ..auth import role_in
from ..errors import bad_request
from ..store.database import Database
from ..store.history import History
from ..store.queries import channels as queries
from ..store.queries.reading import reading
from ..store.records import SessionRecord
from ..store.writer import Writer
from .channel_models import (
    ChannelItem,
    ChannelPage,
    ChannelsQuery,
    CreateChannel,
    ErrorBody,
    GiveRole,
    ImageQuery,
    JoinChannel,
    Nothing,
    RecordingItems,
    RoleItem,
    RoleItems,
    SessionItem,
    SessionPage,
    SessionsQuery,
    UserItem,
    UserItems,
    UserPage,
    UsersQuery,
    alias,
    channel_item,
    error_body,
    recording_item,
    session_item,
    user_item,
)
from .openapi import MAX_USER, Call, Dialect, operation, operations_of

TAG = "Channel sessions"
NO_CHANNEL = "there is no channel of that id"
NO_SESSION = "there is no session of that id"


class ChannelsApi:
    """Translates requests of the dialect into what sessions and channels can do; holds no call logic."""

    def __init__(self, registry: Registry, history: History, database: Database, writer: Writer) -> None:
        self._registry = registry
        self._history = history
        self._database = database
        self._writer = writer

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(
            TAG, "Channels, and the sessions in them.", operations_of(self), error_body, ErrorBody, omit_none=True
        )

    # Sessions, as the document has them.

    @operation(
        "DELETE",
        "/channels/{uuid}/session/{sessionId}",
        summary="End session",
        tag=TAG,
        permission="channels.session.end",
        errors=(404,),
        aliases=(
            "/channels/{uuid}/session",
            "/channels/{uuid}/session/",
            *alias("/channels/{uuid}/session/{sessionId}"),
            *alias("/channels/{uuid}/session"),
            *alias("/channels/{uuid}/session/"),
        ),
    )
    async def end_session(self, call: Call) -> Nothing:
        """Ends the channel's active session for everybody; with a session's id only if that is the active one (B1).

        Without an active session nothing is done, and the answer is the same (B2).
        """
        channel_id = call.path["uuid"].lower()
        session = self._active(call, channel_id)
        channel = await self._channel(call, channel_id, session)
        wanted = call.path.get("sessionId")
        if session is not None and (wanted is None or session_id_of(wanted) == session.id):
            await _end(session, by=call.principal.user, cause=f"ended in channel {channel.id}")
        return Nothing()

    @operation(
        "GET",
        "/sessions/{sessionId}",
        summary="Get session",
        tag=TAG,
        permission="channels.session.get",
        errors=(404, 503),
        aliases=alias("/sessions/{sessionId}"),
    )
    async def get_session(self, call: Call, query: ImageQuery) -> SessionItem:
        """One session, present or past (B3)."""
        return session_item(self._registry, await self._record(call))

    @operation(
        "GET",
        "/sessions/{sessionId}/participants",
        summary="Get session participants",
        tag=TAG,
        permission="channels.session.participants",
        errors=(404, 503),
        aliases=alias("/sessions/{sessionId}/participants"),
    )
    async def session_participants(self, call: Call, query: ImageQuery) -> UserItems:
        """All who took part, each once, in the order of coming (B4)."""
        record = await self._record(call)
        items: dict[str, UserItem] = {}
        for stay in await self._history.participants(record.id):
            if stay.user_id not in items:
                items[stay.user_id] = user_item(
                    self._registry, call.tenant, stay.user_id, stay.user_number, stay.handle
                )
        return UserItems(list(items.values()))

    @operation(
        "GET",
        "/sessions/{sessionId}/recordings",
        summary="Get session recordings",
        tag=TAG,
        permission="channels.session.recordings",
        errors=(404, 503),
        aliases=alias("/sessions/{sessionId}/recordings"),
    )
    async def session_recordings(self, call: Call) -> RecordingItems:
        """The files that recordings of the session have made (B5)."""
        record = await self._record(call)
        await self._writer.settled()
        async with reading(self._database) as connection:
            recordings = await queries.recordings_of(connection, record.id)
        return RecordingItems([recording_item(recording) for recording in recordings])

    @operation(
        "GET",
        "/channels/{uuid}/participants",
        summary="List historical channel participants",
        tag=TAG,
        permission="channels.participants",
        errors=(404, 503),
        aliases=alias("/channels/{uuid}/participants"),
    )
    async def channel_participants(self, call: Call, query: UsersQuery) -> UserPage:
        """All who took part in sessions of the channel, who was there last first (B6)."""
        channel_id = call.path["uuid"].lower()
        channel = await self._channel(call, channel_id, self._active(call, channel_id))
        await self._writer.settled()
        async with reading(self._database) as connection:
            total, users = await queries.users_of_channel(
                connection, call.tenant, channel.id, query.search, limit=query.limit, offset=query.offset
            )
        items = [user_item(self._registry, call.tenant, user.id, user.number, user.handle) for user in users]
        return UserPage(total=total, results=items)

    @operation(
        "GET",
        "/sessions",
        summary="List sessions",
        tag=TAG,
        permission="channels.session.list",
        errors=(503,),
        aliases=alias("/sessions"),
    )
    async def list_sessions(self, call: Call, query: SessionsQuery) -> SessionPage:
        """Sessions of the channels that the token is at least a host of; an admin's token sees all (B7)."""
        wanted = queries.SessionFilter(
            tenant=call.tenant,
            operator=operator_of(call),
            channel_id=None if query.channel is None else query.channel.lower(),
            search=query.search or None,
            after=query.after,
            before=query.before,
            had_recording=None if query.hasRecording is None else query.hasRecording == "true",
        )
        page = queries.Page(query.sort, descending=query.order == "desc", limit=query.limit, offset=query.offset)
        await self._writer.settled()
        async with reading(self._database) as connection:
            total, records = await queries.find_sessions(connection, wanted, page)
        return SessionPage(total=total, results=[session_item(self._registry, record) for record in records])

    # Channels: ours.

    @operation(
        "POST",
        "/channels",
        summary="Create channel",
        tag=TAG,
        permission="channels.create",
        errors=(503,),
        aliases=alias("/channels"),
    )
    async def create_channel(self, call: Call, body: CreateChannel) -> ChannelItem:
        """The token's user is its owner, who is always a host of it."""
        owner = call.principal.user
        if owner is not None:
            self._registry.people.see(call.tenant, owner)
        channel = self._registry.rooms.create(
            call.tenant,
            body.name,
            service_mode=body.serviceMode or "conference",
            client_id=body.clientId or "",
            owner=owner,
        )
        return channel_item(self._registry, channel)

    @operation(
        "GET",
        "/channels",
        summary="List channels",
        tag=TAG,
        permission="channels.list",
        aliases=alias("/channels"),
    )
    async def list_channels(self, call: Call, query: ChannelsQuery) -> ChannelPage:
        """The channels that the token has a role in, newest first; sessions' own channels are not among them."""
        part = (query.search or "").casefold()
        found = [
            channel
            for channel in reversed(self._registry.rooms.channels(call.tenant))
            if part in channel.name.casefold() and (call.sees_all or call.role_in(channel) is not None)
        ]
        shown = found[query.offset : query.offset + query.limit]
        return ChannelPage(total=len(found), results=[channel_item(self._registry, channel) for channel in shown])

    @operation(
        "GET",
        "/channels/{uuid}",
        summary="Get channel",
        tag=TAG,
        permission="channels.get",
        errors=(404, 503),
        aliases=alias("/channels/{uuid}"),
    )
    async def get_channel(self, call: Call) -> ChannelItem:
        """One channel, with its active session."""
        channel_id = call.path["uuid"].lower()
        channel = await self._channel(call, channel_id, self._active(call, channel_id))
        return channel_item(self._registry, channel)

    @operation(
        "POST",
        "/channels/{uuid}/session",
        summary="Join the active session, or start one",
        tag=TAG,
        permission="channels.join",
        errors=(404, 413, 503),
        aliases=alias("/channels/{uuid}/session"),
    )
    async def join_session(self, call: Call, body: JoinChannel | None = None) -> SessionItem:
        """There is one active session at most (B25): whoever comes second joins it; who is there already stays."""
        channel_id = call.path["uuid"].lower()
        session = self._active(call, channel_id)
        channel = await self._channel(call, channel_id, session)
        user = self._acting(call, body)
        known = self._registry.people.see(call.tenant, user)
        # Nothing is awaited from here on, so that two who come at once cannot both start a session.
        session = self._active(call, channel.id)
        role = self._role(call, channel, session, user)
        if session is None:
            session = self._start(call, channel, user, role)
        if session.participant(user) is None:
            session.join(user, display_name=known.display_name, role=role)
        record = await self._history.session(session.id)
        assert record is not None, "a live session is known"
        return session_item(self._registry, record)

    @operation(
        "POST",
        "/channels/{uuid}/session/leave",
        summary="Leave the active session",
        tag=TAG,
        permission="channels.leave",
        errors=(404, 409, 413),
        aliases=alias("/channels/{uuid}/session/leave"),
    )
    async def leave_session(self, call: Call, body: JoinChannel | None = None) -> Nothing:
        """Ends the legs of this user and of nobody else; the session goes on."""
        channel_id = call.path["uuid"].lower()
        session = self._active(call, channel_id)
        await self._channel(call, channel_id, session)
        user = self._acting(call, body)
        if session is None:
            raise NotThere("the channel has no active session")
        session.leave(user)
        return Nothing()

    @operation(
        "GET",
        "/channels/{uuid}/roles",
        summary="List roles",
        tag=TAG,
        permission="channels.roles",
        errors=(404, 503),
        aliases=alias("/channels/{uuid}/roles"),
    )
    async def list_roles(self, call: Call) -> RoleItems:
        """Who may do what in the channel, the owner first."""
        channel_id = call.path["uuid"].lower()
        channel = await self._channel(call, channel_id, self._active(call, channel_id))
        roles: dict[str, Role] = {} if channel.owner is None else {channel.owner: "host"}
        roles = {**channel.roles, **roles}
        users = sorted(roles, key=lambda user: user != channel.owner)
        return RoleItems(
            [RoleItem(user=user_item(self._registry, call.tenant, user), role=roles[user]) for user in users]
        )

    @operation(
        "PUT",
        "/channels/{uuid}/roles/{user}",
        summary="Give a role",
        tag=TAG,
        permission="channels.roles",
        errors=(404, 413, 503),
        aliases=alias("/channels/{uuid}/roles/{user}"),
    )
    async def give_role(self, call: Call, body: GiveRole) -> RoleItem:
        """`user` is the number or the id of a user; one of a new id is made."""
        channel_id = call.path["uuid"].lower()
        channel = await self._channel(call, channel_id, self._active(call, channel_id))
        user = self._named(call)
        self._registry.people.see(call.tenant, user)
        self._registry.rooms.set_role(channel, user, body.role)
        return RoleItem(user=user_item(self._registry, call.tenant, user), role=body.role)

    @operation(
        "DELETE",
        "/channels/{uuid}/roles/{user}",
        summary="Take a role away",
        tag=TAG,
        permission="channels.roles",
        errors=(404, 503),
        aliases=alias("/channels/{uuid}/roles/{user}"),
    )
    async def take_role(self, call: Call) -> Nothing:
        """Who has none stays without; the owner remains a host."""
        channel_id = call.path["uuid"].lower()
        channel = await self._channel(call, channel_id, self._active(call, channel_id))
        self._registry.rooms.set_role(channel, self._named(call), None)
        return Nothing()

    # What the operations share.

    def _active(self, call: Call, channel_id: str) -> Session | None:
        session = self._registry.rooms.active_session(channel_id)
        return session if session is not None and session.tenant == call.tenant else None

    async def _channel(self, call: Call, channel_id: str, active: Session | None) -> Channel:
        """The channel of that id once the token may do this with it; whoever hosts the active session hosts it too."""
        channel = self._registry.rooms.get(call.tenant, channel_id)
        sitting: Session | SessionRecord | None = active
        if sitting is None:
            own = implicit_channel_of(channel_id)
            sitting = None if own is None else self._registry.get(own) or await self._history.session(own)
        if channel is None and isinstance(sitting, SessionRecord) and sitting.channel_id == channel_id:
            channel = Channel(
                channel_id, sitting.tenant, sitting.name, created_at=sitting.created_at / 1000, owner=sitting.host
            )
        role = None if sitting is None else role_in(call.principal, sitting)
        return call.found(channel, UnknownChannel.code, NO_CHANNEL, role=role)

    async def _record(self, call: Call) -> SessionRecord:
        """The session that the path names, once the token may do this with it or with its channel."""
        session_id = session_id_of(call.path["sessionId"])
        record = None if session_id is None else await self._history.session(session_id)
        channel = None if record is None else self._registry.rooms.get(call.tenant, record.channel_id)
        role = None if channel is None else call.role_in(channel)
        return call.found(record, UnknownSession.code, NO_SESSION, role=role)

    def _acting(self, call: Call, body: JoinChannel | None) -> str:
        """Id of the user that the body names, else of the token's own. ApiError 403, UnknownUser."""
        if body is None or (body.userId is None and body.handle is None):
            return call.user
        if body.userId is not None and body.handle is not None:
            raise bad_request("give either userId or handle")
        if body.handle is not None:
            return call.act_for(body.handle)
        assert body.userId is not None
        user = self._registry.people.by_number(call.tenant, body.userId)
        if user is None:
            raise UnknownUser(f"there is no user of number {body.userId}")
        return call.act_for(user.id)

    def _named(self, call: Call) -> str:
        """Id of the user that the path names by id or number."""
        text = call.path["user"]
        if len(text) > MAX_USER:
            raise bad_request(f"user: at most {MAX_USER} characters")
        people = self._registry.people
        if people.get(call.tenant, text) is None and text.isascii() and text.isdigit():
            user = people.by_number(call.tenant, int(text))
            if user is not None:
                return user.id
        return text

    def _role(self, call: Call, channel: Channel, session: Session | None, user: str) -> Role:
        """What `user` takes part as."""
        if user == call.principal.user:
            return call.require(channel, None if session is None else call.role_in(session))
        return channel.role_of(user) or (None if session is None else session.role_of(user)) or "member"

    def _start(self, call: Call, channel: Channel, user: str, role: Role) -> Session:
        """A new sitting of `channel`; its host is who starts it if that is a host of the channel, else its owner."""
        if self._registry.rooms.get(call.tenant, channel.id) is not channel:
            self._registry.rooms.put(channel)  # a session's own channel becomes a room, now that there is a second one
        host = user if role == "host" else None
        session = self._registry.create(
            tenant=call.tenant,
            made_by="channels",
            owner=call.principal.owner if role == "host" else None,
            host=host,
            name=channel.name,
            channel=channel,
            role="host",
        )
        if host is None:
            session.host = channel.owner
        return session


async def _end(session: Session, *, by: str | None, cause: str) -> None:
    try:
        await session.end(by=by, cause=cause)
    except WrongState:
        return  # somebody else was faster, and this is what was wanted


def operator_of(call: Call) -> queries.Operator | None:
    """Who must be a host of what is listed; None when the token is one of everything."""
    principal = call.principal
    if principal.kind == "admin" or principal.roles.get("*") == "host":
        return None
    hosted = tuple(channel for channel, role in principal.roles.items() if role == "host")
    return queries.Operator(owner=principal.owner, user=principal.user, channels=hosted)
