"""[io] Trunks as they are at this moment: up or down, how many calls they carry, registered or not.

One task a trunk sends its OPTIONS and its REGISTERs; the rules of both are sip's (TrunkHealth, Registration).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
)

from .ports import SipPort

log = structlog.get_logger("signalling.trunks")

UNREGISTER_WAIT_S = 1.0  # at shutdown; a registrar that does not answer must not hold it up


class TrunkLine:
    """One trunk: its configuration, and what it can do now."""

    __slots__ = ("config", "health", "rate", "registration", "slots")

    def __init__(self, config: TrunkConfig, now: float) -> None:
        self.config = config
        self.health = TrunkHealth(config, now)
        self.rate = CallRate(config.max_calls_per_s)
        self.slots = CallSlots(config.max_calls)
        self.registration: Registration | None = None

    def unusable(self, now: float) -> str | None:
        """Why no call can be given to it now, or None."""
        config = self.config
        if self.health.state is HealthState.DOWN:
            return f"down: {config.options_misses} OPTIONS in a row were not answered"
        if config.max_calls is not None and self.slots.in_use >= config.max_calls:
            return f"at its limit of {config.max_calls} calls"
        if self.rate.retry_after_s(now) > 0:
            return f"at its limit of {config.max_calls_per_s:g} calls a second"
        return None

    def take(self, now: float) -> str | None:
        """Take a place for one call; why that is impossible, or None when taken. `give_back` must follow."""
        unusable = self.unusable(now)
        if unusable is None and self.slots.take():
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
        self._probes: set[ClientTransaction] = set()
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

    async def _flow(self, uri: Uri) -> Flow | None:
        try:
            return (await self._sip.flows_to(uri))[0]
        except ResolveError as error:
            log.warning("trunk_unreachable", trunk=self._line.config.name, uri=str(uri), error=str(error))
            return None

    async def _probe(self) -> None:
        target = self._line.config.targets[0]
        flow = await self._flow(target)
        now = self._sip.now()
        if flow is None:
            self._line.health.on_miss(now)
            return
        stack = self._sip.stack
        us = f"<sip:ringway@{flow.sent_by}>"
        request = Request(
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
        self._probes.add(stack.send_request(request, flow, now, self))
        self._sip.pump()

    async def _registration(self) -> Registration | None:
        config = self._line.config
        registrar = Uri.parse(config.registrar) if config.registrar else config.targets[0]
        flow = await self._flow(registrar)
        if flow is None:
            return None
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
            flow = await self._flow(request.target)
            if flow is None:
                registration.on_failure(self._sip.now(), "the registrar cannot be reached")
            else:
                self._sip.stack.send_request(request, flow, self._sip.now(), self)
        self._sip.pump()

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
        if transaction in self._probes:
            self._probes.discard(transaction)
            self._report(lambda: self._line.health.on_answer(response.status, now))
        elif self._line.registration is not None:
            self._line.registration.on_response(response, now)
        self._wake.set()

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        """No answer came, or it could not be sent."""
        if transaction in self._probes:
            self._probes.discard(transaction)
            self._report(lambda: self._line.health.on_miss(now))
        elif self._line.registration is not None:
            self._line.registration.on_failure(now, failure.name.lower())
        self._wake.set()

    def _report(self, change: Callable[[], None]) -> None:
        before = self._line.health.state
        change()
        after = self._line.health.state
        if after is not before:
            log.warning("trunk_health", trunk=self._line.config.name, state=after.value)
