"""Meetings of the RealtimeKit dialect, named as in the original: how its sessions come to be and end.

A meeting is a channel of the other dialects, and a session one sitting of it. Whoever is added as a participant takes
part at once: the first one begins the session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from signalling import (
    RANKS,
    Channel,
    Happening,
    NotThere,
    Participant,
    ParticipantLeft,
    Registry,
    Role,
    Session,
    UnknownChannel,
    peer_of,
    uuid_of_peer,
)

from ..auth import forbidden
from ..errors import ApiError
from ..store.records import session_record
from ..tokens import TokenBook
from .gate import MEETINGS, TAG, Gate
from .openapi import Call, operation
from .realtimekit import milliseconds, paging, session_item
from .realtimekit_models import (
    AddedAnswer,
    AddedParticipant,
    AddParticipant,
    CreateMeeting,
    Kick,
    KickedAllAnswer,
    KickedAllData,
    KickedAnswer,
    KickedData,
    KickedParticipant,
    MeetingAnswer,
    MeetingItem,
    MeetingQuery,
    MeetingsAnswer,
    RemovedAnswer,
    RemovedParticipant,
    SessionAnswer,
)
from .session_files import iso

TOKEN_LIFETIME_S = 24 * 3600.0
KEY_NAME = "participant "
"Begins the name of the key that comes with a stay; the peer id follows."
ROLES: tuple[tuple[str, Role], ...] = (("host", "host"), ("viewer", "viewer"))
"How a preset's name ends, and the role that it gives; any other gives that of a member."


class MeetingsApi:
    """Translates commands on meetings; holds no call logic."""

    def __init__(self, registry: Registry, tokens: TokenBook, gate: Gate, *, clock: Callable[[], float]) -> None:
        """`clock`: seconds since the epoch."""
        self._registry = registry
        self._tokens = tokens
        self._gate = gate
        self._clock = clock
        self._given: dict[tuple[str, int], str] = {}
        "Session and index of those who were given a token and are still there -> id of its key."
        registry.bus.follow(self._on_left, ParticipantLeft)

    async def start(self) -> None:
        """Know again which keys came with which stay, once sessions and keys are restored."""
        for tenant in self._tokens.tenants():
            for key in self._tokens.keys(tenant):
                peer = peer_of(key.name.removeprefix(KEY_NAME)) if key.name.startswith(KEY_NAME) else None
                if peer is None or key.revoked_at is not None:
                    continue
                session = self._registry.get(peer[0])
                stays = () if session is None or session.ended else session.present()
                if any(stay.index == peer[1] for stay in stays):
                    self._given[peer] = key.id
                else:
                    self._tokens.revoke(tenant, key.id)  # the stay ended with the process: it had a call

    @operation(
        "POST",
        MEETINGS,
        summary="Create a meeting",
        tag=TAG,
        permission="realtimekit.meeting.create",
        errors=(400, 404, 413, 429, 503),
        status=201,
    )
    async def create_meeting(self, call: Call, body: CreateMeeting) -> MeetingAnswer:
        """The token's user owns it, and is always a host of it."""
        self._gate.enter(call)
        owner = call.principal.user
        if owner is not None:
            self._registry.people.see(call.tenant, owner)
        channel = self._registry.rooms.create(call.tenant, body.title or "", owner=owner)
        return MeetingAnswer(data=_meeting(channel))

    @operation(
        "GET",
        MEETINGS,
        summary="Fetch all meetings for an App",
        tag=TAG,
        permission="realtimekit.meeting.list",
        errors=(400, 404, 429),
    )
    async def list_meetings(self, call: Call, query: MeetingQuery) -> MeetingsAnswer:
        """Those that the token has a role in, newest first."""
        self._gate.enter(call)
        since, until = milliseconds(query.start_time, up=True), milliseconds(query.end_time)
        text = (query.search or "").casefold()
        found = [
            channel
            for channel in self._registry.rooms.channels(call.tenant)
            if (not text or text in channel.name.casefold() or text == channel.id)
            and (since is None or _ms(channel.created_at) >= since)
            and (until is None or _ms(channel.created_at) <= until)
            and call.role_in(channel) is not None
        ]
        found.reverse()
        part = found[query.offset : query.offset + query.limit]
        place = paging(query.offset, len(part), len(found))
        return MeetingsAnswer(data=[_meeting(channel) for channel in part], paging=place)

    @operation(
        "GET",
        MEETINGS + "/{meeting_id}",
        summary="Fetch a meeting for an App",
        tag=TAG,
        permission="realtimekit.meeting.get",
        errors=(400, 404, 429),
    )
    async def get_meeting(self, call: Call) -> MeetingAnswer:
        """One meeting, also that of a session of another dialect that has no room of its own."""
        channel, _ = self._meeting(call)
        return MeetingAnswer(data=_meeting(channel))

    @operation(
        "POST",
        MEETINGS + "/{meeting_id}/participants",
        summary="Add a participant",
        tag=TAG,
        permission="realtimekit.meeting.join",
        errors=(400, 403, 404, 409, 413, 429, 503),
        status=201,
    )
    async def add_participant(self, call: Call, body: AddParticipant) -> AddedAnswer:
        """The user of `custom_participant_id` takes part from now on; only an admin's token adds anybody but its own.

        An admin is also given a token that acts for this user in this meeting, for a day or until the user leaves.
        """
        channel, session = self._meeting(call)
        user = call.act_for(body.custom_participant_id)
        role = _role(body.preset_name, call, channel, session)
        self._registry.people.see(call.tenant, user, display_name=body.name)
        if session is None:
            session = self._begin(call, channel, user if role == "host" else None)
        stay = session.join(
            user, display_name=body.name, custom_id=body.custom_participant_id, preset=body.preset_name, role=role
        )
        token = None
        if call.principal.kind == "admin":
            key, token = self._tokens.create(
                call.tenant,
                f"{KEY_NAME}{uuid_of_peer(session.id, stay.index)}",
                user=user,
                channel_roles={channel.id: role},
                expires_at=self._clock() + TOKEN_LIFETIME_S,
            )
            self._given[session.id, stay.index] = key.id
        return AddedAnswer(
            data=AddedParticipant(
                id=uuid_of_peer(session.id, stay.index),
                token=token,
                custom_participant_id=body.custom_participant_id,
                preset_name=body.preset_name,
                name=body.name,
                **_times(stay),
            )
        )

    @operation(
        "DELETE",
        MEETINGS + "/{meeting_id}/participants/{participant_id}",
        summary="Delete a participant",
        tag=TAG,
        permission="realtimekit.meeting.leave",
        errors=(400, 403, 404, 409, 429),
    )
    async def remove_participant(self, call: Call) -> RemovedAnswer:
        """Ends the stay, and the legs of that user alone. A host removes anybody, anybody else only itself."""
        channel, session = self._meeting(call)
        peer = peer_of(call.path["participant_id"])
        stay = None
        if peer is not None and session is not None and peer[0] == session.id:
            stay = next((stay for stay in session.present() if stay.index == peer[1]), None)
        if session is None or stay is None:
            raise NotThere("nobody of that id takes part")
        if stay.user != call.principal.user and call.require(session or channel) != "host":
            raise forbidden("only a host removes somebody else")
        session.leave(stay.user)
        return RemovedAnswer(
            data=RemovedParticipant(
                custom_participant_id=stay.custom_id or stay.user, preset_id=stay.preset or stay.role, **_times(stay)
            )
        )

    @operation(
        "GET",
        MEETINGS + "/{meeting_id}/active-session",
        summary="Fetch details of the active session of a meeting",
        tag=TAG,
        permission="realtimekit.meeting.active-session",
        errors=(400, 404, 429),
    )
    async def get_active_session(self, call: Call) -> SessionAnswer:
        """The present sitting; 404 while there is none."""
        session = self._active(call)
        item = session_item(session_record(session), call.path["app_id"], int(self._clock() * 1000))
        return SessionAnswer(data=item)

    @operation(
        "POST",
        MEETINGS + "/{meeting_id}/active-session/kick",
        summary="Kick participants from an active session",
        tag=TAG,
        permission="realtimekit.meeting.kick",
        errors=(400, 404, 409, 413, 429),
    )
    async def kick(self, call: Call, body: Kick) -> KickedAnswer:
        """Ends the stays of those named; 404 when none of them takes part."""
        session = self._active(call)
        peers, customs = set(body.participant_ids), set(body.custom_participant_ids)
        kicked = [
            stay
            for stay in session.present()
            if uuid_of_peer(session.id, stay.index) in peers or (stay.custom_id or stay.user) in customs
        ]
        if not kicked:
            raise NotThere("nobody of these ids takes part")
        for stay in kicked:
            session.leave(stay.user)
        return KickedAnswer(
            data=KickedData(
                participants=[
                    KickedParticipant(
                        id=uuid_of_peer(session.id, stay.index), name=stay.display_name or stay.user, **_times(stay)
                    )
                    for stay in kicked
                ]
            )
        )

    @operation(
        "POST",
        MEETINGS + "/{meeting_id}/active-session/kick-all",
        summary="Kick all participants",
        tag=TAG,
        permission="realtimekit.meeting.kick",
        errors=(400, 404, 409, 429),
    )
    async def kick_all(self, call: Call) -> KickedAllAnswer:
        """Ends the session and hangs up every leg of it."""
        session = self._active(call)
        kicked = len(session.present())
        await session.end(by=call.principal.user, cause="everybody was kicked")
        return KickedAllAnswer(data=KickedAllData(kicked_participants_count=kicked))

    # From a request to what it is about.

    def _meeting(self, call: Call) -> tuple[Channel, Session | None]:
        """The meeting of the path and its active session; 404 and 403 as the permission says."""
        self._gate.enter(call)
        meeting_id = call.path["meeting_id"].lower()
        rooms = self._registry.rooms
        channel = rooms.get(call.tenant, meeting_id)
        if channel is None:
            raise UnknownChannel("there is no meeting of that id")
        session = rooms.active_session(channel.id)
        user = call.principal.user
        call.require(channel, None if session is None or user is None else session.role_of(user))
        return channel, session

    def _active(self, call: Call) -> Session:
        _, session = self._meeting(call)
        if session is None:
            raise ApiError(404, "NO_ACTIVE_SESSION", "the meeting has no active session")
        return session

    def _begin(self, call: Call, channel: Channel, host: str | None) -> Session:
        rooms = self._registry.rooms
        if channel not in rooms.channels(call.tenant):
            rooms.put(channel)  # a session's own, which outlives it from now on
        session = self._registry.create(
            tenant=call.tenant,
            made_by="realtimekit",
            owner=call.principal.owner,
            name=channel.name,
            channel=channel,
        )
        session.host = host
        return session

    def _on_left(self, happening: Happening) -> None:
        """The token that came with a stay ends with it, whoever ends it."""
        key = self._given.pop((happening.session.id, happening.fields["participant"]), None)
        if key is not None:
            self._tokens.revoke(happening.session.tenant, key)


def _meeting(channel: Channel) -> MeetingItem:
    at = iso(_ms(channel.created_at))
    return MeetingItem(id=channel.id, title=channel.name, created_at=at, updated_at=at)


def _role(preset: str, call: Call, channel: Channel, session: Session | None) -> Role:
    """What a preset gives, but no more than the token has itself."""
    wanted: Role = next((role for ending, role in ROLES if preset.casefold().endswith(ending)), "member")
    roles = (call.role_in(channel), None if session is None else call.role_in(session))
    viewer: Role = "viewer"
    own = max((role for role in roles if role is not None), key=lambda role: RANKS[role], default=viewer)
    return wanted if RANKS[wanted] <= RANKS[own] else own


def _times(stay: Participant) -> dict[str, Any]:
    at = stay.joined_at if stay.left_at is None else stay.left_at
    return {"created_at": iso(_ms(stay.joined_at)), "updated_at": iso(_ms(at))}


def _ms(at: float) -> int:
    """Of an instant in seconds, as the records have it."""
    return round(at * 1000)
