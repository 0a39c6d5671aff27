"""A party that says each digit by telephone-event and by INFO is heard once, and a repeated digit twice."""

from __future__ import annotations

from signalling.digits import MAX_WAITING, WINDOW_S, Doubles

EVENT, INFO = "event", "info"


def heard(*said: tuple[str, str, float], held_s: float = 0.1) -> str:
    """What counts of (way, digit, seconds); each event ends `held_s` after it began."""
    doubles = Doubles()
    steps = [(at, 0, way, digit) for way, digit, at in said]
    steps += [(at + held_s, 1, "end", digit) for way, digit, at in said if way == EVENT]
    counted = ""
    for at, _, what, digit in sorted(steps, key=lambda step: step[:2]):
        if what == "end":
            doubles.event_ends(digit, at)
        elif doubles.event_begins(digit, at) if what == EVENT else doubles.info_comes(digit, at):
            counted += digit
    return counted


def test_both_ways_in_either_order_are_one_digit() -> None:
    assert heard((EVENT, "5", 0.0), (INFO, "5", 0.05)) == "5"
    assert heard((EVENT, "5", 0.0), (INFO, "5", 0.2)) == "5"
    assert heard((INFO, "5", 0.0), (EVENT, "5", 0.05)) == "5"


def test_the_info_of_a_key_that_is_held_down_for_long_is_a_double() -> None:
    assert heard((EVENT, "5", 0.0), (INFO, "5", 6.0), held_s=5.9) == "5"


def test_repeated_digits_of_one_way_all_count() -> None:
    assert heard(*((EVENT, "5", 0.2 * n) for n in range(4))) == "5555"
    assert heard(*((INFO, "5", 0.2 * n) for n in range(4))) == "5555"


def test_repeated_digits_of_both_ways_count_as_often_as_each_way_says_them() -> None:
    assert heard(*((way, "5", 0.2 * n) for n in range(4) for way in (EVENT, INFO))) == "5555"
    late = [(EVENT, "5", 0.0), (EVENT, "5", 0.2), (INFO, "5", 0.6), (INFO, "5", 0.7)]  # the first INFO was lost once
    assert heard(*late) == "55"


def test_what_one_way_has_lost_the_other_way_says() -> None:
    assert heard((EVENT, "5", 0.0), (INFO, "5", 0.1), (INFO, "5", 0.4), (EVENT, "5", 0.8), (INFO, "5", 0.9)) == "555"
    assert heard((INFO, "1", 0.0), (EVENT, "2", 0.1), (INFO, "2", 0.2)) == "12"


def test_different_digits_are_no_doubles() -> None:
    assert heard((EVENT, "5", 0.0), (INFO, "6", 0.1), (INFO, "5", 0.2), (EVENT, "6", 0.3)) == "56"


def test_what_comes_much_later_is_another_digit() -> None:
    assert heard((EVENT, "5", 0.0), (INFO, "5", 0.2 + WINDOW_S)) == "55"
    assert heard((INFO, "5", 0.0), (EVENT, "5", 0.1 + WINDOW_S)) == "55"


def test_what_is_remembered_has_a_limit() -> None:
    doubles = Doubles()
    assert all(doubles.event_begins("1", 0.0) for _ in range(2 * MAX_WAITING))
    assert [doubles.info_comes("1", 0.0) for _ in range(MAX_WAITING + 1)] == [False] * MAX_WAITING + [True]
