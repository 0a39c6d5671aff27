"""URIs (RFC 3261 §19.1, RFC 3966): sip and sips taken apart, tel and all others kept opaque."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from urllib.parse import quote as percent_encode
from urllib.parse import unquote_to_bytes

from .errors import ParseError
from .grammar import (
    PLAIN,
    Parameters,
    find_parameter,
    format_parameters,
    parse_host_port,
    parse_ipv6,
    parse_parameters,
    parse_plain_parameters,
    replace_parameter,
)

__all__ = ["Uri", "escape_user"]

# `user` of RFC 3261 §25.1 and, as phones send them, "#" and octets above 127; "%" is checked apart.
_COMMON = re.compile(
    r"(sips?):(?:([A-Za-z0-9\-_.!~*'()&=+$,/#]+)@)?"
    r"([A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?(;" + PLAIN + "+)?"
).fullmatch
_USER = re.compile(r"[A-Za-z0-9\-_.!~*'()&=+$,;?/%#\x80-\xff]+").fullmatch
_PASSWORD = re.compile(r"[A-Za-z0-9\-_.!~*'()&=+$,%\x80-\xff]*").fullmatch
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch
_OPAQUE = re.compile(r"[^\x00-\x20<>\"\x7f]+").fullmatch
_HEADERS = re.compile(r"[^\x00-\x20<>\"@\x7f]*").fullmatch
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
_MUST_MATCH: Final = ("user", "ttl", "method", "maddr", "transport")  # RFC 3261 §19.1.4
_VISUAL_SEPARATORS: Final = str.maketrans("", "", "-.()")  # RFC 3966 §5.1.1
_DIALLED = re.compile(r"\+?[0-9*#\-.()]*[0-9*#][\-.()]*").fullmatch
_CACHED_LENGTH: Final = 128  # characters; longer URIs are parsed each time, so the cache stays under 1 MB


def escape_user(text: str) -> str:
    """Any text as the user part of a sip URI: what the grammar refuses becomes %-escapes of its UTF-8."""
    return percent_encode(text, safe="-_.!~*'()&=+$/")


def _unescape(text: str) -> str:
    if "%" not in text:
        octets = text.encode("latin-1", "replace")
    else:
        octets = unquote_to_bytes(text.encode("latin-1", "replace"))
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI as written, taken apart: sip and sips have a `host`, for all others everything is in `opaque`."""

    scheme: str
    "Lower case."
    user: str | None = None
    "With its escapes, as written; None without `@`."
    password: str | None = None
    host: str = ""
    "As written; an IPv6 reference keeps its brackets."
    port: int | None = None
    parameters: Parameters = ()
    headers: str = ""
    "What follows `?`, as written."
    opaque: str = ""
    "Everything after the colon of a URI that is neither sip nor sips."

    @staticmethod
    def parse(text: str) -> Uri:
        """Read one URI. ParseError if it is malformed."""
        return _parse_cached(text) if len(text) <= _CACHED_LENGTH else _parse(text)

    def __str__(self) -> str:
        if self.opaque:
            return f"{self.scheme}:{self.opaque}"
        text = f"{self.scheme}:"
        if self.user is not None:
            text += self.user if self.password is None else f"{self.user}:{self.password}"
            text += "@"
        text += self.host
        if self.port is not None:
            text += f":{self.port}"
        if self.parameters:
            text += format_parameters(self.parameters)
        return f"{text}?{self.headers}" if self.headers else text

    def parameter(self, name: str) -> str | None:
        """A URI parameter's value as written, "" for a flag, None if absent. Names ignore case."""
        return find_parameter(self.parameters, name.lower()) if self.parameters else None

    def has(self, name: str) -> bool:
        """True if the URI carries that parameter, with or without a value."""
        return self.parameter(name) is not None

    def with_parameter(self, name: str, value: str | None) -> Uri:
        """This URI with the parameter set; None makes a flag."""
        return replace(self, parameters=replace_parameter(self.parameters, name, value))

    def without_parameters(self) -> Uri:
        """This URI with neither parameters nor headers."""
        return replace(self, parameters=(), headers="") if self.parameters or self.headers else self

    @property
    def bare_host(self) -> str:
        """The host; of an IPv6 reference the address, in its short form, without brackets."""
        return str(parse_ipv6(self.host[1:-1])) if self.host[:1] == "[" else self.host

    @property
    def username(self) -> str:
        """The user part unescaped once (RFC 4475 §3.1.1.3), "" if there is none."""
        user = self.user
        if user is None:
            return ""
        return _unescape(user) if "%" in user or not user.isascii() else user

    @property
    def number(self) -> str:
        """What was dialled: the number of a tel URI, the `username` of a sip one.

        A sip URI may hold a telephone-subscriber as its user part: with user=phone (RFC 3261 §19.1.6), and as carriers
        write it without, by its "+". Then its parameters (npdi, tgrp, verstat) and visual separators are none of it.
        """
        if self.scheme == "tel":
            return _plain_number(self.opaque)
        name = self.username
        if name[:1] == "+" or (self.parameters and (self.parameter("user") or "").lower() == "phone"):
            return _plain_number(name)
        return name

    def equivalent(self, other: Uri) -> bool:
        """True if RFC 3261 §19.1.4 (RFC 5954 for IPv6, RFC 3966 §4 for tel) calls the two the same."""
        if self.scheme != other.scheme:
            return False
        if self.opaque or other.opaque:
            if self.scheme != "tel":
                return self.opaque == other.opaque
            return _tel_key(self.opaque) == _tel_key(other.opaque)
        return (
            _normal(self.user) == _normal(other.user)
            and _normal(self.password) == _normal(other.password)
            and self.bare_host.lower() == other.bare_host.lower()  # RFC 5954 §4.2: addresses by value
            and self.port == other.port
            and _same_parameters(self.parameters, other.parameters)
            and _header_key(self.headers) == _header_key(other.headers)
        )


def _parse(text: str) -> Uri:
    common = _COMMON(text)
    if common is None:
        return _parse_any(text)
    scheme, user, host, port, tail = common.groups()
    number = None if port is None else int(port)
    if number is not None and number > 65535:
        raise ParseError("Malformed port")
    return Uri(scheme, user, None, host, number, parse_plain_parameters(tail) if tail else ())


def _parse_any(text: str) -> Uri:
    scheme, colon, rest = text.partition(":")
    if scheme != "sip":
        scheme = scheme.lower()
    if not colon:
        raise ParseError("Malformed URI")
    if scheme not in ("sip", "sips"):
        if not _SCHEME(scheme) or not _OPAQUE(rest):
            raise ParseError("Malformed URI")
        return Uri(scheme, opaque=rest)
    user: str | None = None
    password: str | None = None
    if "@" in rest:
        user, _, rest = rest.partition("@")
        if "@" in rest:
            raise ParseError("More than one @ in a URI")
        if ":" in user:
            user, _, password = user.partition(":")
            if not _PASSWORD(password) or ("%" in password and _BAD_ESCAPE(password)):
                raise ParseError("Malformed password in a URI")
        if not _USER(user) or ("%" in user and _BAD_ESCAPE(user)):
            raise ParseError("Malformed user part of a URI")
    headers = ""
    parameters: Parameters = ()
    if "?" in rest:
        rest, _, headers = rest.partition("?")
        if not _HEADERS(headers):
            raise ParseError("Malformed headers in a URI")
    at = rest.find(";")
    if at >= 0:
        tail = rest[at:]
        rest = rest[:at]
        if not _OPAQUE(tail):
            raise ParseError("Malformed URI parameter")
        parameters = parse_parameters(tail)
    host, port = parse_host_port(rest)
    return Uri(scheme, user, password, host, port, parameters, headers)


_parse_cached = lru_cache(maxsize=1024)(_parse)


def _normal(text: str | None) -> str | None:
    """Escapes of unreserved characters undone, all others in upper case."""
    if text is None or "%" not in text:
        return text

    def normal(escape: re.Match[str]) -> str:
        char = chr(int(escape[1], 16))
        return char if char in _UNRESERVED else escape[0].upper()

    return _ESCAPE.sub(normal, text)


def _tel_key(opaque: str) -> tuple[str, frozenset[str]]:
    number, _, parameters = opaque.lower().partition(";")
    return number.translate(_VISUAL_SEPARATORS), frozenset(parameters.split(";"))


def _plain_number(subscriber: str) -> str:
    """A telephone-subscriber without parameters and, if it is a number at all, without visual separators."""
    number = subscriber.partition(";")[0]
    return number.translate(_VISUAL_SEPARATORS) if _DIALLED(number) else number


def _header_key(headers: str) -> list[tuple[str, str | None]]:
    pairs = [field.partition("=") for field in headers.split("&")]
    return sorted((name.lower(), _normal(value) or "") for name, _, value in pairs)


def _same_parameters(mine: Parameters, theirs: Parameters) -> bool:
    if mine == theirs:
        return True
    one = {name.lower(): (_normal(value) or "").lower() for name, value in mine}
    two = {name.lower(): (_normal(value) or "").lower() for name, value in theirs}
    if any(one[name] != two[name] for name in one.keys() & two.keys()):
        return False
    return not any((name in one) != (name in two) for name in _MUST_MATCH)
