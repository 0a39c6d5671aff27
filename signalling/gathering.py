"""Any number of legs that hear each other: two are bridged, more are mixed, and each is negotiated for itself.

Browsers that join a session with media make one, and so does a call that a third party joins. From here, too, phones
are called into a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sip import CallStateError, RequestReceived

from .commands import CallRecord, Finished, Hold, LegEvent, LegsDropped
from .conversation import Conversation, follow_hold, handle_alone, same_hold
from .dialing import DialFailed, Dialling, Plan, bridged, seat
from .errors import WrongState
from .info import said_by
from .legs import DigitPressed, Joined, Leg, MediaError, MediaLeg, Mix, PassThrough, Role
from .session import Session, SessionFlow

if TYPE_CHECKING:
    from .switch import Switch

MAX_LEGS = 64  # of one session; beyond that who takes part listens to nobody in particular


@dataclass(frozen=True, slots=True)
class Summons:
    """Somebody is to be called into the session; the record is the session's open call."""

    plan: Plan
    caller: Plan | None = None
    "Who is rung before, and joins, too; None when the caller is here already."
    late_offer: bool = False
    "The caller's INVITE carries no SDP."


def converse(session: Session, switch: Switch, caller: Leg, callee: Leg) -> SessionFlow:
    """Flow: two parties talk, and whoever joins them. Raises Finished."""
    return Conversation(session, switch, caller, callee, gather).run


def gather(switch: Switch) -> SessionFlow:
    """Flow: all legs of the session hear each other, until there is nobody to talk to. Raises Finished."""
    return lambda session: Gathering(session, switch).run()


def arrive(session: Session, switch: Switch, leg: Leg) -> None:
    """A participant joins with media: the flow that runs takes the leg in, else a gathering begins."""
    session.legs.append(leg)
    if session.has_task:
        leg.hear(Joined())
    else:
        session.start(gather(switch))


def check_summons(session: Session, more: int) -> None:
    """Whether a call can be made into a session, which takes so many legs. WrongState."""
    if session.in_call:
        raise WrongState("a call is going on")
    check_room(session, more)


def summon(session: Session, summons: Summons, record: CallRecord) -> None:
    """Make a call into a session where media flows. WrongState as `check_summons`."""
    check_summons(session, 1 if summons.caller is None else 2)
    session.calls.append(record)
    session.legs[0].hear(summons)


def check_room(session: Session, more: int = 1) -> None:
    """Whether so many legs can join. WrongState."""
    if len(session.legs) + more > MAX_LEGS:
        raise WrongState(f"{MAX_LEGS} parties are the limit of a session")
    if any(isinstance(leg.media, PassThrough) for leg in session.legs):
        raise WrongState("the media of the call is bypassed")


class Gathering:
    """Runs inside the session's task."""

    def __init__(self, session: Session, switch: Switch) -> None:
        self._session = session
        self._switch = switch
        self._mix: Mix | None = None
        self._mixed: list[MediaLeg] = []
        self._ringing = False
        called = session.kind == "room" and session.in_call
        self._of_call = [leg for leg in session.legs if leg.role != "guest"] if called else []
        "With one of these the open call ends; in a session that a call made, the call ends with the session."

    async def run(self) -> None:
        """Until too few are left; then raises Finished."""
        self._settle()
        while True:
            try:
                item = await self._session.next()
                if isinstance(item, LegEvent) and isinstance(item.event, Summons):
                    await self._summon(item.event)
                elif item is not None:
                    self.handle(item)
            except LegsDropped as dropped:
                self.drop(dropped)

    # While a phone is rung, too (dialing.Others).

    def handle(self, item: LegEvent | Hold) -> None:
        """What a leg reports, or a command. Raises Finished when too few are left, DialFailed as `_settle`."""
        if isinstance(item, Hold):
            self._hold(item)
            return
        try:
            handle_alone(self._session, self._switch, item)
        except Finished as end:  # of that leg alone
            self._end(item.leg, end)
        self._pass_digit(item)
        self._settle()

    def _pass_digit(self, item: LegEvent) -> None:
        """A digit is for all others; between two the media relays telephone-events, a mix says none by itself."""
        event = item.event
        said = None
        if isinstance(event, DigitPressed):
            said = event.digit
        elif isinstance(event, RequestReceived):
            said = said_by(event.request)
        if said is None or self._session.paused_at is not None:
            return
        relayed = isinstance(event, DigitPressed) and self._mix is None
        for other in self._session.legs:
            if other is item.leg or other.away or other.established is None or (relayed and other.takes_events):
                continue
            try:
                other.press(said)
            except MediaError as error:
                self._session.note(f"a digit was lost: {error}")

    def drop(self, dropped: LegsDropped) -> None:
        """The participant of these legs left. Raises as `handle`."""
        for leg in dropped.legs:
            self._end(leg, dropped)
        self._settle()

    def _end(self, leg: Leg, end: Finished) -> None:
        session = self._session
        session.depart(leg, end.status, end.cause, end.header)
        if leg in self._of_call:
            self._of_call = []
            session.close_call(end)
        self._go_on(end)

    def _go_on(self, end: Finished) -> None:
        """Raise Finished when too few are left."""
        session, legs = self._session, self._session.legs
        if len(legs) < 2 and (session.kind == "call" or not any(other.is_browser for other in legs)):
            raise Finished(end.cause, by=end.by, status=end.status, header=end.header)

    def _settle(self) -> None:
        """Let those who are here now hear each other, unless the session is on hold.

        Raises DialFailed when a callee is rung whose caller is gone.
        """
        self._arrange()
        self._follow_hold()
        if self._ringing and not self._session.in_call:
            raise DialFailed(487, "the caller gave up", retryable=False)

    def _arrange(self) -> None:
        """Join whoever is here now."""
        legs = [leg for leg in self._session.legs if leg.established is not None]
        here = [leg for leg in legs if not leg.away]
        try:
            if len(here) > 2:
                self._blend([leg.media for leg in here])
                return
            if self._mix is not None:
                self._mix.close()
                self._mix, self._mixed = None, []
            if len(here) == 2:
                self._switch.bridge(*here)
            elif here and len(legs) > 1:
                self._switch.media.comfort(here[0].media)
        except MediaError as error:
            self._session.note(f"the parties cannot be joined: {error}")

    def _blend(self, media: list[MediaLeg]) -> None:
        if self._mix is None:
            self._mix = self._switch.media.mix(media)
        for leg in self._mixed:
            if leg not in media:
                self._mix.remove(leg)
        for leg in media:
            self._mix.add(leg)
        self._mixed = media

    async def _summon(self, summons: Summons) -> None:
        """Ring whoever is called, and take in who answers."""
        session = self._session
        role: Role = "callee" if summons.caller is None else "caller"
        self._of_call, self._ringing = [], True
        try:
            if summons.caller is not None:
                await self._ring(summons.caller, role, late_offer=summons.late_offer)
                role = "callee"
            await self._ring(summons.plan, role)
        except DialFailed as failed:
            self._ringing = False
            end = Finished(failed.reason, by=role, status=failed.status_to_tell)
            if session.in_call:  # else the caller gave up, and the call ended by that
                session.call.status = failed.status
                session.close_call(end)
            self._go_on(end)
            if len(session.legs) == 1:
                self._switch.media.comfort(session.legs[0].media)
            self._settle()
        else:
            self._ringing = False
            bridged(session)

    async def _ring(self, plan: Plan, role: Role, *, late_offer: bool = False) -> None:
        session, switch = self._session, self._switch
        if len(session.legs) == 1:
            switch.media.ringback(session.legs[0].media)
        leg = await Dialling(session, switch, plan, None, role=role, others=self).run(late_offer=late_offer)
        seat(session, switch, leg)
        self._of_call.append(leg)
        self._settle()

    def _hold(self, command: Hold) -> None:
        if not same_hold(self._session, command):
            self._session.held = command.on
            self._follow_hold()
            command.done.set_result(None)

    def _follow_hold(self) -> None:
        """Ask whoever does not follow the hold of the session yet, and can be asked now: the others are asked later."""
        session = self._session
        for leg in session.legs:
            call = leg.established
            if leg.held == session.held or call is None or not call.can_reinvite:
                continue
            direction = follow_hold(session, leg) or "sendrecv"
            try:
                call.reinvite(self._switch.sip.now(), leg.media.create_offer(None, direction))
            except (MediaError, CallStateError) as error:
                session.note(f"a party could not be put on hold: {error}")
            self._switch.sip.pump()
