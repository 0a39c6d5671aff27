"""The audio formats we can name in SDP (RFC 3551 §6, RFC 4733, RFC 7587)."""

from __future__ import annotations

from dataclasses import dataclass, replace

TELEPHONE_EVENT = "telephone-event"


@dataclass(frozen=True, slots=True)
class Codec:
    """One format of an audio stream, with the payload type that stands for it on that stream."""

    name: str
    "As registered, in its usual case."
    clock_hz: int
    "RTP clock; 8,000 for G.722 although it samples at 16,000 (RFC 3551 §4.5.2)."
    channels: int
    payload_type: int
    fmtp: str = ""
    "Parameters of `a=fmtp`, as written; empty if none."

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes two formats the same codec, whatever payload type each stream gives it."""
        return (self.name.lower(), self.clock_hz, self.channels)

    @property
    def is_event(self) -> bool:
        """True for telephone-event."""
        return self.name.lower() == TELEPHONE_EVENT

    def with_payload_type(self, payload_type: int) -> Codec:
        """The same codec under another number."""
        return replace(self, payload_type=payload_type)
