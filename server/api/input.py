"""From the bytes of a request to what an operation wants: strict, bounded, refused with a reason that names the field.

Each `..._reader` looks at a model once and gives a function for every request.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from email.message import Message
from typing import Any

from multidict import MultiMapping
from pydantic import AliasChoices, BaseModel, ValidationError

from ..errors import ApiError, bad_request
from ..fields import printable

MAX_FAULTS_TOLD = 5
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})

QueryReader = Callable[[MultiMapping[str]], BaseModel]
BodyReader = Callable[[bytes], BaseModel]

_SUSPECT = re.compile(rb"\\[bf]|\\u00[01]|\\u007[fF]|\x7f|NaN|Infinity")
"What a text with a control character, or a number that is none, looks like in JSON. So may harmless texts."
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"No text needs them, and no database takes them all. A line break or a tab may stand in a text of several lines."


def query_reader(model: type[BaseModel]) -> QueryReader:
    """Reads the query into `model`; others' parameters are ignored, those given twice refused."""
    names = [_wire_name(name, model) for name in model.model_fields]
    validate = model.model_validate_strings

    def read(given: MultiMapping[str]) -> BaseModel:
        wanted: dict[str, str] = {}
        if given:
            for name in names:
                values = given.getall(name, ())
                if len(values) > 1:
                    raise bad_request(f"{name}: given more than once")
                if values:
                    wanted[name] = checked(name, values[0])
        try:
            return validate(wanted)
        except ValidationError as error:
            raise bad_request(reasons(error)) from error

    return read


def body_reader(model: type[BaseModel]) -> BodyReader:
    """Reads a JSON body into `model`. A text with a control character is refused wherever it stands (G7)."""
    validate = model.model_validate_json

    def read(data: bytes) -> BaseModel:
        try:
            body = validate(data)
        except ValidationError as error:
            raise bad_request(reasons(error)) from error
        if _SUSPECT.search(data):
            _refuse_controls(json.loads(data, parse_constant=_refuse_constant))
        return body

    return read


def _wire_name(name: str, model: type[BaseModel]) -> str:
    field = model.model_fields[name]
    alias = field.validation_alias if field.validation_alias is not None else field.alias
    assert not isinstance(alias, AliasChoices), "one name is enough for a parameter"
    return str(alias) if alias is not None else name


def _refuse_constant(name: str) -> None:
    raise bad_request(f"{name} is no JSON")


def _refuse_controls(value: Any) -> None:
    """400 when a key or a text of this JSON has a control character; the parser has bounded its depth."""
    if isinstance(value, str):
        if _CONTROLS.search(value):
            raise bad_request("control characters such as NUL are not allowed")
    elif isinstance(value, list):
        for item in value:
            _refuse_controls(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_controls(key)
            _refuse_controls(item)


def checked(name: str, text: str) -> str:
    """`text` itself; 400 when it has a control character."""
    try:
        return printable(text)
    except ValueError as error:
        raise bad_request(f"{name}: {error}") from error


def check_path(path: Mapping[str, str]) -> None:
    """400 when a parameter of the path has a control character."""
    for name, text in path.items():
        checked(name, text)


def check_charset(content_type: str) -> None:
    """400 when a body says that it is in anything but UTF-8."""
    if "charset" not in content_type.lower():
        return
    head = Message()
    head["Content-Type"] = content_type
    charset = head.get_content_charset()
    if charset is not None and charset not in CHARSETS:
        raise bad_request("Content-Type: the charset of JSON is utf-8")


def unpacked(data: bytes, coding: str, limit: int) -> bytes:
    """`data` without its content coding (RFC 9110 §8.4.1), never more than `limit` bytes of it in memory.

    ApiError 413 when it is larger, 400 when it is not what `coding` says, 415 for a coding that we have not.
    """
    coding = coding.strip().lower()
    if coding == "identity":
        return data
    if coding in ("gzip", "x-gzip"):
        window = 16 + zlib.MAX_WBITS
    elif coding == "deflate":
        window = zlib.MAX_WBITS
    else:
        headers = {"Accept-Encoding": "gzip, deflate"}
        raise ApiError(415, "UNSUPPORTED_CODING", "a body is plain, gzip or deflate", headers=headers)
    unpacking = zlib.decompressobj(window)
    try:
        plain = unpacking.decompress(data, limit + 1)
    except zlib.error as error:
        raise bad_request(f"the body is no {coding}") from error
    if len(plain) > limit:
        raise ApiError(413, "TOO_LARGE", f"a body has at most {limit} bytes")
    if not unpacking.eof or unpacking.unused_data:
        raise bad_request(f"the body is no {coding}")
    return plain


def reasons(error: ValidationError) -> str:
    """What is wrong with each field, without the values that were given."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    told = []
    for detail in details[:MAX_FAULTS_TOLD]:
        place = _place(detail["loc"])
        reason = detail["msg"].removeprefix("Value error, ")
        told.append(f"{place}: {reason}" if place else reason)
    if len(details) > MAX_FAULTS_TOLD:
        told.append(f"and {len(details) - MAX_FAULTS_TOLD} more")
    return "; ".join(told)


def _place(loc: Iterable[int | str]) -> str:
    """`legs.0.number`, without what only the model knows, such as the branch of a union."""
    return ".".join(str(part) for part in loc)
