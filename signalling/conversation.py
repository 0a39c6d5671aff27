"""Two answered legs and what crosses between them: hold and resume, codec changes, INFO, the end.

A change that one phone asks for by re-INVITE goes to the other phone as an offer of ours, and the first one gets its
answer after the second has answered (RFC 3725's way for a B2BUA). What concerns one leg alone, such as a refresh of
the session or a new address behind the same media, is answered at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sip import (
    CallStateError,
    Cancelled,
    Confirmed,
    Ended,
    ReinviteAnswered,
    ReinviteCancelled,
    ReinviteFailed,
    ReinviteReceived,
    RequestAnswered,
    RequestReceived,
    info_to_cross,
    reason_to_cross,
)

from .browser_calls import LineBack, LineLost
from .commands import Finished, Hold, LegEvent, LegsDropped
from .errors import WrongState
from .events import Dtmf, LegHeld, LegResumed
from .info import RELAY_TYPE, TooManyWaiting, body_of, digit_of
from .legs import DigitPressed, Leg, MediaError, MediaLeg, MediaTimedOut, PassThrough, media_for
from .session import Session, SessionFlow

if TYPE_CHECKING:
    from .switch import Switch


class Conversation:
    """Runs inside the session's task from the moment both legs have answered; `then` once a third one has joined."""

    __slots__ = ("_asked", "_legs", "_session", "_switch", "_then", "_withdrawn")

    def __init__(
        self, session: Session, switch: Switch, caller: Leg, callee: Leg, then: Callable[[Switch], SessionFlow]
    ) -> None:
        self._session = session
        self._switch = switch
        self._legs = (caller, callee)
        self._then = then
        self._asked: dict[Leg, Leg | None] = {}
        "A leg that we sent a re-INVITE to -> the leg whose re-INVITE waits for it, or None if a command did."
        self._withdrawn: set[Leg] = set()
        "Of these, those whose re-INVITE was cancelled: a 2xx may cross the CANCEL."

    async def run(self, session: Session) -> SessionFlow:
        """Until a leg ends; then raises Finished. When a participant leaves, the other one stays, alone."""
        try:
            while len(session.legs) < 3:
                self._take(await session.next())  # and keep nothing of it while waiting for the next
            self._refuse_waiting()
        except LegsDropped as dropped:
            await stay_alone(session, self._switch, dropped)
        return self._then(self._switch)

    def _take(self, item: LegEvent | Hold | None) -> None:
        if isinstance(item, Hold):
            self._hold(item)
        elif item is not None:
            self._handle(item)

    def _other(self, leg: Leg) -> Leg:
        return self._legs[1] if leg is self._legs[0] else self._legs[0]

    def _handle(self, item: LegEvent) -> None:
        leg, event = item.leg, item.event
        if isinstance(event, ReinviteReceived):
            self._on_reinvite(leg, event)
        elif isinstance(event, ReinviteAnswered):
            self._on_answer(leg, event)
        elif isinstance(event, ReinviteFailed):
            self._on_refusal(leg, event)
        elif isinstance(event, ReinviteCancelled):
            self._on_withdrawal(leg)
        elif isinstance(event, Confirmed):
            self._on_confirmed(leg, event)
        elif isinstance(event, RequestReceived):
            self._pass_on(leg, event)
        elif isinstance(event, LineLost):
            leg.lose()
            self._join()
        elif isinstance(event, LineBack):
            self._asked[leg] = None
            bring_back(self._session, self._switch, leg, self._other(leg).media)
        else:
            if isinstance(event, DigitPressed):
                self._pass_digit(leg, event)
            note_or_raise(self._session, leg, event)

    def _join(self) -> None:
        """Both hear each other, or the one who is there that the other may come back."""
        there = [leg for leg in self._legs if not leg.away]
        if len(there) == 2:
            self._switch.bridge(*there)
        elif there:
            self._switch.media.comfort(there[0].media)

    def _refuse_waiting(self) -> None:
        """A third party is here: from now on each leg is answered for itself."""
        for origin in self._asked.values():
            if origin is not None and origin.established is not None:
                origin.media.rollback()
                origin.established.reject_reinvite(self._switch.sip.now(), 491)
        self._asked.clear()
        self._switch.sip.pump()

    # Re-INVITE of a phone.

    def _on_reinvite(self, leg: Leg, event: ReinviteReceived) -> None:
        other = self._other(leg)
        now = self._switch.sip.now()
        call = event.call
        if self._session.paused_at is not None and event.sdp is not None:
            call.reject_reinvite(now, 488)  # nothing changes in a paused session; 488 leaves the call as it is
        elif self._asked or other.established is None:
            call.reject_reinvite(now, 491)
        elif event.sdp is None:
            call.accept_reinvite(now, leg.media.create_offer(other.media, follow_hold(self._session, leg)))
        else:
            before = _shape(leg)
            try:
                leg.media.receive_offer(event.sdp)
                if _shape(leg) == before and not isinstance(leg.media, PassThrough):
                    call.accept_reinvite(now, leg.media.create_answer(other.media, follow_hold(self._session, leg)))
                else:
                    self._ask(other, leg, other.media.create_offer(leg.media, follow_hold(self._session, other)))
            except MediaError as error:
                leg.media.rollback()
                call.reject_reinvite(now, error.status)
            except CallStateError:
                leg.media.rollback()
                other.media.rollback()
                call.reject_reinvite(now, 491)
        self._switch.sip.pump()

    def _ask(self, leg: Leg, origin: Leg | None, offer: str) -> None:
        """Send a re-INVITE on behalf of `origin`, or of a command. Raises CallStateError."""
        call = leg.established
        assert call is not None
        call.reinvite(self._switch.sip.now(), offer)
        self._asked[leg] = origin

    def _on_answer(self, leg: Leg, event: ReinviteAnswered) -> None:
        origin = self._asked.pop(leg, None)
        now = self._switch.sip.now()
        try:
            if event.sdp is None:
                raise MediaError("the answer to the re-INVITE carries no SDP")
            leg.media.receive_answer(event.sdp)
            if leg in self._withdrawn:
                self._withdrawn.discard(leg)
                self._ask(leg, None, leg.media.create_offer(self._other(leg).media, follow_hold(self._session, leg)))
            if leg.away:
                leg.is_back()
                self._join()
            if origin is not None and origin.established is not None:
                before = origin.on_hold
                answer = origin.media.create_answer(leg.media, follow_hold(self._session, origin))
                origin.established.accept_reinvite(now, answer)
                origin.on_hold = origin.media.on_hold
                self._tell_hold(origin, before)
        except (MediaError, CallStateError) as error:
            self._session.note(f"a change of media failed: {error}")
            leg.media.rollback()
            if origin is not None and origin.established is not None:
                origin.media.rollback()
                origin.established.reject_reinvite(now, error.status if isinstance(error, MediaError) else 491)
        self._switch.sip.pump()

    def _tell_hold(self, leg: Leg, before: bool) -> None:
        if leg.on_hold != before:
            kind = LegHeld if leg.on_hold else LegResumed
            self._session.emit(kind, leg=leg.role, by="phone")

    def _on_refusal(self, leg: Leg, event: ReinviteFailed) -> None:
        origin = self._asked.pop(leg, None)
        self._withdrawn.discard(leg)
        leg.media.rollback()
        if origin is not None and origin.established is not None:
            origin.media.rollback()
            status = event.status if event.status in (488, 491, 500, 503, 606) else 488
            origin.established.reject_reinvite(self._switch.sip.now(), status)
            self._switch.sip.pump()

    def _on_withdrawal(self, leg: Leg) -> None:
        """The phone took its re-INVITE back: so do we."""
        leg.media.rollback()
        for asked, origin in self._asked.items():
            if origin is leg and asked.established is not None:
                self._asked[asked] = None
                self._withdrawn.add(asked)
                asked.established.cancel_reinvite(self._switch.sip.now())
        self._switch.sip.pump()

    def _on_confirmed(self, leg: Leg, event: Confirmed) -> None:
        """The ACK carried the answer to our offer: the other leg may have to follow."""
        if event.sdp is None:
            return
        other = self._other(leg)
        try:
            leg.media.receive_answer(event.sdp)
            if other.needs_ack and other.established is not None:
                other.needs_ack = False
                other.established.ack(self._switch.sip.now(), other.media.create_answer(leg.media))
            elif not isinstance(leg.media, PassThrough) and _shape(leg) != _shape(other) and not self._asked:
                self._ask(other, None, other.media.create_offer(leg.media, follow_hold(self._session, other)))
        except (MediaError, CallStateError) as error:
            self._session.note(f"the answer in the ACK could not be followed: {error}")
        self._switch.sip.pump()

    # Hold by command.

    def _hold(self, command: Hold) -> None:
        wrong = None
        if same_hold(self._session, command):
            return
        if any(isinstance(leg.media, PassThrough) for leg in self._legs):
            wrong = "its media is bypassed"
        elif self._asked or any(leg.established is None or not leg.established.can_reinvite for leg in self._legs):
            wrong = "a change of media is under way"
        if wrong is not None:
            command.done.set_exception(WrongState(f"the session cannot change its hold: {wrong}"))
            return
        self._session.held = command.on
        for leg in self._legs:
            direction = follow_hold(self._session, leg) or "sendrecv"
            self._ask(leg, None, leg.media.create_offer(self._other(leg).media, direction))
        self._switch.sip.pump()
        if not command.done.done():
            command.done.set_result(None)

    # INFO, and digits.

    def _pass_on(self, leg: Leg, event: RequestReceived) -> None:
        other = self._other(leg)
        now = self._switch.sip.now()
        content = info_to_cross(event.request)
        if self._session.paused_at is not None:
            event.respond(now, 403)
        elif content is None:
            event.respond(now, 415)
        elif (digit := digit_of(*content)) is not None and _say(other, *digit):
            event.respond(now, 200)
        else:
            try:
                other.send_info(*content, event)
            except TooManyWaiting:
                event.respond(now, 500)
            except CallStateError:
                event.respond(now, 481)
        note_digit(self._session, leg, event)
        self._switch.sip.pump()

    def _pass_digit(self, leg: Leg, event: DigitPressed) -> None:
        """A telephone-event: relayed with the other packets, or said by INFO to a party that takes none."""
        other = self._other(leg)
        if other.takes_events or self._session.paused_at is not None:
            return
        try:
            other.send_info(RELAY_TYPE, body_of(event.digit, event.duration_ms))
        except CallStateError as error:
            self._session.note(f"a digit was lost: {error}")


def _say(leg: Leg, digit: str, duration_ms: int) -> bool:
    """Say a digit in the media of a leg, if it has telephone-event and may be sent to now."""
    try:
        leg.media.send_dtmf(digit, duration_ms)
    except (MediaError, ValueError):  # on hold, or too many waiting
        return False
    return True


def _shape(leg: Leg) -> tuple[object, ...]:
    """What of a leg's media concerns the other leg: codecs in their order, and the directions."""
    video = leg.media.video
    names = tuple(codec.name for codec in leg.media.codecs)
    return (names, leg.media.remote_direction, video.direction if video is not None else "inactive")


def note_or_raise(session: Session, leg: Leg, event: object) -> None:
    """What needs no partner: digits are noted; raises Finished when the event ends the leg."""
    if isinstance(event, DigitPressed):
        session.emit(Dtmf, leg=leg.role, digit=event.digit, duration_ms=event.duration_ms)
    elif isinstance(event, RequestAnswered):
        leg.info_answered(event.status)
    elif isinstance(event, Ended):
        leg.gone()
        status = {"timeout": 408, "transport": 503}.get(event.by, 200)
        cause = {"timeout": "no answer to a request", "transport": "connection lost"}.get(event.by, "hung up")
        raise Finished(cause, by=leg.role, status=status, header=reason_to_cross(event.reason))
    elif isinstance(event, MediaTimedOut):
        raise Finished(event.reason, by="server", status=408)
    elif isinstance(event, Cancelled):
        leg.gone()
        raise Finished("cancelled", by=leg.role, status=487, header=reason_to_cross(event.reason))


def note_digit(session: Session, leg: Leg, event: RequestReceived) -> None:
    """Tell of the digit that an INFO says, if it says one."""
    content = info_to_cross(event.request)
    if content is not None and (said := digit_of(*content)) is not None:
        session.emit(Dtmf, leg=leg.role, digit=said[0], duration_ms=said[1])


def same_hold(session: Session, command: Hold) -> bool:
    """Whether the session is on hold, or not, as a command wants it; who gave it is told then."""
    if command.on != session.held:
        return False
    if command.again:
        command.done.set_result(None)
    else:
        wrong = "already on hold" if command.on else "not on hold"
        command.done.set_exception(WrongState(f"the session cannot change its hold: {wrong}"))
    return True


def follow_hold(session: Session, leg: Leg) -> str | None:
    """The direction to describe to a leg, while the session is on hold; None else: the leg may have any."""
    if leg.held != session.held:
        leg.held = session.held
        session.emit(LegHeld if leg.held else LegResumed, leg=leg.role, by="command")
    return "sendonly" if leg.held else None


def bring_back(session: Session, switch: Switch, leg: Leg, like: MediaLeg | None = None) -> None:
    """A browser is here again, perhaps as another page: offer it fresh media. Finished when there is none to be had."""
    try:
        media = media_for(switch.media, bypass=False, webrtc=True)
    except MediaError as error:
        raise Finished(str(error), by="server", status=error.status) from error
    try:
        leg.renew(media, media.create_offer(like or leg.media, follow_hold(session, leg)))  # alone: what it had before
    except (MediaError, CallStateError) as error:
        media.close()
        session.note(f"the browser could not be brought back: {error}")


async def stay_alone(session: Session, switch: Switch, dropped: LegsDropped) -> None:
    """One of two legs was ended because its participant left; until the other one ends too, which raises Finished.

    Returns when another one has joined.
    """
    while True:
        for leg in dropped.legs:
            leg.keep_stats()
            leg.hang_up(200, dropped.cause)
            if leg in session.legs:
                session.legs.remove(leg)
        if not session.legs:
            raise Finished("everybody left", by="command")
        try:
            while True:
                item = await session.next()
                if item is not None:
                    handle_alone(session, switch, item)
                if len(session.legs) > 1:
                    return
        except LegsDropped as also:
            dropped = also


def _hold_alone(session: Session, switch: Switch, command: Hold) -> None:
    """Stop or start the media of whatever legs have been answered."""
    if same_hold(session, command):
        return
    legs = [leg for leg in session.legs if leg.established is not None]
    if not legs or session.call.answered is None or any(isinstance(leg.media, PassThrough) for leg in legs):
        command.done.set_exception(WrongState("the session is not answered yet"))
        return
    if any(leg.established is None or not leg.established.can_reinvite for leg in legs):
        command.done.set_exception(WrongState("a change of media is under way"))
        return
    session.held = command.on
    for leg in legs:
        assert leg.established is not None, "chosen for it"
        direction = follow_hold(session, leg) or "sendrecv"
        leg.established.reinvite(switch.sip.now(), leg.media.create_offer(None, direction))
    command.done.set_result(None)
    switch.sip.pump()


def handle_alone(session: Session, switch: Switch, item: LegEvent | Hold) -> None:
    """An event of an answered leg that has no partner (yet): its re-INVITEs are answered for ourselves."""
    if isinstance(item, Hold):
        _hold_alone(session, switch, item)
        return
    leg, event = item.leg, item.event
    now = switch.sip.now()
    if isinstance(event, ReinviteReceived):
        try:
            if event.sdp is None:
                event.call.accept_reinvite(now, leg.media.create_offer(None, follow_hold(session, leg)))
            else:
                leg.media.receive_offer(event.sdp)
                event.call.accept_reinvite(now, leg.media.create_answer(None, follow_hold(session, leg)))
        except MediaError as error:
            leg.media.rollback()
            event.call.reject_reinvite(now, error.status)
        switch.sip.pump()
    elif isinstance(event, ReinviteAnswered | ReinviteFailed):
        _settle_alone(session, leg, event)
    elif isinstance(event, LineLost):
        leg.lose()
    elif isinstance(event, LineBack):
        bring_back(session, switch, leg)
    elif isinstance(event, Confirmed) and event.sdp is not None:
        try:
            leg.media.receive_answer(event.sdp)
        except MediaError as error:
            raise Finished(f"the answer in the ACK is of no use: {error}", by="server", status=488) from error
    elif isinstance(event, RequestReceived):
        event.respond(now, 200)
        note_digit(session, leg, event)
        switch.sip.pump()
    else:
        note_or_raise(session, leg, event)


def _settle_alone(session: Session, leg: Leg, event: ReinviteAnswered | ReinviteFailed) -> None:
    """The party answered a re-INVITE of ours that concerned no other leg."""
    sdp = event.sdp if isinstance(event, ReinviteAnswered) else None
    try:
        if sdp is None:
            raise MediaError("refused, or without an answer")
        leg.media.receive_answer(sdp)
        if leg.away:
            leg.is_back()
    except MediaError as error:
        session.note(f"a change of media failed: {error}")
        leg.media.rollback()
