"""Bindings that outlive the process: what is kept of one, and its flow when nothing is left of the connection.

A UDP binding goes on as it was: the same sockets are bound again, so that even a NAT on the way notices nothing. Of a
connection only the contact is left, which is of use where the phone can be connected to; a phone that only its own
connection reached is not kept, and registers anew when it finds that connection broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .transport.base import host_port


@dataclass(frozen=True, slots=True)
class KeptBinding:
    """A binding in values that can be stored; its instants are in whatever clock the keeper uses."""

    aor: str
    key: str
    "Tells the bindings of one address-of-record apart."
    contact: str
    transport: str
    local: tuple[str, int]
    remote: tuple[str, int]
    path: tuple[str, ...]
    reg_id: int | None
    user_agent: str
    call_id: str
    cseq: int
    registered_at: float
    expires_at: float

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> KeptBinding:
        """From its fields, where tuples may have become lists. TypeError or ValueError when some are missing."""
        values = dict(fields)
        for name in ("local", "remote"):
            host, port = values.get(name, ())
            values[name] = (host, port)
        values["path"] = tuple(values.get("path", ()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class LostFlow:
    """A connection that ended with the process before this one."""

    transport: str
    local: tuple[str, int]
    remote: tuple[str, int]
    reliable: bool = True
    closed: bool = True

    @property
    def sent_by(self) -> str:
        """`host:port` of our side."""
        return host_port(*self.local)

    def send(self, data: bytes) -> None:
        """Lost, too."""
