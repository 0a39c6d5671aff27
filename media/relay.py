"""What becomes of each packet of a leg by its payload type, worked out once an offer/answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .codecs import ALAW_TO_ULAW, ULAW_TO_ALAW, Codec
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

Route = tuple[int, ...]
"By the second octet of the header (marker and payload type): that octet as relayed, or one of the above."

NOTHING: Final[Route] = (REFUSE,) * 256


@dataclass(frozen=True, slots=True)
class Plan:
    """Routes of the packets received on one leg."""

    joining: Route
    "Until the streams are fitted to each other."
    joined: Route
    events: dict[int, tuple[int, int]]
    "Received payload type of telephone-events -> clock in Hz, payload type to relay as or -1."
    conversions: dict[int, tuple[int, bytes]]
    "Received payload type of G.711 -> payload type to relay as, table for `bytes.translate`."


@lru_cache(maxsize=256)
def plan_for(received: tuple[Codec, ...], sent: tuple[Codec, ...]) -> Plan:
    """The plan for a leg that receives these formats and relays into these; `sent` is empty if to nobody."""
    out = {codec.key: codec.payload_type for codec in reversed(sent)}
    law = next((codec for codec in sent if codec.is_g711), None)
    joining, joined = list(NOTHING), list(NOTHING)
    events: dict[int, tuple[int, int]] = {}
    conversions: dict[int, tuple[int, bytes]] = {}
    for codec in received:
        number = codec.payload_type
        target = out.get(codec.key, -1)
        code = target if target >= 0 else LOCAL
        if codec.is_event:
            events[number] = (codec.clock_hz, target)
            code = EVENT
        elif target < 0 and codec.is_g711 and law is not None:
            conversions[number] = (law.payload_type, ULAW_TO_ALAW if codec.name.lower() == "pcmu" else ALAW_TO_ULAW)
            code = CONVERT
        joined[number] = code
        joined[number | MARKER] = code | MARKER if code >= 0 else code
        passes = target >= 0 or code == CONVERT
        joining[number] = joining[number | MARKER] = JOIN if passes else code
    return Plan(tuple(joining), tuple(joined), events, conversions)
