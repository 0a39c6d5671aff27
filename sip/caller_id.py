"""Who is calling, as one leg shows it: From, P-Asserted-Identity, Remote-Party-ID and Privacy.

Towards a phone there is From alone. Towards a trunk its policy decides (RFC 3325, RFC 3323, and the
Remote-Party-ID draft that carriers still read), and a request may put its own user parts into the headers of
the trunk it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .errors import ParseError
from .grammar import parse_host_port, quote
from .number import number_of, user_part
from .text import refuse_controls
from .trunk import TrunkConfig
from .uri import Uri

__all__ = ["Identity", "Rewrites", "identity_of"]

ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'  # RFC 3323 §4.1

_FIELDS = {"P-Asserted-Identity": "pai", "Remote-Party-ID": "rpi"}

Why = dict[str, str]
"Header name to the sentence that explains its value."


@dataclass(frozen=True, slots=True)
class Rewrites:
    """User parts in place of those that policy makes (conformance D7). ValueError if empty or with controls."""

    from_: str | None = None
    pai: str | None = None
    rpi: str | None = None

    def __post_init__(self) -> None:
        for name, user in (("rewrite_from", self.from_), ("rewrite_pai", self.pai), ("rewrite_rpi", self.rpi)):
            if user is not None:
                refuse_controls(name, user)
                if not user:
                    raise ValueError(f"{name}: empty")


_NONE: Final = Rewrites()


@dataclass(frozen=True, slots=True)
class Identity:
    """Header values in wire text; "" where a header is absent."""

    from_: str
    "Without the tag."
    pai: str = ""
    rpi: str = ""
    privacy: str = ""


@lru_cache(maxsize=256)
def checked_host(text: str) -> str:
    """`text`, if it is a host with or without a port. ValueError otherwise."""
    try:
        parse_host_port(text)
    except ParseError as error:
        raise ValueError(f"{error.reason}: {text!r}") from None
    return text


def sip_uri(user: str, host: str) -> str:
    """`sip:user@host`, the user part escaped; without a user `sip:host`."""
    return f"sip:{user_part(user)}@{host}" if user else f"sip:{host}"


def _prefix(display: str | None) -> str:
    """What stands before `<uri>`: the display name quoted and escaped, or nothing."""
    return f"{quote(display)} " if display else ""


def identity_of(
    caller: str,
    display: str | None,
    *,
    private: bool,
    rewrites: Rewrites | None,
    trunk: TrunkConfig | None,
    domain: str,
    target: Uri,
    why: Why | None = None,
) -> Identity:
    """The identity headers of a leg to `target`. `rewrites` are those meant for this leg's trunk.

    `private`: the caller wants to stay anonymous. `why` is filled when given.
    """
    number = number_of(caller)
    host = checked_host(domain)
    if trunk is None:
        if why is not None:
            why["From"] = "the caller wants to stay anonymous (RFC 3323)" if private else "caller of the request"
        return Identity(ANONYMOUS if private else f"{_prefix(display)}<{sip_uri(number, host)}>")
    return _Policy(trunk, rewrites or _NONE, why).identity(number, display, private, host, target)


class _Policy:
    """One trunk's policy, applied to one call."""

    __slots__ = ("_rewrites", "_trunk", "_why")

    def __init__(self, trunk: TrunkConfig, rewrites: Rewrites, why: Why | None) -> None:
        self._trunk = trunk
        self._rewrites = rewrites
        self._why = why

    def identity(self, number: str, display: str | None, private: bool, host: str, target: Uri) -> Identity:
        trunk, rewrites = self._trunk, self._rewrites
        number = trunk.numbers.international(number)
        shown = _prefix(display if trunk.from_display == "caller" else trunk.from_display)
        if trunk.from_host:
            host = target.host if trunk.from_host == "trunk" else trunk.from_host
        withheld = trunk.privacy == "always" or (private and trunk.privacy == "caller")
        pai = self._user("P-Asserted-Identity", trunk.pai, number, rewrites.pai, "rewrite_pai")
        rpi = self._user("Remote-Party-ID", trunk.rpi, number, rewrites.rpi, "rewrite_rpi")
        # A header that only a rewrite made has no display name (conformance D15).
        pai_name = shown if trunk.pai and not withheld else ""
        rpi_name = shown if trunk.rpi and not withheld else ""
        level = "full" if withheld else "off"
        return Identity(
            self._from(number, shown, host, withheld),
            f"{pai_name}<{sip_uri(pai, host)}>" if pai else "",
            f"{rpi_name}<{sip_uri(rpi, host)}>;party=calling;screen=yes;privacy={level}" if rpi else "",
            self._privacy() if withheld else "",
        )

    def _from(self, number: str, shown: str, host: str, withheld: bool) -> str:
        trunk, rewrite = self._trunk, self._rewrites.from_
        if withheld:
            given_way = "; rewrite_from gives way to it" if rewrite is not None else ""
            self._explain("From", f"anonymous (RFC 3323 §4.1){given_way}")
            return ANONYMOUS
        user = number if trunk.from_user == "caller" else trunk.from_user
        if rewrite is not None:
            user = rewrite
        if self._why is not None:
            source = "caller of the request"
            if trunk.from_user != "caller":
                source = f"from_user of trunk {trunk.name}"
            elif trunk.number_format != "as_is":
                source += f" in the number_format of trunk {trunk.name}"
            rule = f"user part: {source if rewrite is None else 'rewrite_from of the request'}"
            if trunk.from_host:
                rule += f"; host: from_host of trunk {trunk.name}"
            if trunk.from_display != "caller":
                rule += f"; display name: from_display of trunk {trunk.name}"
            self._why["From"] = rule
        return f"{shown}<{sip_uri(user, host)}>"

    def _user(self, header: str, policy: str, number: str, rewrite: str | None, field: str) -> str:
        """The user part of `header` by policy ("", "caller" or fixed) and rewrite; "" for no header."""
        if rewrite is not None:
            self._explain(header, f"user part: {field} of the request" + ("" if policy else "; added for it"))
            return rewrite
        user = number if policy == "caller" else policy
        if user:
            self._explain(header, f"{_FIELDS[header]} of trunk {self._trunk.name}: {policy}")
        return user

    def _privacy(self) -> str:
        if self._why is not None:
            by = "the caller's wish" if self._trunk.privacy == "caller" else "policy"
            self._why["Privacy"] = f"identity withheld by {by}, privacy of trunk {self._trunk.name} (RFC 3323)"
        return "id"

    def _explain(self, header: str, rule: str) -> None:
        if self._why is not None:
            self._why[header] = rule
