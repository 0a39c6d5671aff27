"""What the commands of the signalling channel do: taking part, and all but media."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from .channel_frames import (
    Chat,
    Command,
    End,
    HangUpCall,
    HoldCall,
    Join,
    Leave,
    PressDigits,
    Resume,
    SessionCommand,
)
from .commands import HangUp
from .errors import (
    AlreadyThere,
    BadRequest,
    ChannelError,
    NotThere,
    SignallingError,
    UnknownSession,
    WrongState,
)
from .ids import session_id_of

if TYPE_CHECKING:
    from .channel import ChannelConnection
    from .channel_desk import Stay
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


class Later:
    """A command whose result comes when the flow of the session has carried it out (browser_calls.Reply)."""

    __slots__ = ("_command", "_connection")

    def __init__(self, connection: ChannelConnection, command: Command) -> None:
        self._connection = connection
        self._command = command

    def result(self, result: Mapping[str, Any]) -> None:
        """It was carried out."""
        name: str = self._command.type  # type: ignore[attr-defined]  # every command but the base has it
        self._connection.tell_result(name, self._command.id, result)
        self._connection.wake()

    def fail(self, error: SignallingError) -> None:
        """It was not."""
        self._connection.tell_error(self._command.id, error)
        self._connection.wake()


Result = Mapping[str, Any] | None
Handler = Callable[["ChannelConnection", Any], Result | Ask | Later]


def may(connection: ChannelConnection, command: str, session: Session | None = None) -> None:
    """SignallingError when the token may not do this."""
    assert connection.principal is not None
    connection.desk.authority.may(connection.principal, command, session)


def find(connection: ChannelConnection, text: str) -> Session:
    """The session of an id in any form. UnknownSession, alike for what does not exist and what is another tenant's."""
    session_id = session_id_of(text)
    session = None if session_id is None else connection.desk.registry.get(session_id)
    assert connection.principal is not None
    if session is None or session.tenant != connection.principal.tenant:
        raise UnknownSession("there is no such session")
    return session


def stay_of(connection: ChannelConnection, command: SessionCommand) -> Stay:
    """The part that a command is about, allowed by the token."""
    stays = connection.stays
    if command.session is not None:
        session = find(connection, command.session)
        stay = stays.get(session.id)
        if stay is None:
            raise NotThere("this connection does not take part in the session")
    elif len(stays) == 1:
        (stay,) = stays.values()
    elif stays:
        raise BadRequest(f"session: name one, for this connection takes part in {len(stays)}")
    else:
        raise NotThere("this connection takes part in no session")
    may(connection, command.type, stay.session)  # type: ignore[attr-defined]  # every command but the base has it
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
        "media": stay.line.call is not None,
        "participants": [
            {
                "participant": other.index,
                "user": other.user,
                "display_name": other.display_name,
                "role": other.role,
                "muted": other.muted,
            }
            for other in session.present()
        ],
    }


def join(connection: ChannelConnection, command: Join) -> Result:
    """Take part, or go on with a part that has no connection now."""
    desk, user, principal = connection.desk, connection.user, connection.principal
    assert principal is not None
    session = None if command.session is None else find(connection, command.session)
    may(connection, "join", session)
    desk.check_room(connection, session)
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
    role = _role(principal, session, user)
    if role is None and session.kind == "call" and principal.kind != "admin":
        raise ChannelError("FORBIDDEN", "only who has a role in a call may join it", status=403)
    present = session.participant(user)
    if present is None:
        seen = session.last_seq
        participant = session.join(user, display_name=name, role=role or "member")
    else:
        stay_before = desk.stay(session, user)
        if stay_before is not None and stay_before.connection is not None:
            raise AlreadyThere("the user takes part by another connection; resume the session to take it over")
        seen, participant = session.last_seq, present
    stay = desk.seat(connection, session, participant)
    stay.seen = seen
    return described(stay)


def _role(principal: Principal, session: Session, user: str) -> Role | None:
    """What a user who joins may do: as the session says, else as its token does, if either does."""
    roles = principal.roles
    return session.role_of(user) or roles.get(session.channel_id) or roles.get("*")


def resume(connection: ChannelConnection, command: Resume) -> Result:
    """Go on with a part on this connection: what came after `seq` is sent again."""
    desk, user = connection.desk, connection.user
    session = find(connection, command.session)
    may(connection, "resume", session)
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
    """Take part no more, and hang up."""
    stay = stay_of(connection, command)
    if stay.line.call is not None:
        stay.line.call.hang_up()
    stay.session.leave(connection.user)
    return {"session": stay.session.id}


def end(connection: ChannelConnection, command: End) -> Ask:
    """End the session for everybody."""
    if command.session is None:
        session = stay_of(connection, command).session
    else:
        session = find(connection, command.session)
        may(connection, "end", session)
    if session.ended:
        raise WrongState("the session has ended")
    user = connection.user
    return _later(command, "end", lambda: session.end(by=user))


def chat(connection: ChannelConnection, command: Chat) -> Result:
    """Write to everybody."""
    message = stay_of(connection, command).session.say(connection.user, command.text)
    return {"id": message.id, "index": message.index}


def hold(connection: ChannelConnection, command: HoldCall) -> Ask:
    """Put the call on hold, or let it go on."""
    session = stay_of(connection, command).session
    return _later(command, "hold", session.hold if command.on else session.unhold)


def dtmf(connection: ChannelConnection, command: PressDigits) -> Result:
    """Send digits to the phones."""
    stay_of(connection, command).session.press(connection.user, command.digits.upper())
    return None


def hangup(connection: ChannelConnection, command: HangUpCall) -> Result:
    """End the user's own media, and by it a call of two; where it has none, the call of the session."""
    stay = stay_of(connection, command)
    if stay.line.call is not None:
        stay.line.call.hang_up()
    elif stay.session.in_call:
        stay.session.post(HangUp("hung up over the channel"))
    else:
        raise WrongState("there is no call")
    return None


def _later(command: Command, name: str, run: Callable[[], Awaitable[None]]) -> Ask:
    return Ask(run, command=name, request=command.id)
