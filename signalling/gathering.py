"""Any number of legs that hear each other: two are bridged, more are mixed, and each is negotiated for itself.

Browsers that join a session with media make one, and so does a call that a third party joins. From here, too, phones
are called into a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sip import CallStateError, RequestReceived

from .commands import Finished, Hold, LegEvent, LegsDropped
from .conversation import Conversation, follow_hold, handle_alone, same_hold
from .dialing import DialFailed, Dialling, Plan, bridged, seat
from .errors import WrongState
from .info import said_by
from .legs import DigitPressed, Joined, Leg, MediaError, MediaLeg, Mix, PassThrough
from .session import Session

if TYPE_CHECKING:
    from .switch import Switch

MAX_LEGS = 64  # of one session; beyond that who takes part listens to nobody in particular


@dataclass(frozen=True, slots=True)
class Summons:
    """A participant wants a number called into the session; its record is the session's open call."""

    plan: Plan


async def converse(session: Session, switch: Switch, caller: Leg, callee: Leg) -> None:
    """Two parties talk, and whoever joins them. Raises Finished."""
    await Conversation(session, switch, caller, callee).run()
    await gather(session, switch)


async def gather(session: Session, switch: Switch) -> None:
    """Flow: all legs of the session hear each other, until there is nobody to talk to. Raises Finished."""
    await Gathering(session, switch).run()


def arrive(session: Session, switch: Switch, leg: Leg) -> None:
    """A participant joins with media: the flow that runs takes the leg in, else a gathering begins."""
    session.legs.append(leg)
    if session.has_task:
        leg.hear(Joined())
    else:
        session.start(lambda session: gather(session, switch))


def check_room(session: Session) -> None:
    """Whether one more leg can join. WrongState."""
    if len(session.legs) >= MAX_LEGS:
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

    async def run(self) -> None:
        """Until too few are left; then raises Finished."""
        self._settle()
        while True:
            try:
                item = await self._session.next()
                if isinstance(item, LegEvent) and isinstance(item.event, Summons):
                    await self._summon(item.event.plan)
                elif item is not None:
                    self.handle(item)
            except LegsDropped as dropped:
                self.drop(dropped)

    # While a phone is rung, too (dialing.Others).

    def handle(self, item: LegEvent | Hold) -> None:
        """What a leg reports, or a command. Raises Finished when too few are left."""
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
        """The participant of these legs left. Raises Finished when too few are left."""
        for leg in dropped.legs:
            self._end(leg, dropped)
        self._settle()

    def _end(self, leg: Leg, end: Finished) -> None:
        session = self._session
        called = leg.role != "guest" and session.kind == "room"
        session.depart(leg, end.status, end.cause, end.header)
        if called:
            session.close_call(end)
        legs = session.legs
        if len(legs) < 2 and (session.kind == "call" or not any(other.is_browser for other in legs)):
            raise Finished(end.cause, by=end.by, status=end.status, header=end.header)

    def _settle(self) -> None:
        """Let those who are here now hear each other, unless the session is on hold."""
        self._arrange()
        self._follow_hold()

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

    async def _summon(self, plan: Plan) -> None:
        """Ring a party, and take it in when it answers."""
        session, switch = self._session, self._switch
        if len(session.legs) == 1:
            switch.media.ringback(session.legs[0].media)
        try:
            leg = await Dialling(session, switch, plan, None, role="callee", others=self).run()
        except DialFailed as failed:
            session.call.status = failed.status
            session.close_call(Finished(failed.reason, by="callee", status=failed.status_to_tell))
            if len(session.legs) == 1:
                switch.media.comfort(session.legs[0].media)
            return
        seat(session, switch, leg)
        bridged(session)
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
