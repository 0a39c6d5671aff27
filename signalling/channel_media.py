"""What the commands of the signalling channel do that are about media: offers, answers, calls."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sip import CallIntent, Rewrites

from .browser_calls import BrowserCall, BrowserInvite
from .channel_commands import Later, Result, described, may, stay_of
from .channel_frames import Accept, Answer, Candidate, Dial, Mute, Offer, Reject
from .commands import CallRecord
from .conversation import follow_hold
from .dialing import Plan, plan_for, plan_for_user
from .errors import BadRequest, ChannelError, LimitReached, NotAllowed, UnknownSession, WrongState
from .gathering import Summons, arrive, check_room, check_summons, summon
from .inbound import connect, serve
from .legs import Leg, MediaError, Role, media_for
from .routing import Principal, ToService

if TYPE_CHECKING:
    from .channel import ChannelConnection
    from .channel_desk import Stay
    from .people import User
    from .session import Session
    from .switch import Switch

LIKE_A_NUMBER = re.compile(r"[+0-9*#]+")


def mute(connection: ChannelConnection, command: Mute) -> Result:
    """Let the others hear the user no more, or again."""
    stay_of(connection, command).session.mute(connection.user, command.on)
    return None


def offer(connection: ChannelConnection, command: Offer) -> Result | Later:
    """Join with media, or change it."""
    stay = stay_of(connection, command)
    stay.session.must_be_active()
    call = stay.line.call
    if isinstance(call, BrowserInvite):
        raise WrongState("the call is not answered yet")
    if call is None:
        return {"session": stay.session.id, "sdp": _attach(connection, stay, command.sdp)}
    later = Later(connection, command)
    call.offer(command.sdp, later)
    return later


def answer(connection: ChannelConnection, command: Answer) -> Result:
    """Answer an offer of ours."""
    call = stay_of(connection, command).line.call
    if not isinstance(call, BrowserCall):
        raise WrongState("there is no offer to answer")
    call.answer(command.sdp)
    return None


def candidate(connection: ChannelConnection, command: Candidate) -> Result:
    """One more way to reach the browser, or the end of them."""
    stay_of(connection, command).line.add_candidate(command.candidate or None)
    return None


def accept(connection: ChannelConnection, command: Accept) -> Result:
    """Answer an incoming call: the user takes part from now on."""
    desk = connection.desk
    ringing = desk.ringing(connection, command.call)
    session = desk.registry.get(ringing.session_id)
    if session is None:
        raise UnknownSession("there is no such session")
    may(connection, "accept", session)
    desk.check_room(connection, session)
    user, seen = connection.user, session.last_seq
    before = desk.stay(session, user)
    if before is not None and before.line.call is not None:
        raise WrongState("the user has media in the session already")
    participant = session.participant(user)
    if participant is None:
        known = desk.registry.people.get(session.tenant, user)
        participant = session.join(user, display_name=None if known is None else known.display_name)
        ringing.on_surplus = lambda: _leave(session, user)
    stay = desk.seat(connection, session, participant)
    stay.seen = seen
    ringing.accept(stay.line, command.sdp)
    return described(stay)


def _leave(session: Session, user: str) -> None:
    if not session.ended and session.participant(user) is not None:
        session.leave(user)


def reject(connection: ChannelConnection, command: Reject) -> Result:
    """Refuse an incoming call."""
    ringing = connection.desk.ringing(connection, command.call)
    may(connection, "reject")
    ringing.reject(connection)
    return None


def call(connection: ChannelConnection, command: Dial) -> Result:
    """Call a party: in a session with media, or in a new one."""
    registry = connection.desk.registry
    switch, user, principal = registry.switch, connection.user, connection.principal
    assert principal is not None
    stay = None if command.session is None else stay_of(connection, command)
    may(connection, "call", None if stay is None else stay.session)
    if principal.tenant != switch.tenant:
        raise NotAllowed("the phones and trunks of this server are of another account")
    known = registry.people.see(principal.tenant, user)
    way = _way(switch, principal, known, command)
    intent, plan = way.intent, way.plan
    record = CallRecord(
        intent.caller, command.number, intent.caller_display_name, *registry.clocks(), trunk=command.trunk
    )
    if stay is not None:
        return _call_into(connection, stay, command, plan, record)
    if command.sdp is None:
        raise BadRequest("sdp: a call begins with an offer")
    connection.desk.check_room(connection)
    extension = _extension(switch, known)
    if extension is not None and switch.at_limit(extension):
        raise LimitReached("too many calls", retry_after_s=switch.limits.retry_after_s)
    session = registry.new_session(record, owner=principal.owner, made_by="channel", host=user)
    try:
        leg = _leg(session, switch, "caller", command.sdp, plan.codecs)
    except BaseException:  # whatever it was, a session without a task must not stay in the list
        registry.forget(session)
        raise
    switch.take_extension(leg, extension)
    leg.user = user
    session.legs.append(leg)
    if way.service is not None:
        service = way.service
        session.start(lambda s: serve(s, switch, leg, service))
    else:
        session.start(lambda s: connect(s, switch, leg, plan))
    stay = connection.desk.seat(connection, session, session.join(user, display_name=record.caller_display_name))
    leg.call = BrowserInvite(stay.line, leg.hear, command.sdp)
    stay.line.carry(leg.media)
    session.call_id = leg.call.call_id
    return described(stay)


def _call_into(connection: ChannelConnection, stay: Stay, command: Dial, plan: Plan, record: CallRecord) -> Result:
    """Have a party join the session that the user is in."""
    session, sdp = stay.session, None
    session.must_be_active()
    if not plan.stages:
        raise BadRequest("number: a service answers in a session of its own alone")
    check_summons(session, 1 if stay.line.call is not None else 2)
    if stay.line.call is None:
        if command.sdp is None:
            raise BadRequest("sdp: a call begins with an offer, where there is no media yet")
        sdp = _attach(connection, stay, command.sdp)
    summon(session, Summons(plan), record)
    result = described(stay)
    return result if sdp is None else {**result, "sdp": sdp}


def _attach(connection: ChannelConnection, stay: Stay, sdp: str) -> str:
    """Give the user media in the session; the answer to its offer. ChannelError when the offer is of no use."""
    session, switch = stay.session, connection.desk.registry.switch
    check_room(session)
    leg = _leg(session, switch, "guest", sdp)
    try:
        answered = leg.media.create_answer(None, follow_hold(session, leg))
    except MediaError as error:
        leg.hang_up(488, str(error))
        raise _refused(error) from error
    leg.begin(BrowserCall(stay.line, leg.hear), stay.participant)
    stay.line.carry(leg.media)
    arrive(session, switch, leg)
    return answered


def _leg(session: Session, switch: Switch, role: Role, sdp: str, codecs: tuple[str, ...] = ()) -> Leg:
    """A leg that has taken the browser's offer. ChannelError, LimitReached."""
    try:
        media = media_for(switch.media, bypass=False, codecs=codecs, webrtc=True)
    except MediaError as error:
        raise LimitReached(str(error), retry_after_s=switch.limits.retry_after_s) from error
    try:
        media.receive_offer(sdp)
    except MediaError as error:
        media.close()
        raise _refused(error) from error
    leg = Leg(role, sip=switch.sip, media=media, owner=session)
    leg.on_close = switch.on_close
    return leg


def _refused(error: MediaError) -> ChannelError:
    return ChannelError("MEDIA_REFUSED", str(error), status=error.status)


# Whom to call, and as whom.


@dataclass(frozen=True, slots=True)
class _Way:
    """How a party is reached, and as what the call shows there."""

    intent: CallIntent
    plan: Plan
    service: str | None = None


def _way(switch: Switch, principal: Principal, known: User, command: Dial) -> _Way:
    """Where a number leads for this user. SignallingError."""
    number = command.number
    caller, rewrites = _caller_id(switch, principal, known, command)
    try:
        intent = CallIntent(
            caller=caller,
            callee=number,
            caller_display_name=command.name or known.display_name,
            rewrites=rewrites,
            rewrites_trunk=command.trunk,
        )
    except ValueError as error:
        raise BadRequest(str(error)) from error

    local = number in switch.plan.extensions or number in switch.plan.services
    if not local and not LIKE_A_NUMBER.fullmatch(number):
        called = _user_called(switch, principal.tenant, number)
        if called is not None:
            return _Way(intent, plan_for_user(called, intent))
    patterns = [pattern for own in _extensions(switch, known) for pattern in switch.plan.extensions[own].patterns]
    dialler = replace(principal, patterns=(*principal.patterns, *patterns))
    decision = switch.plan.decide(number, dialler, trunk=command.trunk)
    plan = plan_for(switch, decision, intent)
    service = decision.service if isinstance(decision, ToService) else None
    return _Way(intent, replace(plan, bypass=False), service)  # not past us: nobody else speaks a browser's SRTP


def _user_called(switch: Switch, tenant: str, name: str) -> str | None:
    """The id of the connected user who is called by id, else by handle; None when there is none. BadRequest."""
    if switch.browsers.reaches(tenant, name):
        return name
    if switch.people.get(tenant, name) is not None:  # an id is never taken for somebody else's handle
        return None
    found = switch.people.by_handle(tenant, name)
    if len(found) > 1:
        raise BadRequest(f"number: {len(found)} users have the handle {name!r}; give an id")
    return next((user.id for user in found if switch.browsers.reaches(tenant, user.id)), None)


def _caller_id(switch: Switch, principal: Principal, known: User, command: Dial) -> tuple[str, Rewrites | None]:
    """As whom the user calls: by a number of its own, or through a named trunk by any (as rewrite_from, D7)."""
    own = _extensions(switch, known)
    caller = own[0] if own else known.id
    wanted = command.caller
    if wanted is None or wanted == caller:
        return caller, None
    if wanted in own or wanted == known.phone:
        return wanted, None
    if command.trunk is None:
        raise NotAllowed("caller: no number of the user's own, and no trunk is named")
    if len(wanted) > 16:
        raise BadRequest("caller: up to 16 characters")
    return caller, Rewrites(wanted, wanted, wanted)


def _extensions(switch: Switch, known: User) -> list[str]:
    return [number for number in known.extensions if number in switch.plan.extensions]


def _extension(switch: Switch, known: User) -> str | None:
    """The extension whose call it counts as."""
    own = _extensions(switch, known)
    return own[0] if own else None
