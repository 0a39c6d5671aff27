"""Our registration at a trunk: points 9 and 10 of issue 2, against RFC 3261 §10.2 and RFC 5626 §4.5."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.digest import DigestServer, credentials
from sip.message import Request, Response, parse_message, response_to
from sip.registration import Registration, RegistrationConfig, RegistrationState

State = RegistrationState
CONTACT = "sip:4930111@192.0.2.1:5060"


class Carrier:
    """A registration, and the registrar it talks to, in virtual time."""

    def __init__(self, seed: int = 1, **config: Any) -> None:
        options = {
            "registrar": "sip:carrier.example",
            "aor": "sip:4930111@carrier.example",
            "contact": CONTACT,
            "username": "4930111",
            "password": "s3cret",
            **config,
        }
        self.told: list[tuple[State, str]] = []
        self.registration = Registration(
            RegistrationConfig(**options),
            call_id="call-1",
            from_tag="tag-1",
            rng=random.Random(seed),
            on_change=lambda registration: self.told.append((registration.state, registration.why)),
        )
        self.digest = DigestServer("carrier.example", b"0123456789abcdef")
        self.now = 100.0
        self.log: list[str] = []

    def start(self) -> Request:
        self.registration.start(self.now)
        return self.request()

    def requests(self) -> list[Request]:
        found = []
        for request in self.registration.requests_to_send():
            wire = request.copy()
            wire.headers.insert("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1")
            parsed = parse_message(wire.to_bytes())
            assert isinstance(parsed, Request)
            found.append(parsed)
        return found

    def request(self) -> Request:
        (request,) = self.requests()
        return request

    def answer(self, request: Request, status: int, *headers: tuple[str, str], reason: str | None = None) -> None:
        wire = response_to(request, status, reason, to_tag="t", headers=headers).to_bytes()
        response = parse_message(wire)
        assert isinstance(response, Response)
        self.registration.on_response(response, self.now)

    def challenge(self, request: Request, *, proxy: bool = False, stale: bool = False) -> None:
        status = 407 if proxy else 401
        headers = self.digest.challenge_headers(request, "192.0.2.1", self.now, proxy=proxy, stale=stale)
        self.answer(request, status, *headers)

    def accept(self, request: Request, expires_s: int | None = 3600) -> None:
        contact = CONTACT if expires_s is None else f"<{CONTACT}>;expires={expires_s}"
        self.answer(request, 200, ("Contact", contact))

    def register(self, expires_s: int = 3600) -> None:
        self.accept(self.start(), expires_s)

    def wait(self) -> float:
        """Let time pass until something is due; how long that took."""
        deadline = self.registration.deadline
        assert deadline is not None
        passed = deadline - self.now
        self.now = deadline
        self.registration.handle_timeout(self.now)
        return passed

    def stands(self, state: State) -> bool:
        return self.registration.state is state


@pytest.fixture
def carrier() -> Carrier:
    return Carrier()


def test_9_the_request(carrier: Carrier) -> None:
    assert carrier.stands(State.STOPPED)
    request = carrier.start()
    assert (request.method, request.uri) == ("REGISTER", "sip:carrier.example")
    assert request.get("From") == "<sip:4930111@carrier.example>;tag=tag-1"
    assert request.get("To") == "<sip:4930111@carrier.example>"
    assert request.get("Call-ID") == "call-1"
    assert request.get("CSeq") == "1 REGISTER"
    assert request.get("Contact") == f"<{CONTACT}>"
    assert request.get("Expires") == "3600"
    assert request.get("Max-Forwards") == "70"
    assert "Authorization" not in request.headers
    assert carrier.stands(State.REGISTERING)
    assert carrier.registration.deadline is None  # the transaction has timers of its own


def test_9_registered_and_refreshed_before_expiry(carrier: Carrier) -> None:
    carrier.register(600)
    assert carrier.stands(State.REGISTERED)
    assert carrier.registration.registered(carrier.now)
    assert carrier.registration.next_refresh_at == carrier.registration.deadline
    for cseq in range(2, 6):
        waited = carrier.wait()
        assert 480 <= waited <= 540
        assert carrier.registration.registered(carrier.now)
        request = carrier.request()
        assert request.cseq.number == cseq
        assert request.call_id == "call-1"
        carrier.accept(request, 600)
    assert carrier.told[:2] == [(State.REGISTERING, ""), (State.REGISTERED, "")]


@pytest.mark.parametrize("proxy", [False, True])
def test_9_a_challenge_is_answered(carrier: Carrier, proxy: bool) -> None:
    carrier.challenge(carrier.start(), proxy=proxy)
    request = carrier.request()
    assert request.cseq.number == 2
    assert ("Proxy-Authorization" if proxy else "Authorization") in request.headers
    assert carrier.digest.verify(
        request, "192.0.2.1", carrier.now, lambda user, realm, algorithm: credentials(user, realm, "s3cret", algorithm)
    ).ok
    carrier.accept(request)
    assert carrier.stands(State.REGISTERED)
    assert carrier.told == [(State.REGISTERING, ""), (State.REGISTERED, "")]


def test_9_a_proxy_and_the_registrar_may_both_ask(carrier: Carrier) -> None:
    carrier.challenge(carrier.start(), proxy=True)
    carrier.challenge(carrier.request())
    request = carrier.request()
    assert "Authorization" in request.headers
    assert "Proxy-Authorization" in request.headers
    carrier.accept(request)
    assert carrier.stands(State.REGISTERED)


def test_9_a_stale_nonce_is_tried_again(carrier: Carrier) -> None:
    carrier.challenge(carrier.start())
    carrier.challenge(carrier.request(), stale=True)
    carrier.accept(carrier.request())
    assert carrier.stands(State.REGISTERED)


def test_9_refused_credentials_are_not_sent_again_soon(carrier: Carrier) -> None:
    carrier.challenge(carrier.start())
    carrier.challenge(carrier.request())
    assert carrier.requests() == []
    assert carrier.stands(State.WAITING)
    assert carrier.registration.why == "401 Unauthorized"
    assert 150 <= carrier.wait() <= 300
    assert carrier.stands(State.REGISTERING)
    assert "Authorization" not in carrier.request().headers


def test_9_endless_stale_rounds_end(carrier: Carrier) -> None:
    request = carrier.start()
    for _ in range(10):
        carrier.challenge(request, stale=True)
        requests = carrier.requests()
        if not requests:
            break
        (request,) = requests
    assert carrier.stands(State.WAITING)
    assert request.cseq.number <= 5


def test_9_without_a_password_a_challenge_is_a_refusal() -> None:
    carrier = Carrier(username=None, password=None)
    carrier.challenge(carrier.start())
    assert carrier.stands(State.WAITING)


def test_9_423_asks_for_longer(carrier: Carrier) -> None:
    carrier = Carrier(expires_s=60)
    carrier.answer(carrier.start(), 423, ("Min-Expires", "1800"))
    request = carrier.request()
    assert request.get("Expires") == "1800"
    carrier.accept(request, 1800)
    carrier.wait()
    assert carrier.request().get("Expires") == "1800"  # remembered


@pytest.mark.parametrize("least", [None, "3600", "x", "99999999", "-1"])
def test_9_a_423_without_a_longer_bearable_time_is_a_failure(least: str | None) -> None:
    carrier = Carrier()
    carrier.answer(carrier.start(), 423, *([("Min-Expires", least)] if least else []))
    assert carrier.requests() == []
    assert carrier.stands(State.WAITING)
    assert carrier.registration.why == "423 Interval Too Brief"


def test_9_the_back_off_doubles_with_jitter_up_to_a_bound(carrier: Carrier) -> None:
    carrier.start()
    waits = []
    for _ in range(8):
        carrier.registration.on_failure(carrier.now, "timeout")
        assert carrier.registration.why == "timeout"
        waits.append(carrier.wait())
        carrier.request()
    for failures, waited in enumerate(waits, 1):
        longest = min(300.0, 30.0 * 2**failures)
        assert longest / 2 <= waited <= longest
    assert len({round(waited, 3) for waited in waits}) == 8


def test_9_no_two_registrations_wait_alike() -> None:
    waits = set()
    for seed in range(20):
        carrier = Carrier(seed)
        carrier.answer(carrier.start(), 500)
        waits.add(carrier.wait())
    assert len(waits) == 20


def test_9_a_success_ends_the_back_off(carrier: Carrier) -> None:
    request = carrier.start()
    for _ in range(4):
        carrier.answer(request, 500)
        carrier.wait()
        request = carrier.request()
    carrier.accept(request)
    carrier.wait()
    carrier.answer(carrier.request(), 500)
    assert carrier.wait() <= 60


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 132),
        ("7;duration=3600 (maintenance)", 7, 7.7),
        ("999999", 3600, 3960),
        ("x", 30, 60),
        ("0", 30, 60),
    ],
)
def test_9_retry_after_is_honoured(carrier: Carrier, value: str, least: float, most: float) -> None:
    carrier.answer(carrier.start(), 503, ("Retry-After", value))
    assert carrier.registration.why == "503 Service Unavailable"
    assert least <= carrier.wait() <= most


def test_9_a_failed_refresh_is_tried_again_while_the_binding_lives(carrier: Carrier) -> None:
    carrier.register(100)
    carrier.wait()
    lives_until = 200.0
    tries = 0
    while carrier.registration.registered(carrier.now):
        carrier.request()
        carrier.registration.on_failure(carrier.now)
        assert carrier.stands(State.WAITING)
        tries += 1
        carrier.wait()
    assert tries >= 3
    assert carrier.now >= lives_until
    assert not carrier.registration.registered(carrier.now)


@pytest.mark.parametrize("status", [300, 302, 400, 403, 404, 406, 480, 483, 486, 500, 501, 503, 600, 603])
def test_9_any_failure_is_tried_again_later(carrier: Carrier, status: int) -> None:
    carrier.answer(carrier.start(), status)
    assert carrier.stands(State.WAITING)
    assert carrier.requests() == []
    assert carrier.wait() >= 15
    carrier.accept(carrier.request())
    assert carrier.stands(State.REGISTERED)
    assert carrier.registration.why == ""


# What is granted.


@pytest.mark.parametrize(
    ("headers", "granted"),
    [
        ([("Contact", f"<{CONTACT}>;expires=120")], 120),
        ([("Contact", f"<sip:other@h>;expires=999, <{CONTACT}>;expires=120")], 120),
        ([("Contact", "<sip:4930111@192.0.2.1>;expires=120"), ("Contact", "<sip:x@y>;expires=9")], 120),
        ([("Contact", f"<{CONTACT};ob>;expires=120;q=1.0")], 120),
        ([("Contact", "<sip:rewritten@203.0.113.1:40000>;expires=120")], 120),
        ([("Contact", f"<{CONTACT}>"), ("Expires", "240")], 240),
        ([("Expires", "240")], 240),
        ([], 3600),
        ([("Contact", f"<{CONTACT}>;expires=x")], 3600),
        ([("Contact", f"<{CONTACT}>;expires=99999999")], 86400),
    ],
)
def test_9_the_time_granted(carrier: Carrier, headers: list[tuple[str, str]], granted: int) -> None:
    carrier.answer(carrier.start(), 200, *headers)
    assert carrier.registration.registered(carrier.now + granted - 1)
    assert not carrier.registration.registered(carrier.now + granted)
    assert granted * 0.8 <= carrier.wait() <= granted * 0.9


def test_9_nothing_granted_is_a_failure(carrier: Carrier) -> None:
    carrier.accept(carrier.start(), 0)
    assert carrier.stands(State.WAITING)
    assert not carrier.registration.registered(carrier.now)
    assert "contact" in carrier.registration.why


def test_9_service_route_is_kept(carrier: Carrier) -> None:
    carrier.answer(carrier.start(), 200, ("Service-Route", "<sip:a;lr>, <sip:b;lr>"), ("Expires", "60"))
    assert carrier.registration.service_route == ("<sip:a;lr>", "<sip:b;lr>")


# Answers out of place.


def test_9_only_the_answer_to_the_last_request_counts(carrier: Carrier) -> None:
    first = carrier.start()
    carrier.challenge(first)
    second = carrier.request()
    carrier.answer(first, 403)
    carrier.answer(second, 100)
    assert carrier.stands(State.REGISTERING)
    carrier.accept(second)
    carrier.answer(second, 403)
    carrier.registration.on_failure(carrier.now)
    assert carrier.stands(State.REGISTERED)


def test_9_one_register_at_a_time(carrier: Carrier) -> None:
    carrier.start()
    carrier.registration.start(carrier.now)
    carrier.registration.handle_timeout(carrier.now + 1e6)
    assert carrier.requests() == []


def test_9_nothing_happens_before_it_is_due(carrier: Carrier) -> None:
    carrier.register(600)
    carrier.registration.handle_timeout(carrier.now + 479)
    assert carrier.requests() == []


def test_9_starting_while_waiting_tries_at_once(carrier: Carrier) -> None:
    carrier.answer(carrier.start(), 500)
    carrier.registration.start(carrier.now)
    carrier.accept(carrier.request())
    assert carrier.stands(State.REGISTERED)


# Leaving.


def test_9_unregister(carrier: Carrier) -> None:
    carrier.register()
    carrier.registration.unregister(carrier.now)
    assert carrier.stands(State.UNREGISTERING)
    request = carrier.request()
    assert request.get("Expires") == "0"
    assert request.get("Contact") == f"<{CONTACT}>"
    carrier.challenge(request)
    request = carrier.request()
    assert request.get("Expires") == "0"
    carrier.answer(request, 200)
    assert carrier.stands(State.STOPPED)
    assert carrier.registration.deadline is None
    assert not carrier.registration.registered(carrier.now)
    assert carrier.told[-1] == (State.STOPPED, "")


@pytest.mark.parametrize("end", ["500", "timeout", "403"])
def test_9_unregister_ends_whatever_is_said(carrier: Carrier, end: str) -> None:
    carrier.register()
    carrier.registration.unregister(carrier.now)
    request = carrier.request()
    if end == "timeout":
        carrier.registration.on_failure(carrier.now)
    else:
        carrier.answer(request, int(end))
    assert carrier.stands(State.STOPPED)
    assert carrier.requests() == []


def test_9_unregister_without_a_binding_sends_nothing(carrier: Carrier) -> None:
    carrier.registration.unregister(carrier.now)
    assert carrier.stands(State.STOPPED)
    carrier.answer(carrier.start(), 500)
    carrier.registration.unregister(carrier.now)
    assert carrier.stands(State.STOPPED)
    assert carrier.requests() == []


def test_9_unregister_waits_for_the_register_under_way(carrier: Carrier) -> None:
    request = carrier.start()
    carrier.registration.unregister(carrier.now)
    assert carrier.requests() == []  # RFC 3261 §10.2: one at a time
    carrier.accept(request)
    assert carrier.stands(State.UNREGISTERING)
    carrier.answer(carrier.request(), 200)
    assert carrier.stands(State.STOPPED)


def test_9_unregister_during_an_attempt_that_fails(carrier: Carrier) -> None:
    request = carrier.start()
    carrier.registration.unregister(carrier.now)
    carrier.answer(request, 500)
    assert carrier.stands(State.STOPPED)
    assert carrier.registration.deadline is None


def test_9_unregister_while_a_refresh_waits(carrier: Carrier) -> None:
    carrier.register(600)
    carrier.wait()
    carrier.answer(carrier.request(), 500)
    carrier.registration.unregister(carrier.now)
    assert carrier.request().get("Expires") == "0"


def test_9_start_during_unregister_registers_again(carrier: Carrier) -> None:
    carrier.register()
    carrier.registration.unregister(carrier.now)
    request = carrier.request()
    carrier.registration.start(carrier.now)
    carrier.answer(request, 200)
    assert carrier.stands(State.REGISTERING)
    carrier.accept(carrier.request())
    assert carrier.stands(State.REGISTERED)


# Configuration.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("registrar", "carrier.example"),
        ("aor", "tel:+49"),
        ("contact", "sip:a\r\nb@h"),
        ("contact", "<sip:a@h>"),
        ("expires_s", 0),
        ("expires_s", 100_000),
        ("retry_base_s", 0.0),
        ("retry_max_s", 1.0),
    ],
)
def test_9_a_fault_of_the_configuration_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}|retry_base_s"):
        Carrier(**{field: value})


def test_14_the_password_is_not_shown(carrier: Carrier) -> None:
    assert "s3cret" not in repr(carrier.registration.config)


# Everything at once.


@given(
    st.lists(
        st.sampled_from(["200", "401", "stale", "423", "500", "403", "timeout", "wait", "start", "stop"]),
        max_size=60,
    ),
    st.integers(min_value=0, max_value=1000),
)
def test_9_no_sequence_stalls_or_floods(events: list[str], seed: int) -> None:
    carrier = Carrier(seed)
    carrier.registration.start(carrier.now)
    under_way: Request | None = None
    wanted = True
    cseq = 0
    for event in events:
        for request in carrier.requests():
            assert under_way is None
            assert request.cseq.number > cseq
            cseq, under_way = request.cseq.number, request
        if event in ("start", "stop"):
            wanted = event == "start"
            (carrier.registration.start if wanted else carrier.registration.unregister)(carrier.now)
        elif event == "wait":
            if carrier.registration.deadline is not None:
                carrier.wait()
        elif under_way is not None:
            request, under_way = under_way, None
            if event == "timeout":
                carrier.registration.on_failure(carrier.now)
            elif event == "200":
                carrier.accept(request, 0 if request.get("Expires") == "0" else 3600)
            elif event in ("401", "stale"):
                carrier.challenge(request, stale=event == "stale")
            elif event == "423":
                carrier.answer(request, 423, ("Min-Expires", "7200"))
            else:
                carrier.answer(request, int(event))
        busy = under_way is not None or bool(carrier.registration._outbox)
        waiting = carrier.registration.deadline is not None
        if carrier.stands(State.STOPPED):
            assert not wanted
            assert not busy
            assert not waiting
        else:
            assert busy != waiting  # never both, and never neither
