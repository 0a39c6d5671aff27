"""`Headers`: the header fields of a message, lossless, ordered and found by name (RFC 3261 §7.3).

The typed values live in `values` and are shown here too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from .grammar import is_token, split_list, unfold
from .names import CANONICAL_NAMES, canonical_name
from .values import Address, AuthValue, CSeq, MediaType, Reason, Via, parse_addresses

__all__ = [
    "Address",
    "AuthValue",
    "CSeq",
    "Headers",
    "MediaType",
    "Reason",
    "Via",
    "canonical_name",
    "line_value",
    "nul_is_escaped",
    "parse_addresses",
]

_KNOWN: Final = CANONICAL_NAMES.get
"What `canonical_name` looks up first, without the call: nearly every name is in there."
_NUL_ESCAPED: Final = re.compile(
    r'[^"\0]*+(?:"[^"\\\0]*+(?:\\.[^"\\\0]*+)*+"[^"\0]*+)*+',
    re.DOTALL,
).fullmatch


class Headers:
    """The header fields of a message: ordered, lossless, found by name whatever its case or form.

    A line that was parsed stays as it came, folds and all, until it is set or removed. `views` caches typed
    values by canonical name; changing a header drops its views.
    """

    __slots__ = ("lines", "names", "views")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.names: list[str] = []
        "Canonical name of each line. For `sip.message` alone."
        self.lines: list[str] = []
        "Each line as wire text without its final CRLF. For `sip.message` alone."
        self.views: dict[str, Any] = {}
        "Typed values. For `sip.message` alone."
        for name, value in items:
            self.add(name, value)

    @classmethod
    def from_lines(cls, names: list[str], lines: list[str]) -> Headers:
        """Take over lines as parsed, with their canonical names."""
        headers = cls.__new__(cls)
        headers.names = names
        headers.lines = lines
        headers.views = {}
        return headers

    def _changed(self, name: str) -> None:
        if self.views:
            self.views.pop(name, None)
            if name == "via":
                self.views.pop("vias", None)

    def add(self, name: str, value: str) -> None:
        """Append a line. ValueError if the name is no token or the value holds CR, LF or a bare NUL."""
        line = _make_line(name, value)
        key = _KNOWN(name) or canonical_name(name)
        self.names.append(key)
        self.lines.append(line)
        self._changed(key)

    def insert(self, name: str, value: str, index: int = 0) -> None:
        """Put a line before the line at `index` (0: on top). ValueError as for `add`."""
        line = _make_line(name, value)
        key = canonical_name(name)
        self.names.insert(index, key)
        self.lines.insert(index, line)
        self._changed(key)

    def get(self, name: str) -> str | None:
        """The first value under that name, unfolded and stripped; None if absent."""
        key = _KNOWN(name) or canonical_name(name)
        names = self.names
        if key not in names:
            return None
        line = self.lines[names.index(key)]
        value = line[line.index(":") + 1 :]
        return unfold(value) if "\n" in value else value.strip(" \t")

    def get_all(self, name: str) -> list[str]:
        """The values under that name, one a line."""
        key = _KNOWN(name) or canonical_name(name)
        names = self.names
        if key not in names:
            return []
        return [line_value(line) for known, line in zip(names, self.lines, strict=True) if known == key]

    def count(self, name: str) -> int:
        """How many lines have that name."""
        return self.names.count(canonical_name(name))

    def values(self, name: str) -> list[str]:
        """The values under that name, comma lists taken apart. ParseError as for `split_list`."""
        return [value for line in self.get_all(name) for value in split_list(line)]

    def set(self, name: str, value: str) -> None:
        """Replace the first line of that name and drop its others, or append one. ValueError as for `add`."""
        line = _make_line(name, value)
        key = canonical_name(name)
        if key not in self.names:
            self.names.append(key)
            self.lines.append(line)
        else:
            first = self.names.index(key)
            self.lines[first] = line
            if self.names.count(key) > 1:
                self._keep(lambda index, known: known != key or index == first)
        self._changed(key)

    def replace_first(self, name: str, value: str) -> None:
        """Replace the first line of that name, leaving its others. KeyError if there is none."""
        key = canonical_name(name)
        if key not in self.names:
            raise KeyError(name)
        self.lines[self.names.index(key)] = _make_line(name, value)
        self._changed(key)

    def remove(self, name: str) -> None:
        """Remove all lines of that name, if any."""
        key = canonical_name(name)
        if key in self.names:
            self._keep(lambda _, known: known != key)
            self._changed(key)

    def _keep(self, wanted: Callable[[int, str], bool]) -> None:
        kept = [index for index, known in enumerate(self.names) if wanted(index, known)]
        self.names = [self.names[index] for index in kept]
        self.lines = [self.lines[index] for index in kept]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (_KNOWN(name) or canonical_name(name)) in self.names

    def items(self) -> Iterator[tuple[str, str]]:
        """Each line's name as written and value, unfolded and stripped: fit for `add`."""
        for line in self.lines:
            name, _, value = line.partition(":")
            yield name.rstrip(" \t"), unfold(value)

    def raw_lines(self) -> list[str]:
        """Each line exactly as on the wire, folds included, without its final CRLF."""
        return list(self.lines)

    def copy(self) -> Headers:
        """An independent copy; lines and views are immutable and shared."""
        twin = Headers.from_lines(self.names.copy(), self.lines.copy())
        twin.views = self.views.copy()
        return twin

    def __len__(self) -> int:
        return len(self.lines)

    def __eq__(self, other: object) -> bool:
        """Equal if they would be sent as the same octets."""
        return self.lines == other.lines if isinstance(other, Headers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({list(self.items())!r})"


def line_value(line: str) -> str:
    """The value of a raw line, unfolded and stripped."""
    value = line[line.index(":") + 1 :]
    return unfold(value) if "\n" in value else value.strip(" \t")


def _make_line(name: str, value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError(f"line break in the value of {name}")
    if "\0" in value and not nul_is_escaped(value):
        raise ValueError(f"NUL in the value of {name}")
    if name not in CANONICAL_NAMES and not is_token(name):
        raise ValueError("a header name is a token")
    if not value.isascii() and max(value) > "\xff":
        value = value.encode("utf-8", "replace").decode("latin-1")
    return f"{name}: {value}"


def nul_is_escaped(text: str) -> bool:
    """True if every NUL stands behind a backslash in quotes: RFC 3261 §25.1 allows it nowhere else."""
    return "\0" not in text or _NUL_ESCAPED(text) is not None
