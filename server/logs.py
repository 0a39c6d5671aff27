"""Logging: structlog on a console or as JSON lines on standard error, with secrets taken out of every line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
SECRET_KEYS = frozenset(
    {
        "authorization",
        "proxy_authorization",
        "password",
        "auth_password",
        "passwd",
        "secret",
        "token",
        "access_token",
        "ha1",
    }
)
"Keys, in lower case with `-` as `_`, whose value is never logged."

# A SIP or HTTP header line with its folded continuations, as far as it stands in a text.
_HEADER = re.compile(
    r"(\b(?:proxy-)?authorization[ \t]*['\"]?[ \t]*[:=,][ \t]*)(?:[^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*)", re.IGNORECASE
)
_BEARER = re.compile(r"(\bbearer[ ]+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def redact_text(text: str) -> str:
    """`text` without the values of Authorization headers and bearer tokens."""
    lowered = text.lower()
    if "authorization" in lowered:
        text = _HEADER.sub(rf"\1{REDACTED}", text)
    if "bearer" in lowered:
        text = _BEARER.sub(rf"\1{REDACTED}", text)
    return text


def redact(value: object) -> object:
    """`value` with secrets replaced, however deep they lie in mappings and lists."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {
            key: REDACTED if item is not None and str(key).lower().replace("-", "_") in SECRET_KEYS else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    return value


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor: nothing secret leaves in any key of `event`."""
    cleaned = redact(event)
    assert isinstance(cleaned, dict)
    return cleaned


def set_up(level: str, format: Literal["auto", "console", "json"], stream: TextIO | None = None) -> None:
    """Send the lines of structlog and of the standard library to `stream` (standard error) from `level` up.

    "auto" means console where the stream is a terminal, else JSON. May be called again.
    """
    out = stream or sys.stderr
    console = format == "console" or (format == "auto" and out.isatty())
    # plain_traceback: the other formatters print local variables, secrets among them.
    last: Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    renderer: list[Processor] = [structlog.processors.format_exc_info, redact_event, last]
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    minimum = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(max(minimum, logging.WARNING))
