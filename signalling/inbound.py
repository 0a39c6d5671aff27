"""Requests that come in outside any dialog: who sends them, whether they may, and where they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from sip import (
    ALLOW,
    REGISTRAR_EXTENSIONS,
    CallGone,
    CallIntent,
    DigestServer,
    Flow,
    ParseError,
    Request,
    Response,
    ServerTransaction,
    TrunkConfig,
    forwarded_hops,
    headers_to_cross,
    loop_status,
    parse_addresses,
    refusal,
    response_to,
    session_description,
    trunk_for_source,
    without_controls,
)

from .commands import CallRecord, Finished, LegEvent
from .conversation import handle_alone
from .dialing import DialFailed, Dialling, Plan, bridge_answered, contact_for, plan_for, seat
from .errors import LimitReached, SignallingError
from .gathering import converse
from .legs import Joined, Leg, MediaError, PassThrough, media_for, wants_webrtc
from .ports import CredentialStore
from .routing import Principal, ToService
from .session import Session, SessionFlow

if TYPE_CHECKING:
    from .registry import Registry
    from .switch import Switch

log = structlog.get_logger("signalling.inbound")

SUPPORTED_BY_REGISTRAR = frozenset(REGISTRAR_EXTENSIONS)
KNOWN_METHODS = frozenset(
    [
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "REGISTER",
        "OPTIONS",
        "INFO",
        "UPDATE",
        "PRACK",
        "REFER",
        "SUBSCRIBE",
        "NOTIFY",
        "MESSAGE",
        "PUBLISH",
    ]
)
ACCEPT = ("Accept", "application/sdp")


class Refused(Exception):
    """A request is answered with a failure instead of being served."""

    def __init__(self, status: int, reason: str | None = None, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(f"{status} {reason or ''}")
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)


class Inbound:
    """The stack's user: registers phones, takes calls, answers OPTIONS.

    Nobody reaches a trunk without being an extension that proved its password, or a trunk that calls from its own
    addresses; a From header proves nothing.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        digest: DigestServer,
        credentials: CredentialStore,
        trunks: Sequence[TrunkConfig] = (),
        trunk_principals: Mapping[str, Principal] | None = None,
    ) -> None:
        self._registry = registry
        self._switch = registry.switch
        self._digest = digest
        self._credentials = credentials
        self.set_trunks(trunks, trunk_principals or {})

    def set_trunks(self, trunks: Sequence[TrunkConfig], principals: Mapping[str, Principal]) -> None:
        """Take calls from the addresses of these trunks, each with what it may do, and of no others."""
        self._trunks = tuple(trunks)
        self._trunk_principals = dict(principals)

    # StackUser.

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        """A request outside any dialog."""
        request = transaction.request
        try:
            method = request.method
            check_request(request)
            if method == "INVITE":
                self._on_invite(transaction, now)
            elif method == "REGISTER":
                self._respond(transaction, self._register(request, transaction.flow, now), now)
            elif method == "OPTIONS":
                self._respond(transaction, _options(request), now)
            elif method == "BYE":
                raise Refused(481)
            elif method in KNOWN_METHODS:
                raise Refused(405, headers=[("Allow", ALLOW)])
            else:
                raise Refused(501, headers=[("Allow", ALLOW)])
        except Refused as refused:
            response = response_to(request, refused.status, refused.reason, headers=refused.headers)
            self._respond(transaction, response, now)
        except ParseError as error:  # a header that is only read on demand
            self._respond(transaction, response_to(request, error.status, error.reason), now)

    def _respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        self._switch.sip.stack.respond(transaction, response, now)

    # Who it is.

    def _authenticate(self, request: Request, flow: Flow, now: float) -> str:
        """The extension that the request proves to come from; else Refused with a challenge (RFC 3261 §22.2)."""
        source = flow.remote[0]
        verdict = self._digest.verify(request, source, now, self._credentials.ha1)
        if verdict.ok and verdict.username is not None:
            return verdict.username
        if verdict.claimed is not None and not verdict.stale:
            log.warning("sip_authentication_failed", user=verdict.claimed, source=source, why=verdict.why)
        raise Refused(401, headers=self._digest.challenge_headers(request, source, now, stale=verdict.stale))

    def _principal(self, request: Request, flow: Flow, now: float) -> Principal:
        trunk = trunk_for_source(self._trunks, flow.remote[0])
        if trunk is not None:
            return self._trunk_principals.get(trunk.name) or Principal(trunk.name, "trunk")
        user = self._authenticate(request, flow, now)
        extension = self._switch.plan.extensions.get(user)
        if extension is None:
            raise Refused(403, "No such extension")
        return Principal(user, "extension", extension.patterns, tenant=self._switch.tenant)

    # REGISTER.

    def _register(self, request: Request, flow: Flow, now: float) -> Response:
        user = self._authenticate(request, flow, now)
        to = request.to.uri
        if to.scheme not in ("sip", "sips") or to.username != user:
            raise Refused(403, "Not your address-of-record")
        if user not in self._switch.plan.extensions:
            raise Refused(404)
        return self._switch.registrar.register(request, flow, user, now)

    # INVITE.

    def _on_invite(self, transaction: ServerTransaction, now: float) -> None:
        request, flow = transaction.request, transaction.flow
        principal = self._principal(request, flow, now)
        check_invite(request)
        looping = loop_status(request, lambda via: via.sent_by == flow.sent_by)
        if looping is not None:
            raise Refused(looping)
        number = self._dialled(request, principal)
        if not number:
            raise Refused(404)
        try:
            decision = self._switch.plan.decide(number, principal)
            intent = _intent(request, principal, number, self._switch)
            plan = plan_for(self._switch, decision, intent)
            session = self._registry.new_session(
                CallRecord(intent.caller, number, intent.caller_display_name, *self._registry.clocks(), trunk=None),
                owner=principal.owner,
            )
        except SignallingError as error:
            raise _refusal(error) from error
        except ValueError as error:  # a name or a number that no INVITE can carry on
            raise Refused(400, _quotable(error)) from error
        session.call_id = request.call_id
        log.info(
            "call_in",
            session=session.id,
            call_id=session.call_id,
            caller=intent.caller,
            callee=number,
            by=f"{principal.kind} {principal.name}",
        )
        if plan.bypass and wants_webrtc(flow.transport, session_description(request)):
            plan = replace(plan, bypass=False)  # a browser's media cannot go past us: nobody else speaks its SRTP
        if request.expires:
            plan = replace(plan, within_s=request.expires)
        try:
            leg = self._caller_leg(session, transaction, principal, plan, now)
        except BaseException:  # whatever it was, a session without a task must not stay in the list
            self._registry.forget(session)
            raise
        session.legs.append(leg)
        user = self._switch.people.party(self._switch.tenant, intent.caller)
        session.host = user
        if isinstance(decision, ToService):
            session.start(lambda s: serve(s, self._switch, leg, decision.service))
        else:
            session.start(lambda s: connect(s, self._switch, leg, plan))

    def _dialled(self, request: Request, principal: Principal) -> str:
        """The number that is called.

        A carrier that we register at may call the contact that we registered: what was dialled then stands in To.
        """
        number = request.target.number
        line = self._switch.lines.get(principal.name) if principal.kind == "trunk" else None
        if line is None or not line.config.register or number != line.config.username:
            return number
        if any(did.pattern.matches(number) for did in self._switch.plan.inbound):
            return number
        return request.to.uri.number or number

    def _caller_leg(
        self, session: Session, transaction: ServerTransaction, principal: Principal, plan: Plan, now: float
    ) -> Leg:
        """The leg of the party that calls; Refused when its offer is of no use or there is no room."""
        switch = self._switch
        extension = principal.name if principal.kind == "extension" else None
        line = switch.lines.get(principal.name) if extension is None else None
        if (extension is not None and switch.at_limit(extension)) or (line is not None and line.full):
            raise Refused(503, "Too many calls", [("Retry-After", str(switch.limits.retry_after_s))])
        request, flow = transaction.request, transaction.flow
        codecs = plan.codecs
        if line is not None:
            codecs = line.config.codecs or codecs
        try:
            offer = session_description(request)
            webrtc = wants_webrtc(flow.transport, offer)
            media = media_for(switch.media, bypass=plan.bypass, codecs=codecs, peer=flow.remote[0], webrtc=webrtc)
        except MediaError as error:
            raise Refused(error.status, str(error), [("Retry-After", str(switch.limits.retry_after_s))]) from error
        leg = Leg("caller", sip=switch.sip, media=media, owner=session)
        try:
            if offer is not None:
                media.receive_offer(offer)
        except MediaError as error:
            media.close()
            raise Refused(error.status, headers=[("Warning", f'399 ringway "{_quotable(error)}"')]) from error
        switch.take_extension(leg, extension)
        if line is not None:
            line.slots.take()  # there is a place: it was looked at above
            leg.line = line
        leg.on_close = switch.on_close
        route = switch.follow if extension is None else partial(switch.way_back, extension)
        leg.call = switch.calls.incoming(transaction, now, leg.hear, contact=contact_for(flow), route=route)
        return leg


async def connect(session: Session, switch: Switch, caller: Leg, plan: Plan) -> SessionFlow:
    """Flow: the caller waits while the plan is dialled, then both talk."""
    seat(session, switch, caller)
    late = isinstance(caller.media, PassThrough) and caller.media.remote_sdp is None
    try:
        callee = await Dialling(session, switch, plan, caller).run(late_offer=late)
    except DialFailed as failed:
        session.call.status = failed.status
        raise Finished(failed.reason, by="callee", status=failed.status_to_tell) from failed
    try:
        caller.accept(callee)
    except CallGone:
        raise Finished("cancelled", by="caller", status=487) from None
    except MediaError as error:
        raise Finished(str(error), by="server", status=488) from error
    seat(session, switch, callee)
    bridge_answered(session, switch, caller, callee)
    return converse(session, switch, caller, callee)


async def serve(session: Session, switch: Switch, caller: Leg, service: str) -> None:
    """Flow: the server itself answers, as echo test or tone."""
    seat(session, switch, caller)
    try:
        caller.accept(None)
    except CallGone:
        raise Finished("cancelled", by="caller", status=487) from None
    except MediaError as error:
        raise Finished(str(error), by="server", status=488) from error
    await attend(session, switch, caller, service)


async def attend(session: Session, switch: Switch, leg: Leg, service: str) -> None:
    """Play a service to an answered leg until it hangs up."""
    session.answered()
    play = switch.media.echo if service == "echo" else switch.media.tone
    player = play(leg.media)
    try:
        while True:
            item = await session.next()
            if isinstance(item, LegEvent) and isinstance(item.event, Joined):
                session.depart(item.leg, 488, "a service has no room for others")
            elif item is not None:
                away = leg.away
                handle_alone(session, switch, item)
                if away and not leg.away:
                    player = play(leg.media)
    finally:
        player.close()


def check_request(request: Request) -> None:
    """What RFC 3261 §8.2 asks of every request before its method is looked at. Raises Refused."""
    if request.target.scheme not in ("sip", "sips", "tel"):
        raise Refused(416)
    known = REGISTRAR_EXTENSIONS if request.method == "REGISTER" else ()
    demanded = [*request.require, *_list(request, "Proxy-Require")]
    unsupported = [option for option in demanded if option.lower() not in known]
    if unsupported:
        raise Refused(420, headers=[("Unsupported", ", ".join(unsupported))])


def check_invite(request: Request) -> None:
    """What RFC 3261 §8.2.3 and §21.4.7 ask of an INVITE: a body that is SDP or nothing, an answer that may be SDP.

    Raises Refused.
    """
    refused = refusal(request)
    if refused is not None:
        raise Refused(refused.status, headers=refused.headers)
    accept = _list(request, "Accept")
    kinds = {value.partition(";")[0].strip().lower() for value in accept}
    if accept and not kinds & {"application/sdp", "application/*", "*/*"}:
        raise Refused(406)


def _list(request: Request, name: str) -> list[str]:
    return request.headers.values(name) if name in request.headers else []


def _options(request: Request) -> Response:
    return response_to(
        request,
        200,
        headers=[
            ("Allow", ALLOW),
            ACCEPT,
            ("Accept-Encoding", "identity"),
            ("Accept-Language", "en"),
            ("Supported", "path, outbound"),
        ],
    )


def _intent(request: Request, principal: Principal, number: str, switch: Switch) -> CallIntent:
    """Who calls, as the callee is to see it: an extension is what it proved to be; a trunk is believed (RFC 3325)."""
    source = request.from_
    if principal.kind == "extension":
        caller = principal.name
        display = source.display or switch.plan.extensions[caller].display_name
    else:
        asserted = parse_addresses(request.headers.get_all("P-Asserted-Identity"))
        source = asserted[0] if asserted else source
        caller, display = source.uri.number or "anonymous", source.display
    asked = request.get("Privacy")
    privacy = asked is not None and not {"id", "user", "full"}.isdisjoint(
        value.strip() for value in asked.lower().split(";")
    )
    try:
        return CallIntent(
            caller=caller,
            callee=number,
            caller_display_name=without_controls(display) if display else None,
            max_forwards=forwarded_hops(request),
            extra_headers=tuple(headers_to_cross(request, "INVITE")),
            privacy=privacy,
        )
    except ValueError as error:  # control characters, which may not go on (conformance G7)
        raise Refused(400, "Control characters in a number or a header") from error


def _refusal(error: SignallingError) -> Refused:
    """The SIP status of an error: 404 for an extension without a phone would say that it does not exist."""
    status = 480 if error.code == "NOT_REGISTERED" else error.status
    headers = []
    if isinstance(error, LimitReached):
        headers.append(("Retry-After", str(error.retry_after_s or 5)))
    return Refused(status, None, headers)


def _quotable(error: Exception) -> str:
    return "".join(char for char in str(error) if char.isascii() and char.isprintable() and char not in '"\\')[:120]
