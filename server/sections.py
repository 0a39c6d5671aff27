"""The sections of the configuration: strict models, each key with its type and default."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from signalling import Pattern

from .fields import Printable

SERVICES: dict[str, Literal["echo", "tone"]] = {"600": "echo", "601": "tone"}
"What the demo server, and a file without [services], answers itself."


def _dial_pattern(text: str) -> str:
    Pattern.parse(text)
    return text


def _address(text: str) -> str:
    ip_address(text)
    return text


def _network(text: str) -> str:
    ip_network(text)
    return text


def _port_range(text: str) -> str:
    first, dash, last = text.partition("-")
    if not (dash and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise ValueError('give the first and the last port, as in "40000-49999"')
    if not 1024 <= int(first) < int(last) <= 65535:
        raise ValueError("ports go from 1024 to 65535, the first below the last")
    return text


def split_listen(text: str) -> tuple[str, str, int]:
    """Transport in capitals, host without brackets, port. ValueError when `text` is none of that."""
    match = re.fullmatch(r"(udp|tcp):(?:\[([0-9a-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", text, re.IGNORECASE)
    if match is None or int(match[4]) > 65535:
        raise ValueError('give transport, address and port, as in "udp:0.0.0.0:5060" or "tcp:[::]:5060"')
    return match[1].upper(), _address(match[2] or match[3]), int(match[4])


def _listen(text: str) -> str:
    split_listen(text)
    return text


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Number = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9A-Za-z+*#_.-]+$")]
Line = Annotated[str, Field(max_length=128), Printable]
DialPattern = Annotated[str, Field(max_length=64), Printable, AfterValidator(_dial_pattern)]
Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)$")]
Tenant = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Id = Annotated[str, Field(min_length=1, max_length=256), Printable]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=256)]
Codec = Literal["PCMU", "PCMA", "G722", "opus"]
MediaMode = Literal["anchor", "bypass"]


class Section(BaseModel):
    """A table of the file: strict types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Server(Section):
    """HTTP, logs, and whose server it is."""

    account: Tenant = "default"
    app: Tenant = "default"
    "Account and app of the phones, the trunks, and of all that says nothing else."

    host: Address = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    "0 takes a free port."
    extra_http_ports: list[Port] = []
    "More ports with the same API, such as the PBX dialect's 8887."
    cors_origins: list[Line] = ["*"]
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"


class Sip(Section):
    """Where phones and trunks reach us, and what we call ourselves."""

    listen: Annotated[list[Annotated[str, AfterValidator(_listen)]], Field(min_length=1)] = [
        "udp:0.0.0.0:5060",
        "tcp:0.0.0.0:5060",
    ]
    advertised_host: Host | None = None
    domain: Host | None = None
    user_agent: Annotated[str, Field(min_length=1, max_length=64), Printable] = "Ringway"
    local_networks: list[Network] = []

    @property
    def first_host(self) -> str:
        """The address listened on first."""
        return split_listen(self.listen[0])[1]


class Media(Section):
    """Where RTP is received, and what it may hold."""

    ports: Annotated[str, AfterValidator(_port_range)] = "40000-49999"
    bind_host: Address | None = None
    advertised_host: Address | None = None
    codecs: Annotated[list[Codec], Field(min_length=1)] = ["PCMU", "PCMA", "G722", "opus"]
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0

    @property
    def port_range(self) -> tuple[int, int]:
        """First and last port."""
        first, _, last = self.ports.partition("-")
        return int(first), int(last)


class Limits(Section):
    """Beyond these, 503 with Retry-After."""

    sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    calls_per_extension: Annotated[int, Field(ge=1, le=1000)] = 4
    early_dialogs: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    ended_sessions: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    retention_s: Annotated[float, Field(ge=0)] = 600.0
    retry_after_s: Annotated[int, Field(ge=1, le=3600)] = 5


class Extension(Section):
    """A number of ours that phones register."""

    number: Number
    password: Secret
    display_name: Line | None = None
    allow: list[DialPattern] = []
    "What it may dial through trunks; nothing by default."
    max_calls: Annotated[int, Field(ge=1, le=1000)] | None = None
    ring_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0


class Trunk(Section):
    """A carrier or another PBX; each key as sip.TrunkConfig describes it."""

    name: Name
    hosts: Annotated[list[Line], Field(min_length=1, max_length=16)]
    username: Line | None = None
    password: Secret | None = None
    register_: Annotated[bool, Field(alias="register")] = False
    registrar: Line | None = None
    register_expires_s: Annotated[int, Field(ge=60, le=86_400)] = 3600
    inbound_sources: list[Network] = []
    from_user: Line = "caller"
    from_host: Line = ""
    from_display: Line = "caller"
    pai: Line = ""
    rpi: Line = ""
    privacy: Literal["never", "caller", "always"] = "caller"
    number_format: Literal["as_is", "e164", "e164_plus"] = "as_is"
    country_code: Annotated[str, Field(pattern=r"^[1-9]?[0-9]{0,2}$")] = ""
    national_prefix: Annotated[str, Field(pattern=r"^[0-9]{0,4}$")] = "0"
    international_prefix: Annotated[str, Field(pattern=r"^[0-9+]{0,5}$")] = "00"
    strip_prefix: Annotated[str, Field(pattern=r"^[0-9+*#]{0,16}$")] = ""
    add_prefix: Annotated[str, Field(pattern=r"^[0-9+*#]{0,16}$")] = ""
    codecs: list[Codec] = []
    max_calls: Annotated[int, Field(ge=1)] | None = None
    max_calls_per_s: Annotated[float, Field(gt=0)] | None = None
    options_interval_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    options_misses: Annotated[int, Field(ge=1, le=100)] = 3
    answer_timeout_s: Annotated[float, Field(gt=0, le=180)] = 10.0
    ring_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    media: MediaMode = "anchor"
    allow: list[DialPattern] = []
    "What calls that come in through it may dial through trunks; nothing by default."

    @model_validator(mode="after")
    def _complete(self) -> Trunk:
        if self.register_ and not (self.username and self.password):
            raise ValueError("register = true needs username and password")
        if self.password is not None and not self.username:
            raise ValueError("password needs a username beside it")
        return self


class RouteTrunk(Section):
    """One trunk of a route: lower priority first, among equals by weight."""

    trunk: Name
    priority: Annotated[int, Field(ge=0, le=65535)] = 1
    weight: Annotated[int, Field(ge=1, le=65535)] = 1


class Route(Section):
    """Dialled numbers and the trunks that carry them; the first route that matches is taken."""

    pattern: DialPattern
    trunks: Annotated[list[RouteTrunk], Field(min_length=1, max_length=32)]
    media: MediaMode | None = None


class InboundNumber(Section):
    """A number that trunks call us by, and where it leads: an extension, a service number, `echo` or `tone`."""

    number: DialPattern
    to: Number
    trunk: Name | None = None


class User(Section):
    """A person or program that takes part in sessions."""

    id: Id
    handle: Line | None = None
    "None: the id."
    display_name: Line | None = None
    image_url: Annotated[str, Field(max_length=2048), Printable] | None = None
    email: Annotated[str, Field(max_length=254), Printable] | None = None
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")] | None = None
    "E.164."
    extensions: list[Number] = []
    "Whose phones are this user's."


class Users(Section):
    """Who takes part in sessions."""

    strict: bool = False
    "Whether an id that is not in the directory is refused; else it makes a user."
    people: list[User] = []


class Token(Section):
    """A bearer token of the REST API, in clear or as its SHA-256 in hex."""

    name: Name
    token: Annotated[SecretStr, Field(min_length=16, max_length=256)] | None = None
    token_sha256: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")] | None = None
    role: Literal["admin", "token"] = "token"
    allow: list[DialPattern] = []

    @model_validator(mode="after")
    def _one_secret(self) -> Token:
        if (self.token is None) == (self.token_sha256 is None):
            raise ValueError("give either token or token_sha256")
        return self


class Config(Section):
    """The whole file."""

    server: Server = Server()
    sip: Sip = Sip()
    media: Media = Media()
    limits: Limits = Limits()
    services: dict[Number, Literal["echo", "tone"]] = SERVICES
    extensions: list[Extension] = []
    trunks: list[Trunk] = []
    routes: list[Route] = []
    numbers: list[InboundNumber] = []
    users: Users = Users()
    tokens: list[Token] = []
