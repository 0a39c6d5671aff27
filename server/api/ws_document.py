"""The AsyncAPI 3.0 description of the signalling channel, made from its models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, TypeAdapter

from signalling import ANSWERS, CLOSE_CODES, COMMANDS, ERROR_CODES, EVENT_KINDS, NOTICES, SUBPROTOCOL

from .. import __version__

ENVELOPE = frozenset({"session_id", "seq", "at"})
"Fields of an event that are not in its `data`."
SCHEMA_REF = "#/components/schemas/{model}"


def document() -> dict[str, Any]:
    """The whole description."""
    schemas: dict[str, Any] = {}
    commands = {f"command.{name}": _message(name, model, schemas) for name, model in COMMANDS.items()}
    answers = {f"server.{name}": _message(name, model, schemas) for name, model in ANSWERS.items()}
    del answers["server.event"]
    events = {f"event.{kind}": _event(kind, schemas) for kind in EVENT_KINDS}
    messages = {**commands, **answers, **events}
    answers.update(events)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Ringway signalling channel", "version": __version__, "description": _description()},
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": "/ws",
                "description": f"A WebSocket, sub-protocol {SUBPROTOCOL}; text frames of one JSON object each.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "command": _operation("receive", commands, "What a client says."),
            "tell": _operation("send", answers, "What the server says."),
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _operation(action: str, messages: dict[str, Any], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/ws"},
        "messages": [{"$ref": f"#/channels/ws/messages/{name}"} for name in messages],
    }


def _message(name: str, model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=SCHEMA_REF)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {
        "name": name,
        "summary": _sentence(model),
        "payload": {"$ref": SCHEMA_REF.format(model=model.__name__)},
    }


def _event(kind: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """One kind of event, in its envelope."""
    event = EVENT_KINDS[kind]
    data = TypeAdapter(event).json_schema(mode="serialization", ref_template=SCHEMA_REF)
    data["properties"] = {name: field for name, field in data["properties"].items() if name not in ENVELOPE}
    data["required"] = [name for name in data.get("required", ()) if name not in ENVELOPE]
    schemas[event.__name__] = data
    body = {
        "type": "object",
        "required": ["id", "kind", "session", "channel", "seq", "at", "data"],
        "properties": {
            "id": {"type": "string", "description": "Rises over all sessions."},
            "kind": {"const": kind},
            "session": {"type": "string", "description": "Decimal id."},
            "channel": {"type": "string", "format": "uuid"},
            "seq": {"type": "integer", "description": "Rises by one within the session."},
            "at": {"type": "string", "format": "date-time"},
            "data": {"$ref": SCHEMA_REF.format(model=event.__name__)},
        },
    }
    return {
        "name": kind,
        "summary": _sentence(event),
        "payload": {
            "type": "object",
            "required": ["type", "event"],
            "properties": {"type": {"const": "event"}, "event": body},
        },
    }


def _sentence(described: type) -> str:
    return " ".join((described.__doc__ or "").split())


def _description() -> str:
    """What the models do not say."""
    lists = (("Errors", ERROR_CODES), ("Notices", NOTICES), ("Close codes", CLOSE_CODES))
    return "\n\n".join(
        f"{title}:\n" + "\n".join(f"- {key}: {meaning}" for key, meaning in table.items()) for title, table in lists
    )
