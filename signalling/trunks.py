"""[io] Trunks as they are at this moment: up or down, how many calls they carry, registered or not.

One task a trunk sends its OPTIONS and its REGISTERs; the rules of both are sip's (TrunkHealth, Registration).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from sip import (
    CallRate,
    CallSlots,
    ClientTransaction,
    Failure,
    Flow,
    HealthState,
    Registration,
    RegistrationConfig,
    RegistrationState,
    Request,
    ResolveError,
    Response,
    TrunkConfig,
    TrunkHealth,
    Uri,
    counts_as_answer,
)

from .ports import SipPort

log = structlog.get_logger("signalling.trunks")

MAX_PROBED = 8  # addresses of one trunk that are asked in one round of OPTIONS
UNREGISTER_WAIT_S = 1.0  # at shutdown; a registrar that does not answer must not hold it up


class TrunkLine:
    """One trunk: its configuration, and what it can do now."""

    __slots__ = ("_answered", "config", "health", "rate", "registration", "slots")

    def __init__(self, config: TrunkConfig, now: float) -> None:
        self.config = config
        self.health = TrunkHealth(config, now)
        self.rate = CallRate(config.max_calls_per_s)
        self.slots = CallSlots(config.max_calls)
        self.registration: Registration | None = None
        self._answered: dict[Uri, dict[Flow, bool]] = {}
        "Host -> each address of it -> whether its last OPTIONS was answered."

    # Which of its hosts and addresses are asked first.

    def watch(self, ways: Iterable[tuple[Uri, Flow]]) -> None:
        """Only these hosts and addresses are asked from now on; what is known of the others is forgotten."""
        before, self._answered = self._answered, {}
        for host, flow in ways:
            self._answered.setdefault(host, {})[flow] = before.get(host, {}).get(flow, True)

    def note(self, host: Uri, flow: Flow, answered: bool) -> None:
        """Whether an address of a host has answered."""
        if flow in self._answered.get(host, {}):
            self._answered[host][flow] = answered

    def hosts(self) -> list[Uri]:
        """Its hosts in their order, those last that do not answer at any of their addresses."""
        known = self._answered
        return sorted(self.config.targets, key=lambda host: host in known and not any(known[host].values()))

    def preferred(self, flows: Iterable[Flow]) -> list[Flow]:
        """The addresses of one host in their order, those last that do not answer."""
        silent = {flow for ways in self._answered.values() for flow, answered in ways.items() if not answered}
        return sorted(flows, key=silent.__contains__)

    # What it can take.

    def unusable(self, now: float) -> str | None:
        """Why no call can be given to it now, or None."""
        config = self.config
        unusable = self._full_or_down()
        if unusable is None and self.rate.retry_after_s(now) > 0:
            unusable = f"at its limit of {config.max_calls_per_s:g} calls a second"
        return unusable

    def _full_or_down(self) -> str | None:
        config = self.config
        if self.health.state is HealthState.DOWN:
            return f"down: {config.options_misses} OPTIONS in a row were not answered"
        return f"at its limit of {config.max_calls} calls" if self.full else None

    @property
    def full(self) -> bool:
        """Whether it carries as many calls as it may, in and out."""
        limit = self.config.max_calls
        return limit is not None and self.slots.in_use >= limit

    def take(self, now: float, *, again: bool = False) -> str | None:
        """Take a place for one call; why that is impossible, or None when taken. `give_back` must follow.

        `again`: the same call at another host of the trunk, which is no other call a second.
        """
        unusable = self._full_or_down() if again else self.unusable(now)
        if unusable is None and self.slots.take():
            if not again:
                self.rate.take(now)
            return None
        return unusable or f"at its limit of {self.config.max_calls} calls"

    def give_back(self) -> None:
        """The call that took a place has left the trunk."""
        self.slots.give_back()


class TrunkKeeper:
    """Keeps one trunk probed and registered, until closed. It is the user of the transactions it makes."""

    def __init__(self, line: TrunkLine, sip: SipPort) -> None:
        self._line = line
        self._sip = sip
        self._probes: dict[ClientTransaction, tuple[Uri, Flow]] = {}
        "OPTIONS under way, and which address of which host each is for."
        self._round: set[ClientTransaction] = set()
        "Those of the newest round, of which one answer is enough, until it came."
        self._registrars: list[Flow] = []
        "Where the REGISTER under way is to go next if it fails (RFC 3263 §4.3)."
        self._registrar: Flow | None = None
        "Where the last one was answered."
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin probing and registering."""
        config = self._line.config
        if config.register or config.options_interval_s > 0:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Take our binding away and stop; bounded by UNREGISTER_WAIT_S."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        registration = self._line.registration
        if registration is not None and registration.registered(self._sip.now()):
            registration.unregister(self._sip.now())
            try:
                async with asyncio.timeout(UNREGISTER_WAIT_S):
                    while registration.state is not RegistrationState.STOPPED:
                        self._wake.clear()
                        await self._send_registers(registration)
                        await self._wake.wait()
            except TimeoutError:
                log.warning("trunk_unregister_unanswered", trunk=self._line.config.name)

    async def _run(self) -> None:
        while True:
            await self._work()
            now = self._sip.now()
            registration = self._line.registration
            instants = [self._line.health.deadline]
            if registration is not None:
                instants.append(registration.deadline)
            elif self._line.config.register:
                instants.append(now + 30.0)  # the registrar could not be resolved; look again
            due = [at for at in instants if at is not None]
            self._wake.clear()
            try:
                async with asyncio.timeout(max(0.0, min(due) - now) if due else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _work(self) -> None:
        now = self._sip.now()
        line = self._line
        if line.health.probe_due(now):
            await self._probe()
        if line.config.register:
            if line.registration is None:
                line.registration = await self._registration()
                if line.registration is not None:
                    line.registration.start(self._sip.now())
            if line.registration is not None:
                line.registration.handle_timeout(now)
                await self._send_registers(line.registration)

    async def _flows(self, uri: Uri) -> list[Flow]:
        try:
            return await self._sip.flows_to(uri)
        except ResolveError as error:
            log.warning("trunk_unreachable", trunk=self._line.config.name, uri=str(uri), error=str(error))
            return []

    async def _probe(self) -> None:
        """Ask every address of every host: the trunk is up as long as one of them can take a call."""
        ways = [(target, flow) for target in self._line.config.targets for flow in await self._flows(target)]
        now = self._sip.now()
        if not ways:
            self._line.health.on_miss(now)
            return
        del ways[MAX_PROBED:]
        self._line.watch(ways)
        stack = self._sip.stack
        for target, flow in ways:
            probe = stack.send_request(self._options(target, flow), flow, now, self)
            self._probes[probe] = target, flow
            self._round.add(probe)
        self._sip.pump()

    def _options(self, target: Uri, flow: Flow) -> Request:
        stack = self._sip.stack
        us = f"<sip:ringway@{flow.sent_by}>"
        return Request(
            "OPTIONS",
            target,
            [
                ("Max-Forwards", "70"),
                ("From", f"{us};tag={stack.new_tag()}"),
                ("To", f"<{target}>"),
                ("Call-ID", stack.new_call_id()),
                ("CSeq", "1 OPTIONS"),
                ("Contact", us),
                ("Accept", "application/sdp"),
            ],
        )

    async def _registration(self) -> Registration | None:
        config = self._line.config
        registrar = Uri.parse(config.registrar) if config.registrar else config.targets[0]
        flows = await self._flows(registrar)
        if not flows:
            return None
        flow = flows[0]
        user = config.username or config.name
        parameters = "" if flow.transport == "UDP" else f";transport={flow.transport.lower()}"
        domain = replace(registrar, user=None, password=None, parameters=(), headers="")
        stack = self._sip.stack
        return Registration(
            RegistrationConfig(
                registrar=str(registrar),
                aor=str(replace(domain, user=user)),
                contact=f"sip:{user}@{flow.sent_by}{parameters}",
                username=config.username,
                password=config.password,
                expires_s=config.register_expires_s,
            ),
            call_id=stack.new_call_id(),
            from_tag=stack.new_tag(),
            on_change=self._on_registration,
        )

    async def _send_registers(self, registration: Registration) -> None:
        for request in registration.requests_to_send():
            flows = await self._flows(request.target)
            if self._registrar in flows:  # it knows our nonce, and it lives
                flows.sort(key=lambda flow: flow != self._registrar)
            self._registrars = flows
            if not self._register_next(request):
                registration.on_failure(self._sip.now(), "the registrar cannot be reached")
        self._sip.pump()

    def _register_next(self, request: Request) -> bool:
        """Send a REGISTER to the next address of the registrar; False when there is none left."""
        if not self._registrars:
            return False
        self._sip.stack.send_request(request, self._registrars.pop(0), self._sip.now(), self)
        self._sip.pump()
        return True

    def _on_registration(self, registration: Registration) -> None:
        log.info(
            "trunk_registration",
            trunk=self._line.config.name,
            state=registration.state.value,
            why=registration.why or None,
        )

    # ClientUser: answers to what we sent.

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """An answer to an OPTIONS or a REGISTER of ours."""
        if response.status < 200:
            return
        if transaction.request.method == "OPTIONS":
            self._probed(transaction, response.status, now)
        elif self._line.registration is not None:
            if response.status == 503 and self._register_next(transaction.request):
                return
            self._registrar = transaction.flow
            self._line.registration.on_response(response, now)
        self._wake.set()

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        """No answer came, or it could not be sent."""
        if transaction.request.method == "OPTIONS":
            self._probed(transaction, 408, now)
        elif self._line.registration is not None:
            if self._register_next(transaction.request):
                return
            self._registrar = None
            self._line.registration.on_failure(now, failure.name.lower())
        self._wake.set()

    def _probed(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """One address has answered, or not: the first answer counts, and a miss is when none came."""
        way = self._probes.pop(transaction, None)
        if way is None:
            return
        answered = counts_as_answer(status)
        self._line.note(*way, answered)
        if transaction not in self._round:
            return
        self._round.discard(transaction)
        if answered:
            self._round.clear()
        if not self._round:
            self._report(lambda: self._line.health.on_answer(status, now))

    def _report(self, change: Callable[[], None]) -> None:
        before = self._line.health.state
        change()
        after = self._line.health.state
        if after is not before:
            log.warning("trunk_health", trunk=self._line.config.name, state=after.value)
