"""What configuration and API demand of every text that may reach SIP."""

from __future__ import annotations

from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029])
"C0, DEL, C1 and Unicode's two line separators: what could end a header line somewhere (G7)."


def printable(text: str) -> str:
    """`text` itself; ValueError when it has a control character."""
    if not text.isprintable() and text.translate(CONTROLS) != text:
        raise ValueError("control characters such as CR, LF and NUL are not allowed")
    return text


PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
"What `printable` says, for a JSON schema."


class _Printable:
    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(printable, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler(schema)
        described.setdefault("pattern", PRINTABLE)
        return described


Printable = _Printable()
"Annotates a string: no control characters."
