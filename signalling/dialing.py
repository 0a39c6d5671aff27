"""Reaching a party: the contacts of an extension at once, the trunks of a route one after another.

A plan is a list of stages. Within a stage every destination rings at the same time and the first answer wins; the
next stage is tried only after a failure that another trunk may not have (408, 5xx, transport, no answer in time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Protocol

import structlog

from sip import (
    Answered,
    Binding,
    BuiltInvite,
    CallIntent,
    DigestClient,
    Failed,
    Flow,
    OutgoingCall,
    ResolveError,
    Ringing,
    TrunkConfig,
    Uri,
    build_invite,
    progress_to_cross,
    request_uri,
    status_to_cross,
)

from .browser_calls import BrowserRinging
from .commands import Hold, LegEvent, LegsDropped
from .conversation import handle_alone
from .errors import NotRegistered
from .events import Bridged, LegAnswered, LegDialled, LegFailed, LegRinging
from .legs import PLAYER_CODECS, Leg, MediaError, MediaLeg, Role, media_for, wants_webrtc
from .routing import Decision, ToExtension, ToService, ToTrunks
from .session import Session

if TYPE_CHECKING:
    from .switch import Switch
    from .trunks import TrunkLine

log = structlog.get_logger("signalling.dialing")

ADDRESS_S = 4.0  # for an address of a trunk to say anything at all, if there is another: the INVITE went out four times


@dataclass(frozen=True, slots=True)
class Destination:
    """One place to send an INVITE to."""

    uri: Uri
    "Request-URI."
    next_hop: Uri
    "What to resolve when there is no open flow."
    flow: Flow | None = None
    routes: tuple[str, ...] = ()

    @property
    def is_browser(self) -> bool:
        """Whether it is reached over a WebSocket."""
        return self.flow is not None and wants_webrtc(self.flow.transport)

    @property
    def ipv6(self) -> bool | None:
        """Whether it is reached over IPv6; None where that is a question of DNS."""
        host = self.next_hop.bare_host if self.flow is None else self.flow.remote[0]
        return ":" in host if ":" in host or host.replace(".", "").isdigit() else None


@dataclass(frozen=True, slots=True)
class Offer:
    """What an INVITE carries, and whose it is."""

    media: MediaLeg
    body: bytes


@dataclass(frozen=True, slots=True)
class Stage:
    """Destinations that ring together, and how long."""

    name: str
    "For people: extension 1002, or trunk carrier."
    destinations: tuple[Destination, ...]
    intent: CallIntent
    why: str
    trunk: TrunkConfig | None = None
    extension: str | None = None
    user: str | None = None
    "Id of the user whose browsers ring too: connected to the signalling channel."
    progress_s: float | None = None
    "Without any sign of ringing within this, the stage has failed."
    ring_s: float = 60.0
    "Without an answer within this, the stage has failed."

    @property
    def browsers(self) -> bool:
        """Whether any of it is a browser, and so wants WebRTC."""
        return self.user is not None or any(destination.is_browser for destination in self.destinations)

    @property
    def phones(self) -> bool:
        """Whether any of it is none."""
        return any(not destination.is_browser for destination in self.destinations)

    @property
    def peer(self) -> str | None:
        """Where the phones of an extension signal from, if from one address: behind NAT their RTP comes from there."""
        if self.extension is None:
            return None
        hosts = {destination.flow.remote[0] for destination in self.destinations if destination.flow is not None}
        return hosts.pop() if len(hosts) == 1 else None

    @property
    def ipv6(self) -> bool | None:
        """Whether its phones are reached over IPv6; None where some are and some are not, or a name does not tell."""
        versions = {destination.ipv6 for destination in self.destinations if not destination.is_browser}
        return versions.pop() if len(versions) == 1 else None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a party is reached: stages in order, and whether media goes past us."""

    stages: tuple[Stage, ...]
    bypass: bool = False
    skipped: tuple[tuple[str, str], ...] = ()
    codecs: tuple[str, ...] = ()
    "What a leg may offer where its trunk does not say; empty: all that we know."
    within_s: float = inf
    "How long the caller's invitation is good for (RFC 3261 §13.3.1)."


class DialFailed(Exception):
    """No stage of a plan was answered; the most telling status."""

    def __init__(self, status: int, reason: str, *, retryable: bool, response: bool = False) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.retryable = retryable
        self._response = response

    @property
    def status_to_tell(self) -> int:
        """What the other party is told: our own finding as it is, a peer's response mapped."""
        return status_to_cross(self.status) if self._response else self.status


def extension_destinations(bindings: Sequence[Binding]) -> tuple[Destination, ...]:
    """Where the registered contacts of an extension are reached."""
    return tuple(
        Destination(
            binding.request_uri,
            binding.request_uri,
            None if binding.flow.closed else binding.flow,
            tuple(binding.path),
        )
        for binding in bindings
    )


def plan_for(switch: Switch, decision: Decision, intent: CallIntent) -> Plan:
    """The stages of a decision; none for a service. Raises NotRegistered when an extension has no contact."""
    if isinstance(decision, ToService):
        return Plan((), codecs=PLAYER_CODECS)
    if isinstance(decision, ToExtension):
        extension = decision.extension
        bindings = switch.registrar.bindings(extension.number, switch.sip.now())
        user = switch.people.by_extension(extension.number)
        connected = user is not None and switch.browsers.reaches(user.tenant, user.id)
        if not bindings and not connected:
            raise NotRegistered(f"no phone is registered for {extension.number}")
        stage = Stage(
            f"extension {extension.number}",
            extension_destinations(bindings),
            intent,
            decision.why,
            extension=extension.number,
            user=user.id if user is not None and connected else None,
            ring_s=extension.ring_timeout_s,
        )
        return Plan((stage,))
    assert isinstance(decision, ToTrunks)
    stages: list[Stage] = []
    bypass = True
    for choice in decision.choices:
        line = switch.lines[choice.name]
        trunk = line.config
        bypass = bypass and (choice.media or trunk.media) == "bypass"
        stages.extend(
            Stage(
                f"trunk {trunk.name}",
                (Destination(request_uri(trunk, intent.callee, host), host),),
                intent,
                choice.why,
                trunk=trunk,
                progress_s=trunk.answer_timeout_s,
                ring_s=trunk.ring_timeout_s,
            )
            for host in line.hosts()
        )
    return Plan(tuple(stages), bypass, decision.skipped)


def plan_for_user(user: str, intent: CallIntent) -> Plan:
    """Ring the browsers of a user who has no number."""
    return Plan((Stage(f"user {user}", (), intent, f"{user} is connected to the signalling channel", user=user),))


def invite_for(
    switch: Switch, stage: Stage, destination: Destination, flow: Flow, body: bytes, *, reasons: bool = False
) -> BuiltInvite:
    """The INVITE that goes to one destination over `flow`, but for its Via."""
    stack = switch.sip.stack
    built = build_invite(
        stage.intent,
        trunk=stage.trunk,
        target=destination.uri,
        domain=switch.domain,
        contact=contact_for(flow),
        call_id=stack.new_call_id(),
        from_tag=stack.new_tag(),
        body=body,
        reasons=reasons,
    )
    for place, route in enumerate(destination.routes):
        built.request.headers.insert("Route", route, place)
    return built


def contact_for(flow: Flow) -> str:
    """Our Contact on a flow."""
    if flow.transport == "UDP":
        return f"<sip:ringway@{flow.sent_by}>"
    return f"<sip:ringway@{flow.sent_by};transport={flow.transport.lower()}>"


class Others(Protocol):
    """Who looks after the answered legs of a session while another party is rung."""

    def handle(self, item: LegEvent | Hold) -> None:
        """What comes for them. Raises Finished when there is no more use in ringing."""

    def drop(self, dropped: LegsDropped) -> None:
        """Some of them are to go, for their participant left. Raises as `handle`."""


class WaitingAlone:
    """One party that waits for the other: when it goes, so does the call."""

    def __init__(self, session: Session, switch: Switch) -> None:
        self._session = session
        self._switch = switch

    def handle(self, item: LegEvent | Hold) -> None:
        """Answered for itself."""
        handle_alone(self._session, self._switch, item)

    def drop(self, dropped: LegsDropped) -> None:
        """Over."""
        raise dropped


class Dialling:
    """One run of a plan inside a session's task; `near` is the party that waits, if there is one."""

    def __init__(
        self,
        session: Session,
        switch: Switch,
        plan: Plan,
        near: Leg | None,
        *,
        role: Role | None = None,
        others: Others | None = None,
    ) -> None:
        """`role`: of who is rung, the caller where nobody waits. `others`: where more than one waits."""
        self._session = session
        self._switch = switch
        self._plan = plan
        self._near = near
        self._role: Role = role or ("caller" if near is None else "callee")
        self._others = others or WaitingAlone(session, switch)
        self._late_offer = False
        self._line: TrunkLine | None = None
        "The trunk tried last."
        self._next_address_at = inf
        self._expires_at = switch.sip.now() + plan.within_s
        self._waiting: dict[OutgoingCall | BrowserRinging, tuple[Destination | None, list[Flow], Offer]] = {}
        self._rang = False
        self._worst: DialFailed | None = None

    async def run(self, *, late_offer: bool = False) -> Leg:
        """Dial until a party answers; its leg. Raises DialFailed, or Finished when `near` gives up.

        `late_offer`: the INVITE carries no SDP (RFC 3261 §13.2.1), the party makes the offer.
        """
        self._late_offer = late_offer
        failure: DialFailed | None = None
        for stage in self._plan.stages:
            try:
                return await self._stage(stage)
            except DialFailed as failed:
                failure = failed
                trunk = stage.trunk.name if stage.trunk is not None else None
                self._session.emit(LegFailed, leg=self._role, status=failed.status, reason=failed.reason, trunk=trunk)
                if not failed.retryable:
                    break
        raise failure or DialFailed(480, "Temporarily Unavailable", retryable=False)

    async def _stage(self, stage: Stage) -> Leg:
        line = None
        if stage.extension is not None and self._switch.at_limit(stage.extension):
            raise DialFailed(486, "Busy Here", retryable=False)
        if stage.trunk is not None:
            line = self._switch.lines.get(stage.trunk.name)
            again = line is not None and line is self._line
            refused = "it was taken away" if line is None else line.take(self._switch.sip.now(), again=again)
            if refused is not None:
                raise DialFailed(503, f"trunk {stage.trunk.name}: {refused}", retryable=True)
            self._line = line
        try:
            leg = self._leg(stage)
        except MediaError as error:
            if line is not None:
                line.give_back()
            raise DialFailed(error.status, str(error), retryable=False) from error
        leg.line = line
        leg.on_close = self._switch.on_close
        self._session.legs.append(leg)
        try:
            await self._ring(stage, leg)
        except DialFailed as failed:
            self._session.legs.remove(leg)
            leg.hang_up(failed.status, failed.reason)
            raise
        return leg

    def _leg(self, stage: Stage) -> Leg:
        phones = stage.phones
        codecs = self._codecs(stage)
        media = media_for(
            self._switch.media,
            bypass=self._plan.bypass,
            codecs=codecs,
            peer=stage.peer,
            ipv6=stage.ipv6,
            webrtc=not phones,
        )
        leg = Leg(self._role, sip=self._switch.sip, media=media, owner=self._session)
        if phones and stage.browsers:
            leg.media_for_browsers = media_for(self._switch.media, bypass=False, codecs=codecs, webrtc=True)
        leg.extension = stage.extension
        leg.user = stage.user
        if stage.extension is not None:
            self._switch.busy[stage.extension] += 1
        return leg

    def _codecs(self, stage: Stage) -> tuple[str, ...]:
        return (stage.trunk.codecs if stage.trunk is not None else ()) or self._plan.codecs

    async def _ring(self, stage: Stage, leg: Leg) -> None:
        try:
            offers = self._offers(leg)
        except MediaError as error:
            raise DialFailed(error.status, str(error), retryable=False) from error
        session, switch = self._session, self._switch
        session.call.trunk = stage.trunk.name if stage.trunk is not None else session.call.trunk
        self._waiting.clear()
        self._next_address_at = inf
        self._rang = False
        self._worst = None
        for destination in stage.destinations:
            await self._attempt(stage, leg, destination, offers[destination.is_browser and len(offers) > 1])
        if stage.user is not None:
            self._ring_browsers(stage, leg, stage.user, offers[-1])
        started = switch.sip.now()
        while self._waiting:
            limit = stage.ring_s
            if not self._rang and stage.progress_s is not None:
                limit = min(limit, stage.progress_s)
            try:
                item = await session.next(min(started + limit, self._next_address_at, self._expires_at))
            except LegsDropped as dropped:
                if leg in dropped.legs:
                    raise
                self._others.drop(dropped)
                continue
            if item is None and switch.sip.now() >= self._expires_at:
                raise DialFailed(487, "the invitation has expired", retryable=False)
            if item is None and switch.sip.now() < started + limit:
                self._leave_silent(stage, leg)
            elif item is None:
                status = 480 if stage.trunk is None else 408
                raise DialFailed(status, f"no answer within {limit:g} s", retryable=True)
            elif isinstance(item, Hold) or item.leg is not leg:
                self._others.handle(item)
            elif isinstance(item.event, Answered):
                self._answered(leg, item.event)
                return
            else:
                await self._progress(stage, leg, item)
        raise self._worst or DialFailed(480, "Temporarily Unavailable", retryable=False)

    def _offers(self, leg: Leg) -> tuple[Offer, ...]:
        """What phones are offered, and after it, where both ring, what browsers are."""
        choices = [leg.media] if leg.media_for_browsers is None else [leg.media, leg.media_for_browsers]
        if self._late_offer:
            return tuple(Offer(media, b"") for media in choices)
        near = self._near.media if self._near is not None and self._near.media.remote_sdp else None
        return tuple(Offer(media, media.create_offer(near).encode()) for media in choices)

    async def _attempt(self, stage: Stage, leg: Leg, destination: Destination, offer: Offer) -> None:
        """Find the ways to one destination and take the first."""
        flow = destination.flow
        if flow is not None and not flow.closed:
            flows = [flow]
        else:
            try:
                flows = await self._switch.sip.flows_to(
                    destination.next_hop, size=stage.intent.head_size + len(offer.body)
                )
            except ResolveError as error:
                self._failed(DialFailed(503, str(error), retryable=True))
                return
        if leg.line is not None:
            flows = leg.line.preferred(flows)
        self._send(stage, leg, destination, flows, offer)

    def _send(self, stage: Stage, leg: Leg, destination: Destination, flows: list[Flow], offer: Offer) -> None:
        switch, session = self._switch, self._session
        flow = flows[0]
        offer = self._of_family(stage, leg, flow, offer)
        request = invite_for(switch, stage, destination, flow, offer.body).request
        trunk = stage.trunk
        authorize = None
        route = switch.follow if stage.extension is None else partial(switch.way_back, stage.extension)
        if trunk is not None and trunk.username is not None and trunk.password is not None:
            authorize = DigestClient(trunk.username, trunk.password).authorize
        call = switch.calls.invite(request, flow, switch.sip.now(), leg.hear, authorize=authorize, route=route)
        leg.attempts += (call,)
        self._waiting[call] = (destination, flows[1:], offer)
        if flows[1:] and stage.progress_s is not None:
            self._next_address_at = switch.sip.now() + min(ADDRESS_S, stage.progress_s / 2)
        switch.sip.pump()
        if session.call_id is None:
            session.call_id = call.call_id
        name = trunk.name if trunk is not None else None
        session.emit(LegDialled, leg=leg.role, call_id=call.call_id, target=request.uri, trunk=name)

    def _of_family(self, stage: Stage, leg: Leg, flow: Flow, offer: Offer) -> Offer:
        """The offer; of other media if it names an address of the IP version that DNS did not lead to."""
        ipv6 = ":" in flow.remote[0]
        if not offer.body or stage.trunk is None or self._plan.bypass or (b" IN IP6 " in offer.body) == ipv6:
            return offer
        try:
            leg.choose(media_for(self._switch.media, bypass=False, codecs=self._codecs(stage), ipv6=ipv6))
            return self._offers(leg)[0]
        except MediaError as error:
            self._session.note(f"no media of the trunk's IP version: {error}")
            return offer

    def _leave_silent(self, stage: Stage, leg: Leg) -> None:
        """An address from which nothing came gives way to the next one of its host (RFC 3263 §4.3).

        Timer B, which RFC 3263 would wait for, lasts longer than a trunk may take in all.
        """
        self._next_address_at = inf
        for call, (destination, flows, offer) in list(self._waiting.items()):
            if isinstance(call, OutgoingCall) and call.silent and destination is not None and flows:
                del self._waiting[call]
                leg.forget(call)
                call.cancel(self._switch.sip.now())
                self._send(stage, leg, destination, flows, offer)

    def _ring_browsers(self, stage: Stage, leg: Leg, user: str, offer: Offer) -> None:
        intent, session = stage.intent, self._session
        frame = {
            "session": session.id,
            "from": "anonymous" if intent.privacy else intent.caller,
            "display_name": None if intent.privacy else intent.caller_display_name,
            "sdp": offer.body.decode() or None,
        }
        call = self._switch.browsers.ring(session.tenant, user, frame, offer.media, leg.hear)
        leg.attempts += (call,)
        self._waiting[call] = (None, [], offer)
        session.emit(LegDialled, leg=leg.role, call_id=call.call_id, target=f"user:{user}", trunk=None)

    async def _progress(self, stage: Stage, leg: Leg, item: LegEvent) -> None:
        event = item.event
        if isinstance(event, Ringing):
            if event.status > 100:
                self._ringing(leg, event)
        elif isinstance(event, Failed) and event.call in self._waiting:
            destination, flows, offer = self._waiting.pop(event.call)
            leg.forget(event.call)
            unreachable = event.cause in ("timeout", "transport") or event.status == 503
            if destination is not None and flows and unreachable:
                self._send(stage, leg, destination, flows, offer)
            else:
                retryable = unreachable or event.status == 408 or 500 <= event.status < 600
                self._failed(DialFailed(event.status, event.reason, retryable=retryable, response=True))
                if event.status >= 600:
                    self._waiting.clear()  # RFC 3261 §16.7: nobody else is to be asked

    def _failed(self, failure: DialFailed) -> None:
        """Remember the most telling failure: a 6xx ends it all, else what a person did before what a network did."""
        worst = self._worst
        if worst is None or _weight(failure) > _weight(worst):
            self._worst = failure

    def _ringing(self, leg: Leg, event: Ringing) -> None:
        if not self._rang:
            self._rang = True
            self._session.emit(LegRinging, leg=leg.role, status=event.status)
        near = self._near
        if near is None:
            return
        status = progress_to_cross(event.status)
        if status is None:
            return
        if event.sdp is None or len(self._waiting) > 1:
            near.ring(180 if event.sdp is not None else status)
            return
        try:
            if leg.media.remote_sdp != event.sdp:
                leg.media.receive_answer(event.sdp)
            near.ring(status, like=leg)
        except MediaError as error:
            self._session.note(f"early media of the callee is of no use: {error}")
            near.ring(180)
            return
        self._switch.bridge(near, leg)

    def _answered(self, leg: Leg, event: Answered) -> None:
        waiting = self._waiting.get(event.outgoing)
        if waiting is not None and leg.media_for_browsers is not None:
            leg.choose(waiting[2].media)
        leg.answered(event.call)
        session = self._session
        try:
            if event.needs_ack and event.sdp is not None:
                leg.media.receive_offer(event.sdp)
                if self._plan.bypass:
                    leg.needs_ack = True
                else:
                    event.call.ack(self._switch.sip.now(), leg.media.create_answer())
                    self._switch.sip.pump()
            elif event.sdp is None:
                raise MediaError("the answer carries no SDP")
            elif leg.media.remote_sdp != event.sdp:
                leg.media.receive_answer(event.sdp)
        except MediaError as error:
            raise DialFailed(488, str(error), retryable=False) from error
        session.emit(LegAnswered, leg=leg.role)


def _weight(failure: DialFailed) -> int:
    status = failure.status
    if status >= 600:
        return 3
    if status in (486, 480, 404, 403):
        return 2
    return 0 if failure.retryable else 1


def seat(session: Session, switch: Switch, leg: Leg) -> None:
    """The party of a leg takes part in the session by it: the user of the extension, else the number itself."""
    call = session.call
    calls = leg.role == "caller"
    number = leg.extension or (call.caller if calls else call.callee)
    user = leg.user or switch.people.party(session.tenant, number)
    session.seat(leg, user, call.caller_display_name if calls else None)


def bridge_answered(session: Session, switch: Switch, caller: Leg, callee: Leg) -> None:
    """Both have answered: join them, and the talking time begins."""
    switch.bridge(caller, callee)
    bridged(session)


def bridged(session: Session) -> None:
    """The talking time of a call begins."""
    session.answered()
    log.info("call_answered", session=session.id, call_id=session.call_id, trunk=session.call.trunk)
    session.emit(Bridged)
