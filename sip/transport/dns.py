"""[io] The questions of RFC 3263, asked with dnspython.

Imported only when a name has to be resolved: dnspython takes a quarter of a second to load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from ..resolver import Naptr, ResolveError, Srv, ip_version

QUESTION_S = 3.0
"For one question to all name servers, retries included."
MAX_CACHED = 2000
"Answers kept; the oldest are forgotten."
MAX_TTL_S = 3600.0
"A record is asked for again after an hour, whatever its zone says."
NEGATIVE_TTL_S = 30.0
"How long «there is none» holds: a new trunk's records shall be found soon."
STALE_S = 3600.0
"How long an answer past its time serves when no name server answers (RFC 8767)."
HOSTS = Path("/etc/hosts")
LOOPBACK = ("127.0.0.1", "::1")

_T = TypeVar("_T")


def read_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Addresses by lower-case name from a hosts file (hosts(5)); lines that are none are passed over."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if ip_version(address):
            for name in names:
                found[name.lower()] = (*found.get(name.lower(), ()), address)
    return found


class DnsLookups:
    """NAPTR, SRV, A and AAAA by the system's name servers or given ones, cached for their time to live.

    Names of the hosts file have its addresses and no records, and `localhost` is this machine (RFC 6761).
    """

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        *,
        port: int = 53,
        hosts: Mapping[str, tuple[str, ...]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hosts`: what `read_hosts` gives; None reads /etc/hosts."""
        if nameservers is None:
            try:
                self._resolver = dns.asyncresolver.Resolver()
            except dns.resolver.NoResolverConfiguration:
                self._resolver = dns.asyncresolver.Resolver(configure=False)
        else:
            self._resolver = dns.asyncresolver.Resolver(configure=False)
            self._resolver.nameservers = list(nameservers)
            self._resolver.port = port
        if hosts is None:
            hosts = read_hosts(HOSTS.read_text(errors="replace")) if HOSTS.exists() else {}
        self._hosts = hosts
        self._clock = clock
        self._cache: dict[tuple[str, str], tuple[float, tuple[Any, ...]]] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[tuple[Any, ...]]] = {}

    async def naptr(self, name: str) -> Sequence[Naptr]:
        """NAPTR records of `name`."""
        return await self._records(name, "NAPTR", _naptr)

    async def srv(self, name: str) -> Sequence[Srv]:
        """SRV records of `name`."""
        return await self._records(name, "SRV", _srv)

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        """AAAA records of `name`, or its A records."""
        known = LOOPBACK if name == "localhost" or name.endswith(".localhost") else self._hosts.get(name)
        if known is not None:
            return [address for address in known if (ip_version(address) == 6) == ipv6]
        return await self._records(name, "AAAA" if ipv6 else "A", lambda record: str(record.address))

    def _is_known(self, name: str) -> bool:
        """True for names that DNS is not asked about, and their service names."""
        while name.startswith("_"):
            name = name.partition(".")[2]
        return name in self._hosts or name == "localhost" or name.endswith(".localhost")

    async def _records(self, name: str, kind: str, read: Callable[[Any], _T]) -> tuple[_T, ...]:
        if self._is_known(name):
            return ()
        key = (name, kind)
        cached = self._cache.get(key)
        if cached is not None and self._clock() < cached[0]:
            return cached[1]
        # One question at a time about one thing: a hundred calls may wait for the same answer.
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(name, kind, read))
            task.add_done_callback(lambda done: self._asked(key, done))
        try:
            return await asyncio.shield(task)
        except ResolveError:
            if cached is not None and self._clock() < cached[0] + STALE_S:
                return cached[1]
            raise

    def _asked(self, key: tuple[str, str], done: asyncio.Task[tuple[Any, ...]]) -> None:
        del self._asking[key]
        if not done.cancelled():
            done.exception()  # seen: those who waited may all have given up

    async def _ask(self, name: str, kind: str, read: Callable[[Any], _T]) -> tuple[_T, ...]:
        records: tuple[_T, ...] = ()
        ttl_s = NEGATIVE_TTL_S
        try:
            answer = await self._resolver.resolve(name, kind, search=False, lifetime=QUESTION_S)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            pass
        except dns.exception.DNSException as error:
            raise ResolveError(f"no answer to {kind} {name}: {type(error).__name__}") from error
        else:
            assert answer.rrset is not None  # NoAnswer is raised otherwise
            records = tuple(read(record) for record in answer.rrset)
            ttl_s = min(answer.rrset.ttl, MAX_TTL_S)
        if len(self._cache) >= MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[(name, kind)] = (self._clock() + ttl_s, records)
        return records


def _naptr(record: NAPTR) -> Naptr:
    return Naptr(
        record.order,
        record.preference,
        record.flags.decode("latin-1"),
        record.service.decode("latin-1"),
        record.regexp.decode("latin-1"),
        record.replacement.to_text(omit_final_dot=True).lower(),
    )


def _srv(record: SRV) -> Srv:
    target = record.target.to_text(omit_final_dot=True)
    return Srv(record.priority, record.weight, record.port, "" if target in (".", "@") else target.lower())
