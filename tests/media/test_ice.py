"""What media/ice.py takes from aioice and aiortc beyond their documented interfaces is still there, and works so."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import aioice.ice
import pytest
from aiortc import RTCDtlsTransport

from media import ice

SOURCE = Path(ice.__file__)
OVERRIDDEN = ("check_complete", "check_incoming", "data_received", "get_component_candidates", "request_received")
"Methods of the ICE agent that we replace: a new name would leave ours uncalled."


def own_names(tree: ast.AST) -> set[str]:
    """Names that the file itself defines: methods, functions, and attributes of `self` that it assigns."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def test_1_each_private_name_is_listed() -> None:
    tree = ast.parse(SOURCE.read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr[0] == "_"}
    listed = {name for names in ice.PRIVATE.values() for name in names}
    assert used - own_names(tree) == listed


@pytest.mark.parametrize(("where", "name"), [(where, name) for where, names in ice.PRIVATE.items() for name in names])
def test_1_no_release_has_moved_a_private_name(where: str, name: str) -> None:
    module, _, cls = where.rpartition(".")
    source = inspect.getsource(getattr(importlib.import_module(module), cls))
    assert f"self.{name}" in source or f"def {name}(" in source, f"{where}.{name} is gone: media/ice.py needs it"


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_1_what_we_override_is_still_called(name: str) -> None:
    source = inspect.getsource(aioice.ice)
    assert f".{name}(" in source, f"aioice no longer calls {name}"
    assert hasattr(aioice.ice.Connection, name)


def test_1_dtls_asks_of_its_transport_what_we_have() -> None:
    source = inspect.getsource(RTCDtlsTransport)
    for name in ("_recv", "_send"):
        assert f"self.transport.{name}(" in source, f"aiortc no longer calls {name} of its ICE transport"
        assert hasattr(ice.DtlsSession, name)
    asked = {
        node.attr
        for node in ast.walk(ast.parse(inspect.cleandoc("if 1:\n" + source) if source[0] == " " else source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "transport"
    }
    assert asked <= {"_recv", "_send", "role"}, "aiortc asks more of its ICE transport than we have"
