"""From a SIP URI to the ordered list of places to try: RFC 3263, with SRV choice by RFC 2782."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Protocol

from .errors import SipError
from .transport.base import Target
from .uri import Uri

DEFAULT_PORT = 5060
"Of SIP over UDP and TCP (RFC 3261 §18.2.1)."
MAX_TARGETS = 16
"Kept of one answer: a caller does not wait for more, and a hostile zone cannot make us try thousands."
NAPTR_SERVICES = {"SIP+D2U": "UDP", "SIP+D2T": "TCP"}
"RFC 3263 §4.1; `SIPS+D2T` comes with TLS."


class ResolveError(SipError):
    """A URI leads nowhere: no such name, no server that answers, or no transport that we speak."""

    status = 503


@dataclass(frozen=True, slots=True)
class Naptr:
    """A NAPTR record (RFC 3403 §4.1)."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str
    "A name without the final dot."


@dataclass(frozen=True, slots=True)
class Srv:
    """An SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str
    "A name without the final dot; empty when the service is decidedly not offered."


class Lookups(Protocol):
    """The DNS questions of RFC 3263.

    No such name or no such record is an empty answer; `ResolveError` means that nobody answered.
    """

    async def naptr(self, name: str) -> Sequence[Naptr]:
        """NAPTR records of `name`."""

    async def srv(self, name: str) -> Sequence[Srv]:
        """SRV records of `name`."""

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        """AAAA records of `name`, or its A records."""


class Chance(Protocol):
    """The part of `random.Random` that SRV weights need."""

    def randint(self, a: int, b: int) -> int:
        """A number from a to b, both included."""


@lru_cache(maxsize=1024)
def ip_version(host: str) -> int:
    """4 or 6 for an IP address without brackets, 0 for a name."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return 0


def numeric_target(uri: Uri, transports: Sequence[str]) -> Target | None:
    """The one target of a URI that names an IP address; None when DNS has to be asked."""
    host = _target_host(uri)
    if not ip_version(host):
        return None
    asked = _asked_transport(uri, transports)
    transport = asked or _default_transport(transports)
    return Target(transport, host, DEFAULT_PORT if uri.port is None else uri.port)


async def resolve(
    uri: Uri, lookups: Lookups, *, transports: Sequence[str], versions: Sequence[int], chance: Chance
) -> list[Target]:
    """Targets for a request to `uri`, in the order to try them; `ResolveError` when there is none.

    `transports` are those we speak and `versions` the IP versions we have (4, 6), each with the
    preferred one first. RFC 7984 would have both families in the order of RFC 6724; we follow the
    order of `versions`, so that who runs the server decides.
    """
    numeric = numeric_target(uri, transports)
    if numeric is not None:
        return [numeric]
    name = _target_host(uri).rstrip(".").lower()
    asked = _asked_transport(uri, transports)
    # RFC 3263 §4.1 and §4.2: with an explicit port there is neither NAPTR nor SRV.
    if uri.port is not None:
        hosts = [Target(asked or _default_transport(transports), name, uri.port)]
    else:
        hosts = await _service_hosts(name, asked, lookups, transports, chance)
    targets = await _expand(hosts[:MAX_TARGETS], lookups, versions)
    if not targets:
        raise ResolveError(f"{name} has no address")
    return targets[:MAX_TARGETS]


def _target_host(uri: Uri) -> str:
    """TARGET of RFC 3263 §4: `maddr` when there is one, without brackets."""
    if uri.scheme == "sips":
        raise ResolveError("sips needs TLS, which is not spoken here")
    if uri.scheme != "sip" or not uri.host:
        raise ResolveError(f"a {uri.scheme} URI names no host")
    maddr = uri.parameter("maddr")
    return maddr.strip("[]") if maddr else uri.bare_host


def _asked_transport(uri: Uri, transports: Sequence[str]) -> str | None:
    asked = uri.parameter("transport")
    if not asked:
        return None
    asked = asked.upper()
    if asked not in transports:
        raise ResolveError(f"transport {asked} is not spoken here")
    return asked


def _default_transport(transports: Sequence[str]) -> str:
    """RFC 3263 §4.1: UDP for a sip URI without a hint, or what we have instead."""
    return "UDP" if "UDP" in transports else transports[0]


async def _service_hosts(
    name: str, asked: str | None, lookups: Lookups, transports: Sequence[str], chance: Chance
) -> list[Target]:
    """Host names with transport and port, in order, from NAPTR and SRV or for want of both."""
    wanted = (asked,) if asked else transports
    services = [] if asked else await _naptr_services(name, lookups, transports)
    if not services:
        services = [(transport, f"_sip._{transport.lower()}.{name}") for transport in wanted]
    hosts: list[Target] = []
    offered = True
    for transport, service in services:
        records = await lookups.srv(service)
        for record in order_srv(records, chance):
            if record.target:
                hosts.append(Target(transport, record.target, record.port))
            else:
                offered = False  # RFC 2782: a target of "." says that the service is not there
    if hosts:
        return hosts
    if not offered:
        raise ResolveError(f"{name} says that it offers no SIP")
    return [Target(asked or _default_transport(transports), name, DEFAULT_PORT)]


async def _naptr_services(name: str, lookups: Lookups, transports: Sequence[str]) -> list[tuple[str, str]]:
    """(transport, SRV name) in the order of the NAPTR records that we can use."""
    try:
        records = await lookups.naptr(name)
    except ResolveError:
        # Some name servers drop questions for NAPTR; the SRV question tells whether they live.
        return []
    services = []
    for record in sorted(records, key=lambda r: (r.order, r.preference)):
        transport = NAPTR_SERVICES.get(record.service.upper())
        if transport is None or transport not in transports:
            continue
        if record.flags.lower() == "s" and record.replacement and not record.regexp:
            services.append((transport, record.replacement))
    return services


async def _expand(hosts: Iterable[Target], lookups: Lookups, versions: Sequence[int]) -> list[Target]:
    """`hosts` with names replaced by addresses, each place once; one dead name does not hide the next."""
    targets: list[Target] = []
    failure: ResolveError | None = None
    for host in hosts:
        try:
            addresses = await _addresses(host.host, lookups, versions)
        except ResolveError as error:
            failure = error
            continue
        for address in addresses:
            target = Target(host.transport, address, host.port)
            if target not in targets:
                targets.append(target)
        if len(targets) >= MAX_TARGETS:
            break
    if failure is not None and not targets:
        raise failure
    return targets


async def _addresses(host: str, lookups: Lookups, versions: Sequence[int]) -> list[str]:
    if ip_version(host):
        return [host]
    found: list[str] = []
    failure: ResolveError | None = None
    for version in versions:
        try:
            found.extend(await lookups.addresses(host, ipv6=version == 6))
        except ResolveError as error:
            failure = error  # the other family may still answer
    if failure is not None and not found:
        raise failure
    return found


def order_srv(records: Iterable[Srv], chance: Chance) -> list[Srv]:
    """`records` by priority, and within one priority drawn by weight (RFC 2782)."""
    ordered: list[Srv] = []
    for _, group in groupby(sorted(records, key=lambda r: (r.priority, r.weight)), key=lambda r: r.priority):
        left = list(group)  # weight 0 first, as the algorithm wants
        while left:
            mark = chance.randint(0, sum(record.weight for record in left))
            chosen = 0
            while mark > left[chosen].weight:
                mark -= left[chosen].weight
                chosen += 1
            ordered.append(left.pop(chosen))
    return ordered
