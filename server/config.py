"""The configuration: one strict model, read from a TOML file and `RINGWAY_…` variables, with every fault named.

A variable overrides one simple key of the sections server, sip, media and limits: RINGWAY_SERVER_HTTP_PORT=8081
stands for `http_port` in `[server]`; lists are separated by commas.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from signalling import Pattern

from .errors import ConfigError, Fault
from .fields import Printable

ENV_PREFIX = "RINGWAY_"
DEV_EXTENSIONS = ("1001", "1002", "1003")
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
Secret = Annotated[SecretStr, Field(min_length=1, max_length=256)]
Codec = Literal["PCMU", "PCMA", "G722", "opus"]
MediaMode = Literal["anchor", "bypass"]


class Section(BaseModel):
    """A table of the file: strict types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Server(Section):
    """HTTP and logs."""

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
    tokens: list[Token] = []


def load(path: Path, env: Mapping[str, str]) -> Config:
    """The configuration in `path`, with `env` over it. ConfigError names every fault."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Fault(str(path), "", error.strerror or str(error))]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Fault(str(path), "", f"not TOML: {error}")]) from error
    origins = _apply_env(raw, env)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_faults(error, raw, str(path), origins)) from error
    if faults := [Fault(str(path), key, reason) for key, reason in _contradictions(config)]:
        raise ConfigError(faults)
    return config


def dev_config(*, host: str, http_port: int, sip_port: int, rtp_ports: str, token: str) -> Config:
    """What `ringway dev` runs: demo extensions, the services, one admin token. ConfigError names the option."""
    at = f"[{host}]" if ":" in host else host
    raw = {
        "server": {"host": host, "http_port": http_port},
        "sip": {"listen": [f"udp:{at}:{sip_port}", f"tcp:{at}:{sip_port}"]},
        "media": {"ports": rtp_ports},
        "extensions": [
            {"number": number, "password": f"ringway-{number}", "display_name": f"Demo {number}"}
            for number in DEV_EXTENSIONS
        ],
        # As a digest, since a demo's token may be shorter than one in a file.
        "tokens": [{"name": "dev", "token_sha256": sha256(token.encode()).hexdigest(), "role": "admin"}],
    }
    options = {
        ("server", "host"): "--host",
        ("server", "http_port"): "--http-port",
        ("sip", "listen"): "--sip-port",
        ("media", "ports"): "--rtp-ports",
    }
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_faults(error, raw, "ringway dev", options)) from error
    if faults := [Fault("ringway dev", key, reason) for key, reason in _contradictions(config)]:
        raise ConfigError(faults)
    return config


# Environment.


def _apply_env(raw: dict[str, Any], env: Mapping[str, str]) -> dict[tuple[str | int, ...], str]:
    """Put variables into `raw`; where each value then came from."""
    origins: dict[tuple[str | int, ...], str] = {}
    faults: list[Fault] = []
    for section, model in _sections().items():
        prefix = f"{ENV_PREFIX}{section.upper()}_"
        for variable in sorted(name for name in env if name.startswith(prefix)):
            key = variable.removeprefix(prefix).lower()
            if key not in model.model_fields:
                guess = _did_you_mean(key, model.model_fields, lambda name, p=prefix: p + name.upper())
                faults.append(Fault(variable, "", f"no such setting{guess}"))
                continue
            table = raw.setdefault(section, {})
            if isinstance(table, dict):
                table[key] = _env_value(env[variable], model, key)
                origins[section, key] = variable
    if faults:
        raise ConfigError(faults)
    return origins


def _sections() -> dict[str, type[Section]]:
    return {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def _env_value(text: str, model: type[Section], key: str) -> object:
    """`text` as the field's type; itself when it is none, so that validation says why."""
    annotation: Any = model.model_fields[key].annotation
    if TypeAdapter(annotation).json_schema().get("type") == "array":
        item = get_args(annotation)[0]
        return [_loosely(part.strip(), item) for part in text.split(",") if part.strip()]
    return _loosely(text, annotation)


def _loosely(text: str, annotation: Any) -> object:
    try:
        return TypeAdapter(annotation).validate_strings(text)
    except ValidationError:
        return text


# Faults.


def _faults(
    error: ValidationError, raw: Mapping[str, Any], source: str, origins: Mapping[tuple[Any, ...], str]
) -> list[Fault]:
    faults = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        loc = detail["loc"]
        origin = next((origins[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in origins), None)
        reason = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            reason = f"unknown key{_did_you_mean(str(loc[-1]), _keys_at(loc[:-1]))}"
        elif detail["type"] == "missing":
            reason = "missing"
        faults.append(Fault(origin or source, "" if origin else _key(loc, raw), reason))
    return faults


def _key(loc: Sequence[str | int], raw: Any) -> str:
    """`trunks[0].hosts (carrier)`: the path, and the name of the entry it is in."""
    text = ""
    label = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            raw = None
        if isinstance(part, int) and isinstance(raw, dict):
            name = raw.get("name") or raw.get("number") or raw.get("pattern")
            label = f" ({name})" if isinstance(name, str) else ""
    return text + label


def _keys_at(loc: Sequence[str | int]) -> list[str]:
    """The keys that the table at `loc` may have."""
    model: type[BaseModel] = Config
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _did_you_mean(word: str, known: Any, show: Any = str) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {show(close[0])}?" if close else ""


def _contradictions(config: Config) -> list[tuple[str, str]]:
    """Key and reason of what is wrong between parts that are each right."""
    found: list[tuple[str, str]] = []
    for table, key in (("extensions", "number"), ("trunks", "name"), ("tokens", "name")):
        seen: set[str] = set()
        for at, entry in enumerate(getattr(config, table)):
            value = getattr(entry, key)
            if value in seen:
                found.append((f"{table}[{at}].{key}", f"{value} is there twice"))
            seen.add(value)
    trunks = {trunk.name for trunk in config.trunks}
    extensions = {extension.number for extension in config.extensions}
    unknown = partial(_unknown_trunk, trunks)
    for at, route in enumerate(config.routes):
        found += [
            (f"routes[{at}].trunks[{n}].trunk", unknown(choice.trunk))
            for n, choice in enumerate(route.trunks)
            if choice.trunk not in trunks
        ]
    for at, did in enumerate(config.numbers):
        if did.trunk is not None and did.trunk not in trunks:
            found.append((f"numbers[{at}].trunk", unknown(did.trunk)))
        targets = {*extensions, *config.services, "echo", "tone"}
        if did.to not in targets:
            guess = _did_you_mean(did.to, targets)
            found.append((f"numbers[{at}].to", f"{did.to} is no extension and no service{guess}"))
    found += [
        (f"extensions[{at}].number", f"{extension.number} is a service already")
        for at, extension in enumerate(config.extensions)
        if extension.number in config.services
    ]
    first, last = config.media.port_range
    for at, listen in enumerate(config.sip.listen):
        transport, _, port = split_listen(listen)
        if transport == "UDP" and first <= port <= last:
            found.append((f"sip.listen[{at}]", f"port {port} lies within media.ports {config.media.ports}"))
    return found


def _unknown_trunk(trunks: set[str], name: str) -> str:
    return f"there is no trunk named {name}{_did_you_mean(name, trunks)}"
