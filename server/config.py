"""Reads the configuration: a TOML file and `RINGWAY_…` variables, with every fault named.

A variable overrides one simple key of the sections server, sip, media and limits: RINGWAY_SERVER_HTTP_PORT=8081
stands for `http_port` in `[server]`; lists are separated by commas.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from .errors import ConfigError, Fault
from .sections import Config, Section, split_listen

ENV_PREFIX = "RINGWAY_"
DEV_EXTENSIONS = ("1001", "1002", "1003")
DEV_TENANT = "dev"


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
    if faults := [Fault(str(path), key, reason) for key, reason in contradictions(config)]:
        raise ConfigError(faults)
    return config


def dev_config(
    *, host: str, http_port: int, sip_port: int, rtp_ports: str, token: str, data: Path | None = None
) -> Config:
    """What `ringway dev` runs: demo extensions, the services, one admin token; nothing is kept without `data`.

    ConfigError names the option.
    """
    at = f"[{host}]" if ":" in host else host
    raw = {
        "server": {"host": host, "http_port": http_port, "account": DEV_TENANT, "app": DEV_TENANT},
        "database": {"url": "none"} if data is None else {"data_dir": str(data)},
        "sip": {"listen": [f"udp:{at}:{sip_port}", f"tcp:{at}:{sip_port}"]},
        "media": {"ports": rtp_ports},
        "extensions": [
            {"number": number, "password": f"ringway-{number}", "display_name": f"Demo {number}"}
            for number in DEV_EXTENSIONS
        ],
        # As a digest, since a demo's token may be shorter than one in a file.
        "webhooks": {"allow_private": True},
        "tokens": [{"name": "dev", "token_sha256": sha256(token.encode()).hexdigest(), "role": "admin", "user": "dev"}],
    }
    options = {
        ("server", "host"): "--host",
        ("server", "http_port"): "--http-port",
        ("sip", "listen"): "--host",  # the port was looked at before
        ("media", "ports"): "--rtp-ports",
    }
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_faults(error, raw, "ringway dev", options)) from error
    if faults := [Fault("ringway dev", key, reason) for key, reason in contradictions(config)]:
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
    return list(dict.fromkeys(faults))  # an option of the demo may stand in several places


def _key(loc: Sequence[str | int], raw: Any) -> str:
    """`trunks[0].hosts (carrier)`: the path, and the name of the entry it is in."""
    text = ""
    label = ""
    for part in loc:
        if isinstance(raw, str):  # written alone in place of a list
            break
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


def contradictions(config: Config) -> list[tuple[str, str]]:
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
    taken: dict[tuple[str, str], str] = {}
    for at, user in enumerate(config.users.people):
        marks = [("id", user.id), ("email", (user.email or "").casefold()), ("phone", user.phone or "")]
        for key, value in [*marks, *(("extensions", number) for number in user.extensions)]:
            if value and (key, value) in taken:
                found.append((f"users.people[{at}].{key}", f"{value} belongs to {taken[key, value]} already"))
            taken[key, value] = user.id
    bound = {":" in host for host in config.media.bind_host or config.sip.hosts}
    found += [
        ("media.advertised_host", f"media is bound to no IPv{6 if ':' in host else 4} address, as {host} is")
        for host in config.media.advertised_host
        if (":" in host) not in bound
    ]
    first, last = config.media.port_range
    for at, listen in enumerate(config.sip.listen):
        transport, _, port = split_listen(listen)
        if transport == "UDP" and first <= port <= last:
            found.append((f"sip.listen[{at}]", f"port {port} lies within media.ports {config.media.ports}"))
    return found


def _unknown_trunk(trunks: set[str], name: str) -> str:
    return f"there is no trunk named {name}{_did_you_mean(name, trunks)}"
