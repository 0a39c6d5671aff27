"""Addresses that packets come from, as comparable values."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["address_of"]


@lru_cache(maxsize=4096)
def address_of(ip: str) -> IPv4Address | IPv6Address | None:
    """The address that `ip` writes, or None. A dual-stack socket's name for an IPv4 peer gives that IPv4 address."""
    try:
        address = ip_address(ip)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
