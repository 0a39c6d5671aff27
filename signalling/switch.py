"""The parts that every call is made of, put together once by the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sip import CallCore, Dialog, Flow, Registrar

from .events import EventBus
from .legs import Leg, MediaPort, PassThrough
from .people import DEFAULT_TENANT, People
from .ports import BrowserPort, NoBrowsers, SipPort
from .routing import DialPlan
from .trunks import TrunkLine


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server takes on; beyond it, 503 with Retry-After and nothing else is disturbed."""

    sessions: int = 5000
    early: int = 1000
    "Sessions that ring and are not yet answered."
    retained: int = 10_000
    "Ended sessions that can still be looked up."
    retained_s: float = 3600.0
    retry_after_s: int = 5
    rooms: int = 100_000
    "Sessions without a call."
    idle_s: float = 86_400.0
    "A session without a call that nobody takes part in is ended after this time."


@dataclass(slots=True)
class Switch:
    """The network, the calls, the media, the dial plan and the trunks, as flows use them."""

    sip: SipPort
    calls: CallCore
    media: MediaPort
    plan: DialPlan
    registrar: Registrar
    lines: Mapping[str, TrunkLine]
    domain: str
    limits: Limits = Limits()
    tenant: str = DEFAULT_TENANT
    "Whose the phones and trunks are."
    people: People = field(default_factory=People)
    bus: EventBus = field(default_factory=EventBus)
    browsers: BrowserPort = field(default_factory=NoBrowsers)
    busy: Counter[str] = field(default_factory=Counter)
    "Extension -> its legs, ringing or answered."
    on_close: Callable[[Leg], None] = field(init=False, repr=False)
    "`leg_closed`, as every leg has it: bound once."
    follow: Callable[[Dialog, Flow], Flow] = field(init=False, repr=False)
    "The same of the network."

    def __post_init__(self) -> None:
        """Bind what every call keeps."""
        self.on_close = self.leg_closed
        self.follow = self.sip.follow

    def bridge(self, a: Leg, b: Leg) -> None:
        """Join the media of two legs; again after a change of the party, harmless when already joined."""
        if not isinstance(a.media, PassThrough):
            self.media.bridge(a.media, b.media)

    def way_back(self, extension: str, dialog: Dialog, flow: Flow) -> Flow:
        """The flow for the requests of a dialog with a phone: as it came, for it may be behind NAT.

        Once that connection is closed, the one that the phone has registered over since.
        """
        if not flow.closed:
            return flow
        bindings = [one for one in self.registrar.bindings(extension, self.sip.now()) if not one.flow.closed]
        same = [one for one in bindings if str(one.uri) == dialog.remote_target]
        # A new connection often means a new port in the contact: with one phone there is no doubt.
        found = same or (bindings if len(bindings) == 1 else [])
        return found[0].flow if found else self.sip.follow(dialog, flow)

    def at_limit(self, extension: str) -> bool:
        """Whether an extension has as many calls as it may have."""
        known = self.plan.extensions.get(extension)
        return known is not None and self.busy[extension] >= known.max_calls

    def leg_closed(self, leg: Leg) -> None:
        """Give back what a leg took: its extension's place and its trunk's."""
        if leg.extension is not None:
            self.busy[leg.extension] -= 1
            if self.busy[leg.extension] <= 0:
                del self.busy[leg.extension]
        if leg.line is not None:
            leg.line.give_back()

    def take_extension(self, leg: Leg, extension: str | None) -> None:
        """Count a leg as one of this extension's calls."""
        if extension is not None:
            leg.extension = extension
            self.busy[extension] += 1
