"""The configuration file of a server under test, put together from parts and written as TOML."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .network import Network

ADMIN_TOKEN = "interop-admin-token"
USER_TOKEN = "interop-plain-token"
RTP_PORTS = 400


def password_of(extension: str) -> str:
    """The SIP password that every extension of these tests has."""
    return f"secret-{extension}"


@dataclass
class Settings:
    """What a server is started with. The ports are taken from the network."""

    extensions: list[dict[str, Any]] = field(default_factory=list)
    trunks: list[dict[str, Any]] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[dict[str, Any]] = field(default_factory=list)
    media: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    webrtc: dict[str, Any] = field(default_factory=dict)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    server: dict[str, Any] = field(default_factory=dict)
    rtp_ports: int = RTP_PORTS
    address: str = "127.0.0.1"

    def add_extensions(self, first: int, count: int, allow: list[str] | None = None) -> Settings:
        """Extensions `first`, `first` + 1, ... that may dial what `allow` says."""
        for number in map(str, range(first, first + count)):
            entry = {"number": number, "password": password_of(number), "display_name": f"Desk {number}"}
            self.extensions.append({**entry, "allow": allow or []})
        return self

    def write(self, network: Network) -> tuple[str, int, int]:
        """The TOML text, the SIP port and the HTTP port."""
        sip_port, http_port = network.ports(1), network.ports(1)
        first = network.ports(self.rtp_ports)
        listen = [f"{transport}:{self.address}:{sip_port}" for transport in ("udp", "tcp")]
        admin = {"name": "admin", "token": ADMIN_TOKEN, "role": "admin"}
        plain = {"name": "plain", "token": USER_TOKEN, "allow": ["0."]}
        sections: dict[str, dict[str, Any]] = {
            "server": {"host": "127.0.0.1", "http_port": http_port, "log_format": "json", **self.server},
            "sip": {"listen": listen},
            "media": {"ports": f"{first}-{first + self.rtp_ports - 1}", **self.media},
            "limits": self.limits,
            "webrtc": self.webrtc,
        }
        lists: dict[str, list[dict[str, Any]]] = {
            "extensions": self.extensions,
            "trunks": self.trunks,
            "routes": self.routes,
            "numbers": self.numbers,
            "tokens": [admin, plain, *self.tokens],
        }
        parts = [_table(f"[{name}]", values) for name, values in sections.items()]
        parts += [_table(f"[[{name}]]", entry) for name, entries in lists.items() for entry in entries]
        return "\n\n".join(parts) + "\n", sip_port, http_port


def _table(head: str, values: dict[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in values.items())])


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)  # strings, numbers and booleans are written alike in TOML
