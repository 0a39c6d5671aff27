"""What configuration and API demand of every text that may reach SIP."""

from __future__ import annotations

from pydantic import AfterValidator

CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029])
"C0, DEL, C1 and Unicode's two line separators: what could end a header line somewhere (G7)."


def printable(text: str) -> str:
    """`text` itself; ValueError when it has a control character."""
    if not text.isprintable() and text.translate(CONTROLS) != text:
        raise ValueError("control characters such as CR, LF and NUL are not allowed")
    return text


Printable = AfterValidator(printable)
"Annotates a string: no control characters."
