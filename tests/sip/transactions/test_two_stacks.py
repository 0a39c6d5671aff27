"""Two stacks over a network that loses, doubles, delays and reorders: what must hold whatever it does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sip.message import Request, Response, response_to
from sip.stack import SipStack
from sip.transactions import ClientTransaction, Failure, ServerTransaction, State
from tests.sip.ladder import FakeFlow, Network, Node, request


class BadNetwork:
    """Loses, doubles and delays by a seeded lot."""

    def __init__(self, seed: int, loss: float, doubling: float, delay_s: float) -> None:
        self.lot = random.Random(seed)
        self.loss = loss
        self.doubling = doubling
        self.delay_s = delay_s

    def fate(self, source: Node, destination: Node, data: bytes) -> Sequence[float]:
        copies = 2 if self.lot.random() < self.doubling else 1
        return [self.lot.uniform(0, self.delay_s) for _ in range(copies) if self.lot.random() >= self.loss]


@dataclass
class Caller:
    """Sends, ACKs each 2xx, and gives up after a while."""

    stack: SipStack
    flow: FakeFlow
    finals: list[str] = field(default_factory=list)
    fork_tags: set[str | None] = field(default_factory=set)

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status < 200:
            assert not self.finals, "nothing provisional after the final response"
            return
        if transaction.request.method == "INVITE" and response.status < 300:
            ack = request("ACK", to_tag=response.to.tag, call_id=response.call_id, with_via=False)
            self.stack.send_ack(ack, self.flow, now)
            if response.to.tag in self.fork_tags:
                return
            self.fork_tags.add(response.to.tag)
        self.finals.append(str(response.status))

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        self.finals.append(failure.value)


@dataclass
class Callee:
    """Answers as told, by its own timetable."""

    stack: SipStack
    invited: list[ServerTransaction] = field(default_factory=list)
    asked: int = 0
    ends: list[str] = field(default_factory=list)
    acks: int = 0
    decision: int | None = None
    "Final status; an INVITE that comes later gets it at once."

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        if transaction.request.method == "INVITE":
            transaction.user = self
            self.invited.append(transaction)
            if self.decision is not None:
                self.answer(self.decision, now)
        else:
            self.asked += 1
            self.stack.respond(transaction, response_to(transaction.request, 200), now)

    def answer(self, status: int, now: float) -> None:
        if status >= 200:
            self.decision = status
        for transaction in self.invited:
            if transaction.answerable:
                response = response_to(transaction.request, status, to_tag=transaction.local_tag)
                if 200 <= status < 300:
                    dialog = (response.call_id, transaction.local_tag, response.from_.tag or "")
                    self.stack.add_dialog(dialog, self)
                self.stack.respond(transaction, response, now)

    def on_ack(self, message: Request, now: float) -> None:
        self.acks += 1
        for transaction in self.invited:
            transaction.acked()

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        response = response_to(transaction.request, 487, to_tag=transaction.local_tag)
        self.stack.respond(transaction, response, now)
        self.ends.append("cancelled")

    def on_ack_missing(self, transaction: ServerTransaction, now: float) -> None:
        self.ends.append("ack missing")

    def on_flow_closed(self, transaction: ServerTransaction, now: float) -> None:
        raise AssertionError("no flow closes here")


class World:
    def __init__(self, network: BadNetwork) -> None:
        self.net = Network(fate=network.fate)
        self.caller_stack = SipStack(random=random.Random(1))
        self.callee_stack = SipStack(random=random.Random(2))
        self.callee = Callee(self.callee_stack)
        self.callee_stack.user = self.callee
        there = self.net.node("callee", self.callee_stack)
        here = self.net.node("caller", self.caller_stack)
        self.flow = here.flow_to(there)
        self.caller = Caller(self.caller_stack, self.flow)

    def send(self, method: str) -> ClientTransaction:
        return self.caller_stack.send_request(request(method, with_via=False), self.flow, self.net.now, self.caller)

    def check_nothing_is_left(self) -> None:
        """Every wait is over 64*T1 after the last message, which may itself be 64*T1 after the last answer."""
        self.net.run_for(200)
        for transaction in self.callee.invited:
            dialog = (transaction.request.call_id, transaction.local_tag, "alice")
            self.callee_stack.remove_dialog(dialog)
        for stack in (self.caller_stack, self.callee_stack):
            assert not any(stack.counts().values()), stack.counts()
            assert stack.deadline is None
            assert stack._layer.timers._heap == []


networks = st.builds(
    BadNetwork,
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.9]),
    doubling=st.sampled_from([0.0, 0.3, 1.0]),
    delay_s=st.sampled_from([0.0, 0.02, 0.7, 3.0]),
)
thorough = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(networks)
def test_a_request_has_exactly_one_end(network: BadNetwork) -> None:
    world = World(network)
    transaction = world.send("OPTIONS")
    world.net.run_for(40)
    assert len(world.caller.finals) == 1
    assert world.caller.finals[0] in ("200", "timeout")
    assert transaction.state in (State.COMPLETED, State.TERMINATED)
    assert world.callee.asked <= 1, "no repetition goes up twice"
    world.check_nothing_is_left()


@thorough
@given(networks, st.sampled_from([200, 302, 486, 500]), st.floats(0, 90), st.booleans())
def test_a_call_has_exactly_one_end(network: BadNetwork, status: int, answer_after_s: float, ringing: bool) -> None:
    world = World(network)
    world.send("INVITE")
    world.net.run_for(0.1)
    if ringing:
        world.callee.answer(180, world.net.now)
    world.net.run_for(answer_after_s)
    world.callee.answer(status, world.net.now)
    world.net.run_for(150)
    assert len(world.callee.invited) <= 1, "no repetition is a new call"
    assert len(world.caller.finals) <= 1
    if world.caller.finals:
        assert world.caller.finals[0] in (str(status), "timeout")
    else:
        # It rings still: the callee's last word was lost each time for 64*T1. The user's patience ends it.
        assert world.callee.ends in ([], ["ack missing"])
        (alone,) = world.caller_stack._layer.client.values()
        assert isinstance(alone, ClientTransaction)
        world.caller_stack.cancel(alone, world.net.now)
        world.net.run_for(40)
        assert world.caller.finals == ["timeout"]
    if status == 200 and network.loss == 0.0:
        assert world.caller.finals == ["200"]
        assert world.callee.acks >= 1
        assert world.callee.ends == []
    world.check_nothing_is_left()


@thorough
@given(networks, st.floats(0, 5), st.floats(0, 5), st.sampled_from([200, 486]))
def test_a_cancelled_call_has_exactly_one_end(
    network: BadNetwork, cancel_after_s: float, answer_after_s: float, status: int
) -> None:
    """The CANCEL and the answer cross in every way they can."""
    world = World(network)
    transaction = world.send("INVITE")
    for at, step in sorted([(cancel_after_s, "cancel"), (answer_after_s, "answer")]):
        world.net.run_for(at - world.net.now)
        if step == "cancel":
            world.caller_stack.cancel(transaction, world.net.now)
        else:
            world.callee.answer(status, world.net.now)
    world.net.run_for(150)
    assert len(world.callee.invited) <= 1
    assert len(world.caller.finals) == 1
    assert world.caller.finals[0] in (str(status), "487", "timeout")
    assert world.callee.ends.count("cancelled") <= 1
    if network.loss == 0.0:
        assert world.caller.finals != ["timeout"]
        assert "ack missing" not in world.callee.ends
    world.check_nothing_is_left()
