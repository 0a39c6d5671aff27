"""Calls that a program asks for: ring the caller, on answer the callee, and join them (conformance D3-D21)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sip import AutoAnswer, Binding, CallIntent, Flow, ParseError, ResolveError, Rewrites, Uri

from .commands import Finished
from .dialing import (
    Destination,
    DialFailed,
    Dialling,
    Plan,
    Stage,
    bridge_answered,
    extension_destinations,
    invite_for,
    plan_for,
    seat,
)
from .errors import BadRequest, LimitReached, NotAllowed, NotRegistered, TrunkUnavailable
from .gathering import Summons, converse
from .inbound import attend
from .legs import PLAYER_CODECS, MediaError, media_for
from .routing import Principal, ToExtension, ToService
from .session import Session, SessionFlow

if TYPE_CHECKING:
    from .switch import Switch


@dataclass(frozen=True, slots=True)
class OriginateRequest:
    """The fields of `POST /api/sessions` (conformance D3), checked for type and length by the API."""

    caller: str
    callee: str
    send_sdp: bool
    caller_display_name: str | None = None
    trunk: str | None = None
    rewrite_from: str | None = None
    rewrite_pai: str | None = None
    rewrite_rpi: str | None = None
    user_data: str | None = None
    target: str | None = None
    target_instance_id: str | None = None
    target_extension_number: str | None = None
    additional_header: str | None = None
    header_direction: str | None = None


@dataclass(frozen=True, slots=True)
class DryRunLeg:
    """What would be sent on one leg, and why it looks so."""

    role: str
    trunk: str | None
    why: str
    invite: str
    headers: tuple[tuple[str, str, str], ...]
    "Header, value, and the rule or field that made it."
    why_not: tuple[tuple[str, str], ...]
    "The trunks that are not used, each with the reason."
    also: tuple[str, ...] = ()
    "Other Request-URIs that would ring at the same time."


@dataclass(frozen=True, slots=True)
class DryRun:
    """Every leg of a call that is not made."""

    legs: tuple[DryRunLeg, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origination:
    """A request resolved against the dial plan: how both parties are reached. The callee may be a service."""

    request: OriginateRequest
    caller_plan: Plan
    callee_plan: Plan | ToService
    notes: tuple[str, ...]


def resolve(switch: Switch, request: OriginateRequest, principal: Principal) -> Origination:
    """Decide both legs. Raises the SignallingError that the API shows."""
    if principal.tenant != switch.tenant:
        raise NotAllowed("the phones and trunks of this server are of another account")
    notes: list[str] = []
    rewrites = Rewrites(request.rewrite_from, request.rewrite_pai, request.rewrite_rpi)
    if rewrites != Rewrites() and request.trunk is None:
        notes.append("rewrite_* ignored: no trunk is named (D14)")
    try:
        to_caller = CallIntent(
            caller=request.callee,
            callee=request.caller,
            rewrites=rewrites,
            rewrites_trunk=request.trunk,
            auto_answer=_auto_answer(request, "CALLER"),
        )
        to_callee = CallIntent(
            caller=request.caller,
            callee=request.callee,
            caller_display_name=request.caller_display_name,
            rewrites=rewrites,
            rewrites_trunk=request.trunk,
            auto_answer=_auto_answer(request, "CALLEE"),
        )
    except ValueError as error:
        raise BadRequest(str(error)) from error
    caller_plan = _caller_plan(switch, request, principal, to_caller)
    decision = switch.plan.decide(_number(request.callee), principal, trunk=request.trunk)
    callee_plan = decision if isinstance(decision, ToService) else plan_for(switch, decision, to_callee)
    if isinstance(callee_plan, Plan) and callee_plan.bypass:
        # The caller is answered before the callee is asked, so it needs media of ours in the meantime.
        callee_plan = replace(callee_plan, bypass=False)
        notes.append("media is anchored: a call that a program starts needs it while the callee rings")
    codecs = PLAYER_CODECS if isinstance(callee_plan, ToService) else ()
    return Origination(request, replace(caller_plan, bypass=False, codecs=codecs), callee_plan, tuple(notes))


def _caller_plan(switch: Switch, request: OriginateRequest, principal: Principal, intent: CallIntent) -> Plan:
    number = request.target_extension_number or _number(request.caller)
    if request.target_extension_number is not None and number not in switch.plan.extensions:
        raise BadRequest(f"target_extension_number: there is no extension {number}")
    decision = switch.plan.decide(number, principal, trunk=request.trunk)
    if isinstance(decision, ToService):
        raise BadRequest("caller: a service of this server cannot be the caller")
    plan = plan_for(switch, decision, intent)
    if isinstance(decision, ToExtension) and (request.target or request.target_instance_id):
        bindings = [
            binding
            for binding in switch.registrar.bindings(number, switch.sip.now())
            if _selected(binding, request.target, request.target_instance_id)
        ]
        if not bindings:
            raise NotRegistered(f"no registered contact of {number} matches the target")
        plan = Plan((replace(plan.stages[0], destinations=extension_destinations(bindings)),))
    return plan


def _selected(binding: Binding, target: str | None, instance: str | None) -> bool:
    """Whether a contact is the one that `target` (URI or host:port) and `target_instance_id` name (D21)."""
    if instance is not None and (binding.instance or "").strip('<>"') != instance.strip('<>"'):
        return False
    if target is None:
        return True
    uri = binding.uri
    port = uri.port or 5060
    places = {str(uri), f"{uri.host}:{port}", f"{binding.received[0]}:{binding.received[1]}"}
    if uri.port is None:
        places.add(uri.host)
    return target in places


def _auto_answer(request: OriginateRequest, role: str) -> AutoAnswer | None:
    if request.additional_header is None:
        return None
    direction = request.header_direction or "CALLER"  # D13: the least risk, it opens no stranger's microphone
    if direction not in (role, "ALL"):
        return None
    return AutoAnswer[request.additional_header]


def _number(text: str) -> str:
    """The number of a caller or callee field: a bare number, or a sip: or tel: URI."""
    if text.lower().startswith(("sip:", "sips:", "tel:")):
        try:
            return Uri.parse(text).number
        except ParseError as error:
            raise BadRequest(f"{text!r} is not a URI: {error}") from error
    return text


def summons_for(session: Session, switch: Switch, origination: Origination) -> Summons:
    """The same call into a session where media flows: both parties join the others. BadRequest for a service."""
    if isinstance(origination.callee_plan, ToService):
        raise BadRequest("callee: a service answers in a session of its own alone")
    request, caller = origination.request, origination.caller_plan
    number = request.target_extension_number or _number(request.caller)
    user = switch.people.party(session.tenant, number)
    here = any(leg.participant is not None and leg.participant.user == user for leg in session.legs)
    return Summons(origination.callee_plan, None if here else caller, late_offer=not request.send_sdp)


async def run(session: Session, switch: Switch, origination: Origination) -> SessionFlow | None:
    """Flow: ring the caller, then the callee, then both talk (D11)."""
    for note in origination.notes:
        session.note(note)
    request = origination.request
    try:
        caller = await Dialling(session, switch, origination.caller_plan, None).run(late_offer=not request.send_sdp)
    except DialFailed as failed:
        session.call.status = failed.status
        raise Finished(f"caller: {failed.reason}", by="caller", status=failed.status) from failed
    seat(session, switch, caller)
    if isinstance(origination.callee_plan, ToService):
        await attend(session, switch, caller, origination.callee_plan.service)
        return None
    switch.media.ringback(caller.media)
    try:
        callee = await Dialling(session, switch, origination.callee_plan, caller).run()
    except DialFailed as failed:
        session.call.status = failed.status
        raise Finished(failed.reason, by="callee", status=failed.status_to_tell) from failed
    seat(session, switch, callee)
    bridge_answered(session, switch, caller, callee)
    return converse(session, switch, caller, callee)


async def rehearse(switch: Switch, origination: Origination) -> DryRun:
    """Build what `run` would send, and send nothing."""
    legs = [await _rehearse_leg(switch, "CALLER", origination.caller_plan, origination.request.send_sdp)]
    if isinstance(origination.callee_plan, Plan):
        legs.append(await _rehearse_leg(switch, "CALLEE", origination.callee_plan, True))
    return DryRun(tuple(legs), origination.notes)


async def _rehearse_leg(switch: Switch, role: str, plan: Plan, with_sdp: bool) -> DryRunLeg:
    stage, destination, flow, unreachable = await _first_reachable(switch, plan, with_sdp)
    body = _offer(switch, plan, stage, destination, ":" in flow.remote[0]) if with_sdp else b""
    built = invite_for(switch, stage, destination, flow, body, reasons=True)
    request = built.request
    via = f"SIP/2.0/{flow.transport} {flow.sent_by};branch={switch.sip.stack.new_branch()}"
    via = via if flow.reliable else f"{via};rport"
    request.headers.insert("Via", via)
    return DryRunLeg(
        role=role,
        trunk=stage.trunk.name if stage.trunk else None,
        why=stage.why,
        invite=request.to_bytes().decode("utf-8", "replace"),
        headers=(
            ("Via", via, f"the {flow.transport} address of this server that the other side sees"),
            *((reason.header, reason.value, reason.rule) for reason in built.reasons[:1]),
            *(("Route", value, "the Path of the contact's registration (RFC 3327)") for value in destination.routes),
            *((reason.header, reason.value, reason.rule) for reason in built.reasons[1:]),
            ("Content-Length", str(len(body)), "bytes of the body"),
        ),
        why_not=plan.skipped + unreachable,
        also=tuple(str(other.uri) for other in stage.destinations if other is not destination),
    )


def _offer(switch: Switch, plan: Plan, stage: Stage, destination: Destination, ipv6: bool | None) -> bytes:
    """The SDP that would be offered. Raises LimitReached."""
    codecs = (stage.trunk.codecs if stage.trunk else ()) or plan.codecs
    try:
        media = media_for(switch.media, bypass=False, codecs=codecs, ipv6=ipv6, webrtc=destination.is_browser)
    except MediaError as error:
        raise LimitReached(str(error), retry_after_s=switch.limits.retry_after_s) from error
    try:
        return media.create_offer().encode()
    finally:
        media.close()


async def _first_reachable(
    switch: Switch, plan: Plan, with_sdp: bool
) -> tuple[Stage, Destination, Flow, tuple[tuple[str, str], ...]]:
    """Where the first INVITE would go, and what was passed over since its host has no address."""
    unreachable: list[tuple[str, str]] = []
    for stage in plan.stages:
        for destination in stage.destinations:
            if destination.flow is not None:
                return stage, destination, destination.flow, tuple(unreachable)
            body = _offer(switch, plan, stage, destination, stage.ipv6) if with_sdp else b""
            try:
                flows = await switch.sip.flows_to(destination.next_hop, size=stage.intent.head_size + len(body))
            except ResolveError as error:
                unreachable.append((stage.trunk.name if stage.trunk else stage.name, str(error)))
            else:
                line = None if stage.trunk is None else switch.lines.get(stage.trunk.name)
                return stage, destination, (line.preferred(flows) if line else flows)[0], tuple(unreachable)
        if stage.user is not None:
            raise NotRegistered(f"{stage.name} has a browser alone, which gets no INVITE")
    raise TrunkUnavailable("; ".join(f"{name}: {why}" for name, why in unreachable))


def may_see(principal: Principal, owner: str | None) -> bool:
    """Whether a principal may see and end a session that `owner` started."""
    return principal.kind == "admin" or owner == principal.owner
