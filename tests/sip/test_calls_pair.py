"""Two call cores back to back over a network that loses, repeats and reorders: in the end both must agree."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sip.calls import (
    Answered,
    Call,
    CallCore,
    CallEvent,
    CallGone,
    CallStateError,
    Cancelled,
    Confirmed,
    Ended,
    Failed,
    IncomingCall,
    NoAck,
    OutgoingCall,
    ReinviteAnswered,
    ReinviteCancelled,
    ReinviteFailed,
    ReinviteReceived,
    RequestAnswered,
    RequestReceived,
    Ringing,
)
from sip.message import Request, parse_message
from sip.stack import SipStack
from sip.transactions import ServerTransaction

from .peer import Wire

MAX_LOSSES = 2
"Times that one message may be lost: of the seven INVITEs that timer A allows, request and 100 both get through."

Verb = Literal[
    "accept", "reject", "ring", "cancel", "bye", "reinvite", "late reinvite", "answer", "refuse", "withdraw", "info"
]
VERBS: tuple[Verb, ...] = (
    "accept", "reject", "ring", "cancel", "bye", "reinvite", "late reinvite", "answer", "refuse", "withdraw", "info",
)  # fmt: skip


class Network:
    """Carries messages between two sides, each with its own delay."""

    def __init__(self, seed: int, *, loss: float, repeats: float, jitter_s: float) -> None:
        self.now = 1000.0
        self._random = Random(seed)
        self._loss, self._repeats, self._jitter_s = loss, repeats, jitter_s
        self._queue: list[tuple[float, int, End, bytes]] = []
        self._lost: dict[tuple[object, ...], int] = {}
        self._number = 0

    def carry(self, source: End, data: bytes) -> None:
        message = parse_message(data)
        kind = message.method if isinstance(message, Request) else message.status
        key = (source.name, kind, str(message.cseq), message.from_.tag)
        if self._random.random() < self._loss and self._lost.get(key, 0) < MAX_LOSSES:
            self._lost[key] = self._lost.get(key, 0) + 1
            return
        for _ in range(2 if self._random.random() < self._repeats else 1):
            self._number += 1
            at = self.now + 0.01 + self._random.random() * self._jitter_s
            heappush(self._queue, (at, self._number, source.other, data))

    def run_until(self, end: float, ends: tuple[End, End]) -> None:
        while True:
            for side in ends:
                for data, _ in side.stack.messages_to_send():
                    self.carry(side, data)
            due = [at for side in ends for at in (side.stack.deadline, side.core.deadline) if at is not None]
            if self._queue:
                due.append(self._queue[0][0])
            if not due or min(due) > end:
                self.now = end
                return
            self.now = max(self.now, min(due))
            while self._queue and self._queue[0][0] <= self.now:
                _, _, side, data = heappop(self._queue)
                side.stack.receive(parse_message(data), side.flow, self.now)
            for side in ends:
                side.stack.handle_timeout(self.now)
                side.core.handle_timeout(self.now)


class End:
    """One side, with a user that keeps what was agreed as a session would."""

    def __init__(self, name: str, network: Network, seed: int) -> None:
        self.name = name
        self.network = network
        self.flow = Wire(name)
        self.stack = SipStack(self, random=Random(seed))
        self.core = CallCore(self.stack, random=Random(seed))
        self.other = self
        self.outgoing: OutgoingCall | None = None
        self.incoming: IncomingCall | None = None
        self.call: Call | None = None
        self.events: list[CallEvent] = []
        self.agreed: tuple[str, str] | None = None
        "Our last description and theirs, once an offer is answered."
        self.offered: str | None = None
        self.their_offer: str | None = None
        self.asked = False
        "A re-INVITE of theirs waits for our answer."
        self._number = 0

    @property
    def now(self) -> float:
        return self.network.now

    def describe(self) -> str:
        self._number += 1
        return f"v=0\r\ns={self.name}{self._number}\r\n"

    def invite(self, *, late: bool) -> None:
        headers = [
            ("Max-Forwards", "70"),
            ("From", f"<sip:{self.name}@example.org>;tag={self.stack.new_tag()}"),
            ("To", f"<sip:{self.other.name}@example.org>"),
            ("Call-ID", self.stack.new_call_id()),
            ("CSeq", "1 INVITE"),
            ("Contact", f"<sip:{self.name}@192.0.2.1>"),
        ]
        self.offered = None if late else self.describe()
        if self.offered is not None:
            headers.append(("Content-Type", "application/sdp"))
        request = Request("INVITE", "sip:x@example.org", headers, (self.offered or "").encode())
        self.outgoing = self.core.invite(request, self.flow, self.now, self.listen)

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        contact = f"<sip:{self.name}@192.0.2.1>"
        self.incoming = self.core.incoming(transaction, now, self.listen, contact=contact)

    def agree(self, ours: str | None, theirs: str | None) -> None:
        assert ours is not None
        assert theirs is not None
        self.agreed = (ours, theirs)

    def listen(self, event: CallEvent) -> None:
        self.events.append(event)
        match event:
            case Answered(call=call, sdp=sdp, needs_ack=needs_ack):
                self.call = call
                if needs_ack:
                    answer = self.describe()
                    self.agree(answer, sdp)
                    call.ack(self.now, answer)
                else:
                    self.agree(self.offered, sdp)
            case Confirmed(sdp=sdp) if sdp is not None:
                self.agree(self.offered, sdp)
            case ReinviteReceived(sdp=sdp):
                self.asked, self.their_offer = True, sdp
            case ReinviteCancelled():
                self.asked = False
            case ReinviteAnswered(call=call, sdp=sdp, needs_ack=needs_ack):
                if needs_ack:
                    answer = self.describe()
                    self.agree(answer, sdp)
                    call.ack(self.now, answer)
                else:
                    self.agree(self.offered, sdp)
            case RequestReceived(respond=respond):
                respond(self.now, 200)
            case Ended():
                self.asked = False
            case _:
                pass

    def accept(self, sdp: str | None) -> str:
        """Our description for an offer, or our offer."""
        ours = self.describe()
        if sdp is not None:
            self.agree(ours, sdp)
        else:
            self.offered = ours
        return ours

    def do(self, verb: Verb) -> None:
        now, call, incoming = self.now, self.call, self.incoming
        if incoming is not None and not incoming.over:
            if verb == "accept":
                self.call = incoming.accept(now, self.accept(incoming.offer))
            elif verb == "reject":
                incoming.reject(now, 486)
            elif verb == "ring":
                incoming.ring(now)
        elif verb == "cancel" and self.outgoing is not None:
            self.outgoing.cancel(now)
        elif call is not None:
            self.do_in_call(call, verb)

    def do_in_call(self, call: Call, verb: Verb) -> None:
        now = self.now
        if verb == "bye":
            call.bye(now)
        elif verb in ("reinvite", "late reinvite"):
            try:
                offer = self.describe() if verb == "reinvite" else None
                call.reinvite(now, offer)
                self.offered = offer
            except CallStateError:
                assert not call.can_reinvite
        elif verb == "answer" and self.asked:
            self.asked = False
            call.accept_reinvite(now, self.accept(self.their_offer))
        elif verb == "refuse" and self.asked:
            self.asked = False
            call.reject_reinvite(now)
        elif verb == "withdraw":
            call.cancel_reinvite(now)
        elif verb == "info":
            try:
                call.send(now, "INFO")
            except CallGone:
                assert call.ended

    def check_events(self) -> None:
        """The promises of events.py."""
        kinds = [type(event) for event in self.events]
        if self.outgoing is not None:
            assert kinds.count(Answered) + kinds.count(Failed) == 1
            assert Failed in kinds or not self.outgoing.cancelled
            assert Ringing not in kinds[kinds.index(Answered if Answered in kinds else Failed) :]
        assert kinds.count(Cancelled) <= 1
        assert NoAck not in kinds, "every message gets through in time"
        if self.call is not None:
            assert kinds.count(Ended) == 1
            assert kinds[-1] is Ended
        else:
            assert not {Ended, Confirmed, RequestAnswered, ReinviteFailed} & set(kinds)


Step = tuple[float, int, Verb]
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.4, 1.0, 3.0]), st.sampled_from([0, 1]), st.sampled_from(VERBS)), max_size=25
)


def play(steps: list[Step], *, seed: int, late: bool, loss: float, repeats: float, jitter_s: float) -> tuple[End, End]:
    network = Network(seed, loss=loss, repeats=repeats, jitter_s=jitter_s)
    ends = (End("a", network, seed), End("b", network, seed + 1))
    ends[0].other, ends[1].other = ends[1], ends[0]
    ends[0].invite(late=late)
    for delay_s, side, verb in steps:
        network.run_until(network.now + delay_s, ends)
        ends[side].do(verb)
    # What still waits for a user gets its answer, and the network comes to rest.
    for _ in range(6):
        network.run_until(network.now + 40, ends)
        for end in ends:
            end.do("accept")
            end.do("answer")
    assert_agreement(ends)
    ends[seed % 2].do("bye")
    network.run_until(network.now + 200, ends)
    for end in ends:
        assert not any(end.core.counts().values()), end.core.counts()
        assert not any(end.stack.counts().values()), end.stack.counts()
        end.check_events()
    return ends


def assert_agreement(ends: tuple[End, End]) -> None:
    first, second = ends
    up = [len(end.core.calls) for end in ends]
    assert up in ([0, 0], [1, 1]), up
    if up == [1, 1]:
        assert first.agreed is not None
        assert second.agreed == first.agreed[::-1]
        assert first.call is not None
        assert first.call.can_reinvite
        assert second.call is not None
        assert second.call.can_reinvite


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=STEPS,
    seed=st.integers(0, 2**32),
    late=st.booleans(),
    loss=st.sampled_from([0.0, 0.2, 0.5]),
    repeats=st.sampled_from([0.0, 0.3]),
    jitter_s=st.sampled_from([0.0, 0.05, 1.5]),
)
def test_both_ends_agree(
    steps: list[Step], seed: int, late: bool, loss: float, repeats: float, jitter_s: float
) -> None:
    play(steps, seed=seed, late=late, loss=loss, repeats=repeats, jitter_s=jitter_s)


def test_many_random_lives() -> None:
    random = Random(3)
    answered = 0
    for seed in range(150):
        steps: list[Step] = [(0.1, 1, "ring"), (1.0, 1, "accept")] if seed % 3 else []
        for _ in range(random.randrange(12)):
            delay_s = random.choice([0.0, 0.1, 0.4, 1.0, 3.0])
            steps.append((delay_s, random.randrange(2), random.choice(VERBS)))
        ends = play(
            steps,
            seed=seed,
            late=random.random() < 0.3,
            loss=random.choice([0.0, 0.2, 0.5]),
            repeats=random.choice([0.0, 0.3]),
            jitter_s=random.choice([0.0, 0.05, 1.5]),
        )
        answered += ends[0].call is not None
    assert answered > 80


@pytest.mark.parametrize("late", [False, True])
def test_of_simultaneous_reinvites_that_of_the_callee_wins(late: bool) -> None:
    verb: Verb = "late reinvite" if late else "reinvite"
    steps: list[Step] = [(0.2, 1, "accept"), (1.0, 0, verb), (0.0, 1, verb)]
    steps += [(0.3, side, "answer") for _ in range(12) for side in (0, 1)]
    caller, callee = play(steps, seed=1, late=False, loss=0, repeats=0, jitter_s=0)
    assert [event.status for event in caller.events if isinstance(event, ReinviteFailed)] == [491]
    assert sum(isinstance(event, ReinviteReceived) for event in caller.events) == 1
    assert sum(isinstance(event, ReinviteAnswered) for event in callee.events) == 1
