"""What becomes of each packet of a leg by its payload type, worked out once an offer/answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from . import comfort
from .codecs import ALAW_TO_ULAW, ULAW_TO_ALAW, Codec
from .coders import can_code
from .rtp import MARKER

LOCAL: Final = -1
"Ours, but nobody is to get it now."
REFUSE: Final = -2
"Not negotiated."
EVENT: Final = -3
"A telephone-event: read it, then relay it."
CONVERT: Final = -4
"G.711 by the other law."
JOIN: Final = -5
"The first packet after a change: fit the stream to what the receiver has seen, then look again."
HEAR: Final = -6
"To be decoded: for a party that has another codec, or for a mix."

Route = tuple[int, ...]
"By the second octet of the header (marker and payload type): that octet as relayed, or one of the above."

NOTHING: Final[Route] = (REFUSE,) * 256


class EventRoute(NamedTuple):
    """Of telephone-events received."""

    clock_hz: int
    target: int
    "Payload type to relay as, or -1."
    target_clock_hz: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Routes of the packets received on one leg."""

    joining: Route
    "Until the streams are fitted to each other."
    joined: Route
    events: dict[int, EventRoute]
    "By received payload type of telephone-events."
    conversions: dict[int, tuple[int, bytes]]
    "Received payload type of G.711 -> payload type to relay as, table for `bytes.translate`."


@lru_cache(maxsize=256)
def plan_for(received: tuple[Codec, ...], sent: tuple[Codec, ...], heard: bool = False) -> Plan:
    """The plan for a leg that receives these formats and relays into these; `sent` is empty if to nobody.

    `heard`: all audio is to be decoded.
    """
    out = {codec.key: codec.payload_type for codec in reversed(sent)}
    law = next((codec for codec in sent if codec.is_g711), None)
    audible = heard or any(can_code(codec) for codec in sent)
    joining, joined = list(NOTHING), list(NOTHING)
    joined[comfort.PAYLOAD_TYPE] = HEAR if audible else LOCAL  # some send it without having asked
    joined[comfort.PAYLOAD_TYPE | MARKER] = joined[comfort.PAYLOAD_TYPE]
    joining[comfort.PAYLOAD_TYPE] = joining[comfort.PAYLOAD_TYPE | MARKER] = joined[comfort.PAYLOAD_TYPE]
    events: dict[int, EventRoute] = {}
    conversions: dict[int, tuple[int, bytes]] = {}
    for codec in received:
        number = codec.payload_type
        target = out.get(codec.key, -1)
        code = target if target >= 0 else LOCAL
        if codec.is_event:
            events[number] = _event_route(codec, target, sent)
            code = EVENT
        elif target < 0 and codec.is_g711 and law is not None:
            conversions[number] = (law.payload_type, ULAW_TO_ALAW if codec.name.lower() == "pcmu" else ALAW_TO_ULAW)
            code = CONVERT
        elif target < 0 and audible and can_code(codec):
            code = HEAR
        joined[number] = code
        joined[number | MARKER] = code | MARKER if code >= 0 else code
        passes = target >= 0 or code == CONVERT
        joining[number] = joining[number | MARKER] = JOIN if passes else code
    if any(joined[codec.payload_type] == HEAR for codec in received):
        for number in events:  # in the stream of our own, as the audio is
            joining[number] = joining[number | MARKER] = EVENT
    return Plan(tuple(joining), tuple(joined), events, conversions)


def _event_route(codec: Codec, target: int, sent: tuple[Codec, ...]) -> EventRoute:
    """To the event format of the same clock, else to the one that goes with the audio."""
    if target >= 0:
        return EventRoute(codec.clock_hz, target, codec.clock_hz)
    clock_hz = next((each.clock_hz for each in sent if not each.is_event), 0)
    events = [each for each in sent if each.is_event]
    other = next((each for each in events if each.clock_hz == clock_hz), events[0] if events else None)
    if other is None:
        return EventRoute(codec.clock_hz, -1, codec.clock_hz)
    return EventRoute(codec.clock_hz, other.payload_type, other.clock_hz)
