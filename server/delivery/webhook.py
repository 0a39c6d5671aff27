"""[io] Webhooks: events that match an endpoint become deliveries, and each is POSTed, signed, until it is taken."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult

from signalling import Happening, wire_kind

from ..errors import bad_request
from ..store.writer import Write
from .endpoints import Endpoint, Endpoints
from .forms import payload_of, with_link
from .outbox import Backoff, JsonObject, Outbox, Refused, RetryLater
from .vendor import retry_after_s

log = structlog.get_logger("server.delivery.webhook")

KIND = "webhook"
"Of a delivery in the outbox."

TIME_LIMIT_S = 10.0
MAX_ANSWER = 4096  # bytes of an answer that are read; only its status matters
CONNECTIONS = 256  # to all endpoints at a time
BACKOFF = Backoff(first_s=2.0, factor=4.0, limit_s=3600.0, attempts=10)
"2 s, 8 s, 32 s, 2 min, 9 min, 34 min, then every hour: some four hours in all."

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
METADATA = frozenset({ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254")})
"Where clouds hand out credentials, apart from link-local 169.254.169.254."
THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
NAT64 = ipaddress.ip_network("64:ff9b::/96")


# Signing.


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Value of Ringway-Signature: `v1=` and HMAC-SHA-256 over timestamp, a dot and the body, in hex."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, sha256).hexdigest()


def horn_signature(secret: str, body: bytes) -> str:
    """Value of X-Horn-Signature (B18)."""
    return b64encode(hmac.digest(secret.encode(), body, sha256)).decode()


# What an endpoint must not make us ask.


def is_refused(address: Address) -> bool:
    """Whether `address` is of this machine or its neighbourhood: loopback, link-local, unspecified, multicast."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_refused(inner)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address == ipaddress.IPv4Address("255.255.255.255")
        or address in METADATA
        or address in THIS_NETWORK
    )


def literal_address(url: str) -> Address | None:
    """The address that stands in a URL; None when a name does."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        # What a resolver takes for an address although it is not written as one: 127.1, 0x7f000001, 2130706433.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


class GuardedResolver(AbstractResolver):
    """Resolves names, and leaves out addresses that must not be asked; the connection goes to what was looked at."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The allowed addresses of `host`; OSError when there is none."""
        found = await self._resolver.resolve(host, port, family)
        allowed = [one for one in found if not is_refused(ipaddress.ip_address(one["host"].partition("%")[0]))]
        if not allowed:
            raise OSError(None, f"{host} has no address that a webhook may go to")
        return allowed

    async def close(self) -> None:
        """Close what resolves."""
        await self._resolver.close()


class Guard:
    """Decides where webhooks may go."""

    def __init__(self, *, allow_private: bool = False) -> None:
        self.allow_private = allow_private

    def check(self, url: str) -> None:
        """ApiError 400 when the URL itself says that it leads where no webhook may go."""
        if self.refuses(url):
            raise bad_request("url: no webhook may go to this address; see webhooks.allow_private")

    def refuses(self, url: str) -> bool:
        """Whether the URL names an address that is refused."""
        if self.allow_private:
            return False
        address = literal_address(url)
        return address is not None and is_refused(address)

    def connector(self) -> aiohttp.TCPConnector:
        """Connects only where it may."""
        if self.allow_private:
            return aiohttp.TCPConnector(limit=CONNECTIONS)
        return aiohttp.TCPConnector(
            limit=CONNECTIONS, resolver=GuardedResolver(aiohttp.ThreadedResolver()), use_dns_cache=False
        )


FileLinks = Callable[[str, str], Awaitable[tuple[str, int]]]
"From `chat`, `transcript` or `summary`, and a session's id, to a URL and when it expires, ms since the epoch."


class Webhooks:
    """Turns events into deliveries, and delivers them (the outbox's deliverer of kind "webhook")."""

    def __init__(
        self,
        endpoints: Endpoints,
        outbox: Outbox,
        *,
        clock: Callable[[], float],
        guard: Guard,
        links: FileLinks | None = None,
    ) -> None:
        """`clock`: seconds since the epoch."""
        self.endpoints = endpoints
        self.guard = guard
        self._outbox = outbox
        self._clock = clock
        self._links = links
        self._timeout = aiohttp.ClientTimeout(total=TIME_LIMIT_S)
        self._session: aiohttp.ClientSession | None = None
        outbox.register(KIND, self, backoff=BACKOFF)

    def rows(self, happenings: Sequence[Happening]) -> Iterable[Write]:
        """The deliveries that these events make: a hook of the writer, so that both are committed together."""
        writes: list[Write] = []
        for happening in happenings:
            session = happening.session
            for endpoint in self.endpoints.wanting(session.tenant, wire_kind(happening.kind)):
                payload = payload_of(endpoint.format, happening)
                lane = f"{endpoint.id} {session.id}"
                target = f"{session.tenant} {endpoint.id}"
                writes.append(Write("outbox", self._outbox.row(KIND, session.tenant, lane, target, payload), "insert"))
                self._outbox.stir(KIND, lane, target)
        return writes

    async def deliver(self, id: str, payload: JsonObject, target: str) -> None:
        """POST one event. Refused when the endpoint is gone, RetryLater when it did not answer 2xx."""
        tenant, _, endpoint_id = target.partition(" ")
        endpoint = self.endpoints.get(tenant, endpoint_id)
        if endpoint is None:
            raise Refused("the webhook was removed")
        if not endpoint.active:
            raise Refused("the webhook is switched off")
        if self.guard.refuses(endpoint.url):
            raise Refused("no webhook may go to this address")
        text = str(payload["body"])
        if self._links is not None and "file" in payload:
            url, expires_at_ms = await self._links(payload["file"], payload["session"])
            text = with_link(text, payload["file"], url, expires_at_ms)
        body = text.encode("utf-8", "replace")
        status, reason, wait_s = await self._post(endpoint, body, self._headers(endpoint, id, body))
        if 200 <= status < 300:
            return
        if status == 410:
            log.warning("webhook_gone", webhook=endpoint.id, url=endpoint.url)
            self.endpoints.change(endpoint, active=False)
            raise Refused("410: the endpoint is gone, and is switched off")
        raise RetryLater(f"{status} {reason}".strip(), wait_s)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _headers(self, endpoint: Endpoint, id: str, body: bytes) -> Mapping[str, str]:
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Ringway",
            "Ringway-Id": id,
            "Ringway-Timestamp": timestamp,
            "Ringway-Signature": signature(endpoint.secret, timestamp, body),
        }
        if endpoint.format == "horn":
            headers["X-Horn-Signature"] = horn_signature(endpoint.secret, body)
        return headers

    async def _post(self, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, float | None]:
        """Status, its reason, and the seconds that the endpoint asks us to wait."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self.guard.connector(),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        try:
            async with self._session.post(endpoint.url, data=body, headers=headers, allow_redirects=False) as response:
                await response.content.read(MAX_ANSWER)
                wait_s = retry_after_s(response.headers.get("Retry-After"), now=datetime.now(UTC))
                return response.status, response.reason or "", wait_s
        except TimeoutError:
            raise RetryLater(f"no answer within {self._timeout.total:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RetryLater(f"{type(error).__name__}: {error}") from error
