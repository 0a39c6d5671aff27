"""What becomes of packets by their payload type."""

from __future__ import annotations

from media.codecs import ALAW_TO_ULAW, ULAW_TO_ALAW, Codec
from media.relay import CONVERT, EVENT, HEAR, JOIN, LOCAL, REFUSE, plan_for

PCMU, PCMA = Codec("PCMU", 8000, 1, 0), Codec("pcma", 8000, 1, 8)
OPUS = Codec("opus", 48000, 2, 96)
EVENTS = Codec("telephone-event", 8000, 1, 101)


def test_equal_numbers_pass_unchanged() -> None:
    plan = plan_for((PCMU, PCMA), (PCMA, PCMU))
    assert (plan.joined[0], plan.joined[128], plan.joined[8], plan.joined[136]) == (0, 128, 8, 136)
    assert {plan.joining[n] for n in (0, 128, 8, 136)} == {JOIN}
    assert plan.joined[9] == plan.joining[9] == plan.joined[200] == REFUSE


def test_numbers_are_mapped_with_the_marker() -> None:
    plan = plan_for((OPUS,), (OPUS.with_payload_type(99),))
    assert (plan.joined[96], plan.joined[96 + 128]) == (99, 99 + 128)


def test_what_the_other_lacks_is_decoded_for_it() -> None:
    plan = plan_for((OPUS, PCMU), (PCMU,))
    assert plan.joined[96] == plan.joining[96] == plan.joined[96 + 128] == HEAR
    assert plan.joined[0] == 0


def test_what_neither_can_decode_stays_here() -> None:
    g729 = Codec("G729", 8000, 1, 18)
    assert plan_for((g729, PCMU), (PCMU,)).joined[18] == LOCAL
    assert plan_for((PCMU,), (g729,)).joined[0] == LOCAL


def test_all_is_decoded_for_a_mix() -> None:
    plan = plan_for((PCMU, OPUS, EVENTS), (), heard=True)
    assert (plan.joined[0], plan.joined[96], plan.joined[101]) == (HEAR, HEAR, EVENT)


def test_comfort_noise_is_understood_uninvited() -> None:
    assert plan_for((PCMU,), (PCMU,)).joined[13] == HEAR
    assert plan_for((PCMU,), ()).joined[13] == LOCAL


def test_events_beside_audio_that_is_decoded_join_nothing() -> None:
    plan = plan_for((OPUS, EVENTS), (PCMU, EVENTS))
    assert plan.joining[101] == plan.joined[101] == EVENT
    assert plan.events == {101: (8000, 101, 8000)}


def test_events_of_another_clock_go_to_the_format_beside_the_audio() -> None:
    wide = Codec("telephone-event", 48000, 1, 103)
    assert plan_for((PCMU, EVENTS), (OPUS, wide)).events == {101: (8000, 103, 48000)}
    narrow = EVENTS.with_payload_type(97)
    assert plan_for((PCMU, EVENTS), (OPUS, wide, narrow)).events == {101: (8000, 97, 8000)}


def test_events_are_read_and_mapped() -> None:
    plan = plan_for((PCMU, EVENTS), (PCMU, EVENTS.with_payload_type(97)))
    assert plan.joined[101] == plan.joined[229] == EVENT
    assert plan.joining[101] == JOIN
    assert plan.events == {101: (8000, 97, 8000)}


def test_events_are_read_even_if_nobody_gets_them() -> None:
    plan = plan_for((PCMU, EVENTS), ())
    assert plan.joining[101] == plan.joined[101] == EVENT
    assert plan.events == {101: (8000, -1, 8000)}
    assert plan.joining[0] == LOCAL


def test_the_other_law_is_converted() -> None:
    plan = plan_for((PCMU,), (PCMA,))
    assert plan.joined[0] == plan.joined[128] == CONVERT
    assert plan.conversions == {0: (8, ULAW_TO_ALAW)}
    assert plan_for((PCMA,), (PCMU,)).conversions == {8: (0, ALAW_TO_ULAW)}


def test_the_same_law_is_preferred_to_a_conversion() -> None:
    assert plan_for((PCMU, PCMA), (PCMA, PCMU)).conversions == {}


def test_conversion_there_and_back_keeps_what_is_heard() -> None:
    every = bytes(range(256))
    back = every.translate(ULAW_TO_ALAW).translate(ALAW_TO_ULAW)
    assert sum(a != b for a, b in zip(every, back, strict=True)) <= 16


def test_equal_plans_are_shared() -> None:
    assert plan_for((PCMU,), (PCMU,)) is plan_for((Codec("PCMU", 8000, 1, 0),), (PCMU,))
