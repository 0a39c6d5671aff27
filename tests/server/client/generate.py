"""Writes the modules of server/client that follow from the operations: `make client`.

Each dialect gets a module: its models, made from the JSON schemas of the server's own, and a class with one method
per operation.
"""

from __future__ import annotations

import asyncio
import keyword
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from server.api.openapi import JSON_TYPE, Dialect, Operation
from server.web import DIALECTS
from tests.server.house import open_house

WIDTH = 120  # characters of a line
FOLDER = Path(__file__).parents[3] / "server" / "client"
MODULES = {
    "CallSession": ("callsession", "CallSessionApi"),
    "Channel sessions": ("channels", "ChannelsApi"),
    "App sessions": ("app_sessions", "AppSessionsApi"),
    "PBX call sessions": ("pbx", "PbxApi"),
    "RealtimeKit sessions": ("realtimekit", "RealtimeKitApi"),
    "Administration": ("admin", "AdminApi"),
    "Debugging": ("admin", "AdminApi"),
    "Invitation sessions": ("invitations", "InvitationsApi"),
    "Events": ("events", "EventsApi"),
    "Webhooks": ("webhooks", "WebhooksApi"),
    "Health": ("health", "HealthApi"),
    "ICE servers": ("ice_servers", "IceServersApi"),
}
"Dialect -> its module and class. Those that are not here are pages for people, and channels of another protocol."
BY_HAND = {"GET /events": "Ringway.listen"}
"Operations that have no method here, and where theirs is."
COLLECTIONS = {
    "index": "list_{}s",
    "create": "create_{}",
    "get": "get_{}",
    "replace": "replace_{}",
    "remove": "remove_{}",
}
"Methods of the collections of settings, whose handlers are named alike."
OF_THE_CLIENT = {"account_id": "account", "app_id": "app"}
"Parameters of paths that the client knows."
GENERATED = "Generated from the operations of the server by `make client`: changes here do not last."
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
Key = tuple[type[BaseModel], JsonSchemaMode]


@dataclass
class Module:
    """What is known of one module while it is written."""

    title: str
    kind: str
    dialects: list[Dialect]
    names: dict[str, str]
    "Name in the schemas -> name of the class."
    schemas: Mapping[str, Any]
    keys: Mapping[Any, Any]
    "By Key."

    def operations(self) -> Iterator[tuple[Dialect, Operation, str]]:
        """Each operation with the name of its method."""
        for dialect in self.dialects:
            for bound in dialect.operations:
                declared = bound.operation
                if f"{declared.method} {declared.path}" in BY_HAND:
                    continue
                name = getattr(bound.handler, "__name__", "")
                collection = re.fullmatch(r"/admin/v1/(\w+)s(/\{name\})?", declared.path)
                if dialect.name == "Administration" and name in COLLECTIONS and collection:
                    name = COLLECTIONS[name].format(collection[1])
                yield dialect, declared, name

    def type_of(self, schema: Mapping[str, Any]) -> str:
        """The annotation for what `schema` describes."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self.type_of(self.schemas[name]) if "enum" in self.schemas[name] else self.names[name]
        if "const" in schema:
            return f"Literal[{schema['const']!r}]"
        if "enum" in schema:
            return f"Literal[{', '.join(map(repr, schema['enum']))}]"
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return " | ".join(dict.fromkeys(map(self.type_of, schema[key])))
        kind = schema.get("type")
        if kind == "array":
            return f"list[{self.type_of(schema.get('items', {}))}]"
        if kind == "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {self.type_of(values) if isinstance(values, dict) else 'Any'}]"
        if schema.get("format") == "date-time":
            return "datetime"
        return SCALARS.get(str(kind), "Any")

    def model(self, key: Key) -> str:
        """The name of the class of a model."""
        return self.type_of(self.keys[key])

    def is_empty(self, key: Key) -> bool:
        """Whether a model has no fields."""
        schema = self.schemas[self.keys[key]["$ref"].rpartition("/")[2]]
        return not schema.get("properties")


def clean(name: str) -> str:
    """A name of a class from one of a schema: `Trunk-Input`, or `server__api__pbx__SessionItem`."""
    return name.rpartition("__")[2].replace("-Input", "In").replace("-Output", "")


def snake(name: str) -> str:
    """A name of a parameter from one on the wire."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f"_{found[1].lower()}", name)


def keys_of(dialects: list[Dialect]) -> list[Key]:
    """The models that methods take and give."""
    keys: dict[Key, None] = {}
    for dialect in dialects:
        for bound in dialect.operations:
            declared = bound.operation
            if f"{declared.method} {declared.path}" not in BY_HAND:
                keys |= {(model, "validation"): None for model in (declared.body, declared.query) if model}
            keys |= {(model, "serialization"): None for model in declared.answers if model is not dialect.error_model}
    return sorted(keys, key=lambda key: (key[0].__name__, key[1]))


def module_of(title: str, kind: str, dialects: list[Dialect]) -> Module:
    """Everything about a module; AssertionError when two models would get the same name."""
    generated, definitions = models_json_schema(keys_of(dialects), ref_template="#/$defs/{model}")
    schemas = definitions.get("$defs", {})
    names = {name: clean(name) for name in schemas}
    assert len({*names.values()}) == len(names), f"{title}: two models of one name: {sorted(names)}"
    return Module(title, kind, dialects, names, schemas, generated)


# Models.


def text(words: str, indent: str) -> str:
    """A docstring."""
    words = " ".join(words.split()).replace("\\", "\\\\").replace('"', "'")
    first, *more = textwrap.wrap(words, WIDTH - len(indent) - 6)
    rest = textwrap.wrap(" ".join(more), WIDTH - len(indent))
    if not rest:
        return f'{indent}"""{first}"""\n'
    return "".join(f"{indent}{line}\n" for line in (f'"""{first}', *rest, '"""'))


def models(module: Module) -> Iterator[str]:
    """The classes, each after those that it is made of."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in done:
            return
        done.add(name)
        for other in re.findall(r"'#/\$defs/([^']+)'", repr(module.schemas[name])):
            yield from visit(other)
        if "enum" not in module.schemas[name]:
            yield written(module, name)

    for name in sorted(module.schemas):
        yield from visit(name)


def written(module: Module, name: str) -> str:
    """One class."""
    schema = module.schemas[name]
    doc = schema.get("description") or f"{module.names[name]}."
    if schema.get("type") != "object" or ("properties" not in schema and "additionalProperties" in schema):
        return f"class {module.names[name]}(RootModel[{module.type_of(schema)}]):\n{text(doc, '    ')}\n\n"
    lines = f"class {module.names[name]}(Model):\n{text(doc, '    ')}\n"
    for wire, field in schema.get("properties", {}).items():
        lines += written_field(module, wire, field, needed=wire in schema.get("required", ()))
    return f"{lines}\n\n"


def written_field(module: Module, wire: str, field: Mapping[str, Any], *, needed: bool) -> str:
    """One field, with what there is to say of it."""
    name = f"{wire}_" if keyword.iskeyword(wire) or hasattr(BaseModel, wire) else wire
    alias = f'validation_alias="{wire}", serialization_alias="{wire}"'  # not `alias`: constructors take the name
    kind, default = module.type_of(field), field.get("default")
    if needed:
        value = f" = Field({alias})" if name != wire else ""
    else:
        simple = isinstance(default, (str, int, float, bool))
        if not simple and "None" not in kind.split(" | "):
            kind = f"{kind} | None"
        value = repr(default) if simple else "None"
        value = f" = Field(default={value}, {alias})" if name != wire else f" = {value}"
    described = field.get("description")
    return f"    {name}: {kind}{value}\n" + (text(described, "    ") if described else "")


# Methods.


def parameters_of(declared: Operation) -> tuple[list[str], set[str], str | None]:
    """Parameters of the path, those that may be missing, and the path without them."""
    names = [part[1:-1] for part in declared.path.split("/") if part.startswith("{")]
    for path in declared.aliases:
        fewer = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        if fewer < set(names) and not path.endswith("/"):
            return names, set(names) - fewer, path
    return names, set(), None


def method(module: Module, dialect: Dialect, declared: Operation, name: str) -> str:
    """One operation."""
    names, missing, without = parameters_of(declared)
    takes, passes = ["self"], ""
    takes += [f"{snake(one)}: str" for one in names if one not in OF_THE_CLIENT and one not in missing]
    if declared.body is not None:
        body = module.model((declared.body, "validation"))
        takes.append(f"body: {body}" if declared.body_needed else f"body: {body} | None = None")
        passes += ", body=body"
    takes += [f"{snake(one)}: str | None = None" for one in names if one in missing]
    if declared.query is not None and not module.is_empty((declared.query, "validation")):
        takes.append(f"query: {module.model((declared.query, 'validation'))} | None = None")
        passes += ", query=query"
    if any(header.name == "Idempotency-Key" for header in declared.headers):
        takes += ["*", "idempotency_key: str | None = None"]
        passes += ", idempotency_key=idempotency_key"
    values = ", ".join(f'"{one}": {value_of(one)}' for one in names)
    lines, path = "", f'"{declared.path}"'
    if without is not None:
        (one,) = missing
        lines = f'        path = "{without}" if {snake(one)} is None else "{declared.path}"\n'
        values, path = values.replace(f": {snake(one)}", f': {snake(one)} or ""'), "path"
    answers = [kind for kind in declared.answers if kind is not dialect.error_model]
    if len(answers) < len(declared.answers):
        passes += ", quiet_errors=True"
    kind = " | ".join(module.model((model, "serialization")) for model in answers)
    where = f'"{declared.method}", {path}, {{{values}}}{passes}'
    if not kind:
        kind = "str" if declared.media_type != JSON_TYPE and not declared.streams else "bytes"
        decode = ".decode()" if kind == "str" else ""
        lines += f"        return (await self.transport.send({where}))[1]{decode}\n"
    else:
        adapter = f"_{name.upper()}" if len(answers) > 1 else kind
        lines += f"        return await self.transport.ask({adapter}, {where})\n"
    told = declared.description.startswith(declared.summary)
    doc = declared.description if told else f"{declared.summary}. {declared.description}".strip()
    return f"    async def {name}({', '.join(takes)}) -> {kind}:\n{text(doc, '        ')}{lines}\n"


def value_of(name: str) -> str:
    """Where the value of a parameter comes from."""
    return f"self.transport.{OF_THE_CLIENT[name]}" if name in OF_THE_CLIENT else snake(name)


def source(module: Module) -> str:
    """The whole module, not yet formatted."""
    unions = ""
    methods = ""
    seen: set[str] = set()
    for dialect, declared, name in module.operations():
        assert name not in seen, f"{module.title}: two methods {name}"
        seen.add(name)
        methods += method(module, dialect, declared, name)
        answers = [kind for kind in declared.answers if kind is not dialect.error_model]
        if len(answers) > 1:
            kind = " | ".join(module.model((model, "serialization")) for model in answers)
            unions += f"_{name.upper()}: TypeAdapter[{kind}] = TypeAdapter({kind})\n"
    classes = "".join(models(module))
    describes = " ".join(dict.fromkeys(dialect.description for dialect in module.dialects))
    body = f"{classes}{unions}\n\nclass {module.kind}(Group):\n{text(describes, '    ')}\n{methods}"
    return heading(describes, body) + body


def heading(describes: str, body: str) -> str:
    """The docstring and the imports that `body` needs."""
    lines = f'"""{describes}\n\n{GENERATED}\n"""\n\n'
    lines += "from __future__ import annotations\n\n"
    if re.search(r"\bdatetime\b", body):
        lines += "from datetime import datetime\n"
    typing = [name for name in ("Any", "Literal") if re.search(rf"\b{name}\b", body)]
    lines += f"from typing import {', '.join(typing)}\n\n" if typing else "\n"
    pydantic = [name for name in ("Field", "RootModel", "TypeAdapter") if re.search(rf"\b{name}[\[(]", body)]
    lines += f"from pydantic import {', '.join(pydantic)}\n\n" if pydantic else ""
    base = [name for name in ("Group", "Model") if re.search(rf"\({name}\)", body)]
    return f"{lines}from .transport import {', '.join(base)}\n\n\n"


def formatted(code: str) -> str:
    """As ruff has it."""
    for command in (["check", "--fix", "--quiet", "--exit-zero", "--ignore", "E501"], ["format", "--quiet"]):
        where = ["--stdin-filename", str(FOLDER / "generated.py"), "-"]
        code = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *where], input=code, capture_output=True, text=True, check=True
        ).stdout
    return code


async def served() -> tuple[Dialect, ...]:
    """What a server with everything in it has."""
    with tempfile.TemporaryDirectory() as folder:
        async for house in open_house(Path(folder)):
            app = house.client.app
            assert app is not None
            found = app[DIALECTS]
    return found


def generated(dialects: tuple[Dialect, ...]) -> dict[str, str]:
    """Name of each file -> its text."""
    files = {}
    for title, kind in dict.fromkeys(MODULES.values()):
        of_it = [dialect for dialect in dialects if MODULES.get(dialect.name) == (title, kind)]
        files[f"{title}.py"] = formatted(source(module_of(title, kind, of_it)))
    return files


if __name__ == "__main__":
    for file, code in generated(asyncio.run(served())).items():
        (FOLDER / file).write_text(code)
