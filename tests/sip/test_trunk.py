"""Trunks: point 10 of issue 2: configuration, number formats, sources, health, limits."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.message import Request, parse_message
from sip.trunk import (
    CallRate,
    CallSlots,
    HealthState,
    TrunkConfig,
    TrunkHealth,
    counts_as_answer,
    dialled_number,
    matches_source,
    request_uri,
    trunk_for_source,
)
from sip.uri import Uri

UP, DOWN = HealthState.UP, HealthState.DOWN


def trunk(name: str = "carrier", **options: Any) -> TrunkConfig:
    return TrunkConfig(name, options.pop("hosts", ("sip:carrier.example",)), **options)


# Configuration.


def test_10_hosts_are_parsed_once_in_order() -> None:
    found = trunk(hosts=("sip:a.example:5070;transport=tcp", "sip:[2001:db8::1]"))
    assert [str(uri) for uri in found.targets] == ["sip:a.example:5070;transport=tcp", "sip:[2001:db8::1]"]
    assert found.registrar_uri == found.targets[0]
    assert trunk(registrar="sip:reg.example").registrar_uri == Uri.parse("sip:reg.example")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\r\nb"),
        ("hosts", ()),
        ("hosts", ("carrier.example",)),
        ("hosts", ("sip:user@carrier.example",)),
        ("hosts", ("sips:carrier.example",)),
        ("hosts", ("sip:carrier.example;transport=tls",)),
        ("hosts", ("sip:carrier.example?X=y",)),
        ("hosts", ("sip:bad host",)),
        ("registrar", "tel:+49"),
        ("password", None),
        ("from_user", ""),
        ("from_user", "a\nb"),
        ("from_host", "a b"),
        ("from_display", "\0"),
        ("pai", "\x85"),
        ("privacy", "sometimes"),
        ("media", "relay"),
        ("number_format", "E164"),
        ("country_code", "+49"),
        ("national_prefix", "x"),
        ("strip_prefix", "\t"),
        ("max_calls", -1),
        ("max_calls_per_s", 0.0),
        ("options_interval_s", 0.5),
        ("options_interval_s", -1.0),
        ("options_misses", 0),
        ("answer_timeout_s", 0.0),
        ("ring_timeout_s", 0.0),
        ("register_expires_s", 10),
    ],
)
def test_10_a_fault_of_the_configuration_names_its_field(field: str, value: Any) -> None:
    options: dict[str, Any] = {"name": "carrier", "username": "u", "password": "p", field: value}
    with pytest.raises(ValueError, match=f"^{field}"):
        trunk(**options)


def test_10_registering_needs_a_user() -> None:
    with pytest.raises(ValueError, match="username"):
        trunk(register=True)


def test_14_the_password_is_not_shown() -> None:
    assert "s3cret" not in repr(trunk(username="u", password="s3cret"))


# Numbers.


@pytest.mark.parametrize(
    ("number_format", "dialled", "expected"),
    [
        ("as_is", "+49 30 1234567", "+49 30 1234567"),
        ("as_is", "0301234567", "0301234567"),
        ("e164", "+493012345678", "493012345678"),
        ("e164", "00493012345678", "493012345678"),
        ("e164", "0301234567", "49301234567"),
        ("e164", "493012345678", "493012345678"),
        ("e164_plus", "+49 (30) 123-456.7", "+49301234567"),
        ("e164_plus", "00493012345678", "+493012345678"),
        ("e164_plus", "0301234567", "+49301234567"),
        ("e164_plus", "12125551234", "+12125551234"),
        ("e164_plus", "112", "112"),  # emergency and short numbers have no E.164 form
        ("e164_plus", "110", "110"),
        ("e164_plus", "116117", "116117"),
        ("e164_plus", "alice", "alice"),
        ("e164_plus", "*21*0301234567#", "*21*0301234567#"),
        ("e164_plus", "tel:+49-30-1234567;ext=5", "+49301234567"),
        ("e164_plus", "sip:+49301234567@elsewhere.example", "+49301234567"),
    ],
)
def test_10_number_formats(number_format: Any, dialled: str, expected: str) -> None:
    assert dialled_number(trunk(number_format=number_format, country_code="49"), dialled) == expected


def test_10_a_national_number_without_a_country_code_stays() -> None:
    assert dialled_number(trunk(number_format="e164_plus"), "0301234567") == "0301234567"
    assert dialled_number(trunk(number_format="e164_plus"), "00493012345678") == "+493012345678"


def test_10_other_dialling_habits() -> None:
    america = trunk(number_format="e164_plus", country_code="1", national_prefix="1", international_prefix="011")
    assert dialled_number(america, "12125551234") == "+12125551234"
    assert dialled_number(america, "011493012345678") == "+493012345678"


def test_10_prefixes() -> None:
    found = trunk(strip_prefix="9", add_prefix="1010", number_format="e164", country_code="49")
    assert dialled_number(found, "90301234567") == "101049301234567"
    assert dialled_number(found, "0301234567") == "101049301234567"
    assert dialled_number(found, "9") == "10109"  # nothing would be left
    assert dialled_number(trunk(strip_prefix="9"), "9112") == "112"
    assert dialled_number(trunk(add_prefix="tech#"), "12") == "tech#12"


def test_10_the_request_uri_keeps_host_port_and_transport() -> None:
    found = trunk(hosts=("sip:a.example:5070;transport=tcp",), add_prefix="#")
    assert str(request_uri(found, "12", found.targets[0])) == "sip:%2312@a.example:5070;transport=tcp"
    with pytest.raises(ValueError, match="URI"):
        request_uri(found, "sip:a b", found.targets[0])


@given(st.text(min_size=1), st.sampled_from(["as_is", "e164", "e164_plus"]))
def test_10_any_callee_makes_a_uri_that_parses_back(callee: str, number_format: Any) -> None:
    found = trunk(number_format=number_format, country_code="49")
    try:
        uri = request_uri(found, callee, found.targets[0])
    except ValueError:
        assert ":" in callee
        return
    assert Uri.parse(str(uri)) == uri
    if ":" not in callee and not any("\ud800" <= char <= "\udfff" for char in callee):
        assert uri.username == dialled_number(found, callee)


# Sources.


def networks(*texts: str) -> tuple[Any, ...]:
    return tuple(ip_network(text) for text in texts)


@pytest.mark.parametrize(
    ("ip", "matches"),
    [
        ("192.0.2.7", True),
        ("192.0.2.16", False),
        ("198.51.100.1", True),
        ("::ffff:192.0.2.7", True),  # an IPv4 peer of a dual-stack socket
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("not an address", False),
        ("", False),
    ],
)
def test_10_inbound_calls_are_matched_by_address_range(ip: str, matches: bool) -> None:
    found = trunk(inbound_sources=networks("192.0.2.0/28", "198.51.100.1/32", "2001:db8::/32"))
    assert matches_source(found, ip) is matches


def test_10_without_sources_nothing_matches() -> None:
    assert not matches_source(trunk(), "192.0.2.7")
    assert trunk_for_source([trunk()], "192.0.2.7") is None


def test_10_the_most_specific_range_wins() -> None:
    wide = trunk("wide", inbound_sources=networks("192.0.2.0/24"))
    narrow = trunk("narrow", inbound_sources=networks("192.0.2.8/32", "203.0.113.0/24"))
    for order in ([wide, narrow], [narrow, wide]):
        assert trunk_for_source(order, "192.0.2.8") is narrow
        assert trunk_for_source(order, "192.0.2.9") is wide
        assert trunk_for_source(order, "192.0.3.9") is None
    twin = replace(wide, name="twin")
    assert trunk_for_source([wide, twin], "192.0.2.1") is wide


def test_10_from_never_makes_a_trunk() -> None:
    """The interface has no way to ask by From: an address is all that it takes."""
    request = parse_message(
        b"INVITE sip:1001@pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP carrier.example;branch=z9hG4bK1\r\n"
        b"From: <sip:x@carrier.example>;tag=1\r\nTo: <sip:1001@pbx.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"
    )
    assert isinstance(request, Request)
    found = trunk(inbound_sources=networks("192.0.2.0/24"))
    assert trunk_for_source([found], request.from_.uri.host) is None
    assert trunk_for_source([found], request.via.host) is None


# Health.


def health(now: float = 0.0, **options: Any) -> TrunkHealth:
    return TrunkHealth(trunk(**options), now, rng=random.Random(1))


def due_at(found: TrunkHealth) -> float:
    assert found.deadline is not None
    return found.deadline


def probed(found: TrunkHealth, now: float) -> None:
    assert found.probe_due(max(now, due_at(found)))


def test_10_down_after_n_misses_in_a_row_up_after_two_answers_in_a_row() -> None:
    found = health(options_misses=3)
    assert found.state is UP
    states = []
    now = 0.0
    for answered in (False, False, True, False, False, False, True, False, True, True, True):
        now += 30
        probed(found, now)
        if answered:
            found.on_answer(200, now)
        else:
            found.on_miss(now)
        states.append(found.state)
    assert states == [UP, UP, UP, UP, UP, DOWN, DOWN, DOWN, DOWN, UP, UP]


@pytest.mark.parametrize("status", [200, 202, 302, 400, 401, 403, 404, 405, 407, 480, 481, 483, 486, 500, 501, 603])
def test_10_any_word_of_the_server_itself_is_an_answer(status: int) -> None:
    assert counts_as_answer(status)
    found = health(options_misses=1)
    found.on_answer(status, 0.0)
    assert found.state is UP


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_10_no_answer_from_behind_a_proxy_and_out_of_service_are_misses(status: int) -> None:
    found = health(options_misses=1)
    found.on_answer(status, 0.0)
    assert found.state is DOWN


def test_10_one_probe_at_a_time() -> None:
    found = health()
    assert 0.0 <= due_at(found) <= 3.0  # the first within a tenth of the interval
    assert found.probe_due(3.0)
    assert not found.probe_due(60.0)
    assert found.deadline is None
    found.on_answer(200, 60.0)
    assert due_at(found) == 60.0  # the answer outlasted the interval
    assert found.probe_due(60.0)
    found.on_answer(200, 60.1)
    assert 87.0 <= due_at(found) <= 93.0  # 30 s, give or take a tenth


def test_10_doubt_is_settled_soon() -> None:
    found = health(options_misses=2)
    probed(found, 0.0)
    found.on_miss(32.0)
    assert due_at(found) <= 37.0
    probed(found, 0.0)
    found.on_miss(69.0)
    assert found.state is DOWN
    first = due_at(found)
    assert first >= 60.0  # no hurry: it is down
    assert found.probe_due(100.0)
    found.on_answer(200, 100.0)
    assert due_at(found) == 105.0
    assert found.probe_due(105.0)
    found.on_answer(200, 105.0)
    assert found.state is UP
    assert due_at(found) >= 127.0


def test_10_doubt_does_not_slow_a_short_interval() -> None:
    found = health(options_interval_s=1.0)
    assert found.probe_due(10.0)
    found.on_miss(10.0)
    assert due_at(found) <= 11.1


def test_10_a_probe_is_not_due_early() -> None:
    found = health(now=100.0)
    assert found.deadline is not None
    assert not found.probe_due(found.deadline - 0.001)
    assert found.probe_due(found.deadline)


def test_10_no_keep_alive_means_up() -> None:
    found = health(options_interval_s=0.0)
    assert found.deadline is None
    assert not found.probe_due(1e9)
    assert found.state is UP


def test_10_trunks_are_not_probed_together() -> None:
    starts = {TrunkHealth(trunk(), 0.0, rng=random.Random(seed)).deadline for seed in range(20)}
    assert len(starts) == 20


# Limits.


def test_10_calls_per_second() -> None:
    rate = CallRate(5.0)
    assert [rate.take(10.0) for _ in range(6)] == [True] * 5 + [False]
    assert rate.retry_after_s(10.0) == pytest.approx(0.2)
    assert not rate.take(10.1)
    assert rate.take(10.2)
    assert not rate.take(10.2)
    assert [rate.take(100.0) for _ in range(6)] == [True] * 5 + [False]  # a burst is one second's worth


def test_10_less_than_one_call_a_second() -> None:
    rate = CallRate(0.1)
    assert rate.take(0.0)
    assert not rate.take(9.9)
    assert rate.take(10.0)


def test_10_asking_takes_nothing() -> None:
    rate = CallRate(1.0)
    assert rate.retry_after_s(0.0) == 0.0
    assert rate.retry_after_s(0.0) == 0.0
    assert rate.take(0.0)


def test_10_no_rate_limit() -> None:
    rate = CallRate(None)
    assert all(rate.take(0.0) for _ in range(1000))
    assert rate.retry_after_s(0.0) == 0.0
    with pytest.raises(ValueError, match="rate"):
        CallRate(0.0)


@given(st.lists(st.floats(min_value=0.0, max_value=2.0), max_size=200), st.floats(min_value=0.5, max_value=50.0))
def test_10_the_rate_holds_over_any_time(gaps: list[float], rate_per_s: float) -> None:
    rate = CallRate(rate_per_s)
    now = taken = 0.0
    for gap in gaps:
        now += gap
        taken += rate.take(now)
    assert taken <= max(1.0, rate_per_s) + now * rate_per_s + 1e-6


@given(st.floats(min_value=0.01, max_value=100.0), st.floats(min_value=0.0, max_value=1e6))
def test_10_after_retry_after_there_is_a_token(rate_per_s: float, now: float) -> None:
    rate = CallRate(rate_per_s)
    while rate.take(now):
        pass
    wait_s = rate.retry_after_s(now)
    assert wait_s > 0
    assert rate.take(now + wait_s * 1.000001 + 1e-6)


def test_10_concurrent_calls() -> None:
    slots = CallSlots(2)
    assert [slots.take() for _ in range(3)] == [True, True, False]
    assert slots.in_use == 2
    slots.give_back()
    assert slots.take()
    unlimited = CallSlots(None)
    assert all(unlimited.take() for _ in range(100))
    with pytest.raises(AssertionError):
        CallSlots(1).give_back()
