"""What each command of the signalling channel does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from .channel_frames import (
    Accept,
    Answer,
    Candidate,
    ChannelError,
    Chat,
    Command,
    Dial,
    End,
    HangUpCall,
    HoldCall,
    Join,
    Leave,
    Mute,
    Offer,
    PressDigits,
    Reject,
    Resume,
    SessionCommand,
)
from .commands import HangUp
from .errors import AlreadyThere, BadRequest, LimitReached, NotThere, UnknownSession, WrongState
from .ids import session_id_of

if TYPE_CHECKING:
    from .channel import ChannelConnection, Stay
    from .rooms import Role
    from .routing import Principal
    from .session import Session


class Ask:
    """Something that the outside carries out by awaiting `run`, and brings back."""

    __slots__ = ("command", "request", "run", "stay")

    def __init__(
        self,
        run: Callable[[], Awaitable[Any]],
        *,
        command: str,
        request: str | None = None,
        stay: Stay | None = None,
    ) -> None:
        self.run = run
        self.command = command
        self.request = request
        self.stay = stay
        "Whose missed events are asked for."

    @property
    def paced(self) -> bool:
        """Whether it is to be brought back only when the client has read what it was sent."""
        return self.command == "events"


Result = Mapping[str, Any] | None
Handler = Callable[["ChannelConnection", Any], Result | Ask]


def _may(connection: ChannelConnection, command: str, session: Session | None = None) -> None:
    """SignallingError when the token may not do this."""
    assert connection.principal is not None
    connection.desk.authority.may(connection.principal, command, session)


def _find(connection: ChannelConnection, text: str) -> Session:
    """The session of an id in any form. UnknownSession, alike for what does not exist and what is another tenant's."""
    session_id = session_id_of(text)
    session = None if session_id is None else connection.desk.registry.get(session_id)
    assert connection.principal is not None
    if session is None or session.tenant != connection.principal.tenant:
        raise UnknownSession("there is no such session")
    return session


def _stay(connection: ChannelConnection, command: SessionCommand) -> Stay:
    """The part that a command is about, allowed by the token."""
    stays = connection.stays
    if command.session is not None:
        session = _find(connection, command.session)
        stay = stays.get(session.id)
        if stay is None:
            raise NotThere("this connection does not take part in the session")
    elif len(stays) == 1:
        (stay,) = stays.values()
    elif stays:
        raise BadRequest(f"session: name one, for this connection takes part in {len(stays)}")
    else:
        raise NotThere("this connection takes part in no session")
    _may(connection, command.type, stay.session)  # type: ignore[attr-defined]  # every command but the base has it
    return stay


def described(stay: Stay) -> dict[str, Any]:
    """What a client needs to know of the session that it takes part in."""
    session, participant = stay.session, stay.participant
    return {
        "session": session.id,
        "channel": session.channel_id,
        "name": session.channel_name,
        "status": session.status,
        "host": session.host,
        "participant": participant.index,
        "role": session.role_of(participant.user) or participant.role,
        "seq": session.last_seq,
        "participants": [
            {"participant": other.index, "user": other.user, "display_name": other.display_name, "role": other.role}
            for other in session.present()
        ],
    }


def join(connection: ChannelConnection, command: Join) -> Result:
    """Take part, or go on with a part that has no connection now."""
    desk, user, principal = connection.desk, connection.user, connection.principal
    assert principal is not None
    session = None if command.session is None else _find(connection, command.session)
    _may(connection, "join", session)
    if len(connection.stays) >= desk.limits.sessions:
        raise LimitReached(f"{desk.limits.sessions} sessions are the limit of a connection")
    known = desk.registry.people.see(principal.tenant, user)
    name = command.name or known.display_name
    if session is None:
        session = desk.registry.create(
            tenant=principal.tenant, made_by="channel", owner=principal.owner, name=command.title or ""
        )
        session.host = user
        participant = session.join(user, display_name=name, role="host")
        stay = desk.seat(connection, session, participant)
        stay.seen = 0
        return described(stay)
    if session.ended:
        raise WrongState("the session has ended")
    present = session.participant(user)
    if present is None:
        seen = session.last_seq
        participant = session.join(user, display_name=name, role=_role(principal, session, user))
    else:
        stay_before = desk.stay(session, user)
        if stay_before is not None and stay_before.connection is not None:
            raise AlreadyThere("the user takes part by another connection; resume the session to take it over")
        seen, participant = session.last_seq, present
    stay = desk.seat(connection, session, participant)
    stay.seen = seen
    return described(stay)


def _role(principal: Principal, session: Session, user: str) -> Role:
    """What a user who joins may do: as the session says, else as its token does."""
    roles = principal.roles
    return session.role_of(user) or roles.get(session.channel_id) or roles.get("*") or "member"


def resume(connection: ChannelConnection, command: Resume) -> Result:
    """Go on with a part on this connection: what came after `seq` is sent again."""
    desk, user = connection.desk, connection.user
    session = _find(connection, command.session)
    _may(connection, "resume", session)
    participant = session.participant(user)
    if command.seq > session.last_seq:
        raise BadRequest(f"seq: the last event of the session is {session.last_seq}")
    if participant is None:
        if session.ended and (mine := next((p for p in session.participants if p.user == user), None)) is not None:
            return connection.show_end(session, mine, command.seq)
        raise NotThere("the user no longer takes part: join again")
    stay = desk.seat(connection, session, participant)
    stay.seen = command.seq
    return described(stay)


def leave(connection: ChannelConnection, command: Leave) -> Result:
    """Take part no more."""
    stay = _stay(connection, command)
    stay.session.leave(connection.user)
    return {"session": stay.session.id}


def end(connection: ChannelConnection, command: End) -> Ask:
    """End the session for everybody."""
    if command.session is None:
        session = _stay(connection, command).session
    else:
        session = _find(connection, command.session)
        _may(connection, "end", session)
    if session.ended:
        raise WrongState("the session has ended")
    user = connection.user
    return _later(command, "end", lambda: session.end(by=user))


def chat(connection: ChannelConnection, command: Chat) -> Result:
    """Write to everybody."""
    message = _stay(connection, command).session.say(connection.user, command.text)
    return {"id": message.id, "index": message.index}


def hold(connection: ChannelConnection, command: HoldCall) -> Ask:
    """Put the call on hold, or let it go on."""
    session = _stay(connection, command).session
    return _later(command, "hold", session.hold if command.on else session.unhold)


def dtmf(connection: ChannelConnection, command: PressDigits) -> Result:
    """Send digits to the phones."""
    _stay(connection, command).session.press(connection.user, command.digits.upper())
    return None


def hangup(connection: ChannelConnection, command: HangUpCall) -> Result:
    """End the call alone."""
    session = _stay(connection, command).session
    if not session.has_task:
        raise WrongState("there is no call")
    session.post(HangUp("hung up over the channel"))
    return None


def not_yet(connection: ChannelConnection, command: Command) -> Result:
    """What needs the media of browsers."""
    name: str = command.type  # type: ignore[attr-defined]  # every command but the base has it
    _may(connection, name)
    raise ChannelError("NOT_SUPPORTED_YET", f"{name}: media over the channel is not there yet", status=501)


def _later(command: Command, name: str, run: Callable[[], Awaitable[None]]) -> Ask:
    return Ask(run, command=name, request=command.id)


HANDLERS: Mapping[type[Command], Handler] = {
    Join: join,
    Resume: resume,
    Leave: leave,
    End: end,
    Chat: chat,
    HoldCall: hold,
    PressDigits: dtmf,
    HangUpCall: hangup,
    Mute: not_yet,
    Offer: not_yet,
    Answer: not_yet,
    Candidate: not_yet,
    Dial: not_yet,
    Accept: not_yet,
    Reject: not_yet,
}
