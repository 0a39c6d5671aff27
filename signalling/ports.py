"""What signalling needs of the parts around it, as small Protocols: the network and the credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sip import Dialog, Flow, SipStack, Uri

if TYPE_CHECKING:
    from .browser_calls import BrowserRinging, Hear
    from .legs import MediaLeg


class SipPort(Protocol):
    """The SIP stack on a network: the real endpoint, or the simulated one of the tests."""

    @property
    def stack(self) -> SipStack:
        """The stack that it drives."""

    def now(self) -> float:
        """Seconds by the clock that every core is given."""

    def pump(self) -> None:
        """Send what the stack has ready and set its timer; to be called after each verb."""

    async def flows_to(self, uri: Uri, *, size: int = 0) -> list[Flow]:
        """Ways to reach `uri`, best first (RFC 3263). Raises sip.ResolveError."""

    def follow(self, dialog: Dialog, flow: Flow) -> Flow:
        """The flow for the requests of a dialog with a peer that is not behind NAT."""


class BrowserPort(Protocol):
    """The users who are connected to the signalling channel."""

    def reaches(self, tenant: str, user: str) -> bool:
        """Whether a user is connected."""

    def ring(self, tenant: str, user: str, frame: Mapping[str, Any], media: MediaLeg, listener: Hear) -> BrowserRinging:
        """Ring all browsers of a user that are connected; `frame` as BrowserRinging says."""


class NoBrowsers:
    """Where there is no signalling channel."""

    def reaches(self, tenant: str, user: str) -> bool:
        """Nobody is connected."""
        return False

    def ring(self, tenant: str, user: str, frame: Mapping[str, Any], media: MediaLeg, listener: Hear) -> BrowserRinging:
        """Never called: nobody is reached."""
        raise NotImplementedError


class CredentialStore(Protocol):
    """Where the secrets of extensions are."""

    def ha1(self, user: str, realm: str, algorithm: str) -> str | None:
        """H(user:realm:password) in hex for "MD5" or "SHA-256"; None for an unknown user."""
