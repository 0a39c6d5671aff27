"""The dial plan: patterns, order of trunks, who may dial what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from signalling import (
    DialPlan,
    Extension,
    InboundNumber,
    NoRoute,
    NotAllowed,
    Pattern,
    Principal,
    Route,
    RouteTrunk,
    TrunkUnavailable,
    UnknownTrunk,
)
from signalling.routing import ToExtension, ToService, ToTrunks

ANY = (Pattern.parse("."),)
ALICE = Principal("1001", "extension", (Pattern.parse("+33."), Pattern.parse("0Z.")))
BOB = Principal("1002", "extension")
ADMIN = Principal("admin", "admin")
CARRIER = Principal("carrier", "trunk")
PEER = Principal("peer", "trunk", (Pattern.parse("+."),))


def plan(
    state: Callable[[str], str | None] | None = None, chance: float = 0.0, routes: tuple[Route, ...] | None = None
) -> DialPlan:
    return DialPlan(
        extensions=[Extension("1001"), Extension("1002")],
        services={"600": "echo", "601": "tone"},
        inbound=[
            InboundNumber(Pattern.parse("+4930100"), "1001"),
            InboundNumber(Pattern.parse("+4930199"), "600", trunk="carrier"),
        ],
        routes=routes
        or (
            Route(Pattern.parse("+33."), (RouteTrunk("paris", 1), RouteTrunk("world", 2))),
            Route(Pattern.parse("."), (RouteTrunk("world"),), "bypass"),
        ),
        trunk_state=state or (lambda name: {"paris": None, "world": None}[name]),
        random=lambda: chance,
    )


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("1001", ["1001"], ["100", "10011", ""]),
        ("+33.", ["+331", "+33123456789"], ["+33", "33123", "+4912"]),
        ("0Z!", ["01", "0123"], ["0", "00123"]),
        ("NXX", ["200", "999"], ["100", "20", "2000", "2a0"]),
        ("[136-8]X", ["10", "39", "60", "79", "88"], ["20", "90", "1"]),
        (".", ["1", "anything"], [""]),
        ("*98#", ["*98#"], ["*98"]),
    ],
)
def test_pattern_matches_the_whole_number(pattern: str, matching: list[str], other: list[str]) -> None:
    compiled = Pattern.parse(pattern)
    assert [n for n in matching if not compiled.matches(n)] == []
    assert [n for n in other if compiled.matches(n)] == []


@pytest.mark.parametrize("bad", ["", "1.2", "[12", "[]", "[9-1]", "X" * 65, "!1"])
def test_pattern_says_what_is_wrong(bad: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Pattern.parse(bad)


def test_11_first_matching_route_wins_and_priority_orders_its_trunks() -> None:
    decision = plan().decide("+33123", ALICE)
    assert isinstance(decision, ToTrunks)
    assert [choice.name for choice in decision.choices] == ["paris", "world"]
    assert decision.choices[0].media is None
    world = plan().decide("00123", ADMIN)
    assert isinstance(world, ToTrunks)
    assert (world.choices[0].name, world.choices[0].media) == ("world", "bypass")


def test_11_a_trunk_that_is_down_is_skipped_and_the_reason_kept() -> None:
    decision = plan(lambda name: "down" if name == "paris" else None).decide("+33123", ALICE)
    assert isinstance(decision, ToTrunks)
    assert [choice.name for choice in decision.choices] == ["world"]
    assert decision.skipped == (("paris", "down"),)


def test_11_all_trunks_down_is_unavailable() -> None:
    with pytest.raises(TrunkUnavailable, match="paris: down"):
        plan(lambda _: "down").decide("+33123", ALICE)


@pytest.mark.parametrize(("chance", "first"), [(0.0, "a"), (0.74, "a"), (0.76, "b"), (0.99, "b")])
def test_11_weight_decides_among_equal_priorities(chance: float, first: str) -> None:
    routes = (Route(Pattern.parse("."), (RouteTrunk("a", 1, 3), RouteTrunk("b", 1, 1))),)
    decision = plan(lambda _: None, chance, routes).decide("123", ADMIN)
    assert isinstance(decision, ToTrunks)
    assert decision.choices[0].name == first
    assert {choice.name for choice in decision.choices} == {"a", "b"}


def test_11_only_allowed_patterns_reach_a_trunk() -> None:
    with pytest.raises(NotAllowed, match="1001 may not dial"):
        plan().decide("00441", ALICE)
    with pytest.raises(NotAllowed):
        plan().decide("+33123", BOB)


def test_11_extensions_and_services_need_no_pattern() -> None:
    assert isinstance(plan().decide("1002", BOB), ToExtension)
    echo = plan().decide("600", BOB)
    assert isinstance(echo, ToService)
    assert echo.service == "echo"


def test_11_a_trunk_reaches_inbound_numbers_only() -> None:
    decision = plan().decide("+4930100", CARRIER)
    assert isinstance(decision, ToExtension)
    assert decision.extension.number == "1001"
    assert isinstance(plan().decide("+4930199", CARRIER), ToService)
    with pytest.raises(NoRoute):
        plan().decide("+33123", CARRIER)
    with pytest.raises(NoRoute):
        plan().decide("1001", CARRIER)


def test_11_an_inbound_number_may_belong_to_one_trunk() -> None:
    with pytest.raises(NoRoute):
        plan().decide("+4930199", Principal("other", "trunk"))


def test_11_a_trunk_with_patterns_may_pass_through() -> None:
    assert isinstance(plan().decide("+33123", PEER), ToTrunks)


def test_d9_named_trunk_is_used_or_refused() -> None:
    decision = plan().decide("+33123", ALICE, trunk="world")
    assert isinstance(decision, ToTrunks)
    assert [choice.name for choice in decision.choices] == ["world"]
    assert decision.skipped == (("paris", "the request names trunk world"),)
    with pytest.raises(UnknownTrunk):
        plan().decide("+33123", ALICE, trunk="nowhere")
    with pytest.raises(TrunkUnavailable, match="world is unavailable: down"):
        plan(lambda _: "down").decide("+33123", ALICE, trunk="world")
    with pytest.raises(NotAllowed):
        plan().decide("+33123", BOB, trunk="world")


def test_11_no_route_at_all() -> None:
    with pytest.raises(NoRoute):
        plan(routes=(Route(Pattern.parse("9."), (RouteTrunk("world"),)),)).decide("123", ADMIN)
