"""People's text on its way into a header: without control characters (conformance G7)."""

from __future__ import annotations

import re

__all__ = ["refuse_controls", "without_controls"]

# C0 and C1, and with them CR, LF and NUL. Lone surrogates are no characters; U+2028 and U+2029 end lines in logs and on
# some phones.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def refuse_controls(name: str, text: str) -> None:
    """ValueError, naming `name`, if `text` holds a control character."""
    if not text.isprintable() and _CONTROL.search(text):
        raise ValueError(f"{name}: control characters")


def without_controls(text: str) -> str:
    """What a peer wrote, made fit for `refuse_controls`: each control character becomes a space, outer ones go."""
    return text if text.isprintable() else _CONTROL.sub(" ", text).strip(" ")
