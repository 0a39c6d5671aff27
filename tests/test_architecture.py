"""The rules of the architecture, read from the code's own syntax trees.

Each check is a function from a file's path and text to complaints, so that it is itself tested on code that breaks it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sip", "media", "signalling", "server")
TOP_LEVEL = {
    *PACKAGES, "tests", "examples", "bench", "docs", "deploy", "requirements",
    "pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore", ".ci",
}  # fmt: skip

MAY_IMPORT = {
    "sip": frozenset[str](),
    "media": frozenset[str](),
    "signalling": frozenset({"sip", "media"}),
    "server": frozenset({"signalling"}),
}
ROOT_OF_COMPOSITION = "server/app.py"
SEAM = "signalling/legs.py"
SEAM_FRIENDS = {"signalling/ports.py"}
"Beside the seam: where the Protocols of both sides are declared. No SDP passes here."

FOREIGN = {"sip": {"aiohttp", "aiortc", "av"}, "media": {"aiohttp"}, "signalling": {"aiohttp"}}
IO_MODULES = {"asyncio", "socket", "ssl", "time"}
MAX_FILE = 600
MAX_FUNCTION = 60
LARGE_ON_PURPOSE: dict[str, str] = {
    "server/client/realtimekit.py": "generated, a method for each operation",
}
"Path, or path::function, and why it is larger: the caps are a smoke alarm."

Check = Callable[[str, str], Iterator[str]]


def imports(text: str) -> Iterator[tuple[int, str, tuple[str, ...], int]]:
    """Line, module, imported names and relative level of each import, wherever it stands."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, (), 0
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "", tuple(alias.name for alias in node.names), node.level


def package_of(path: str) -> str:
    return path.partition("/")[0]


def who_may_import_whom(path: str, text: str) -> Iterator[str]:
    """Imports point down the layers; sip and media meet in the seam, and in the composition root."""
    own = package_of(path)
    allowed = set(MAY_IMPORT[own]) | ({"sip", "media"} if path == ROOT_OF_COMPOSITION else set())
    seen = set()
    for line, module, _, level in imports(text):
        other = package_of(module.replace(".", "/"))
        if level or other not in PACKAGES:
            if not level and other in FOREIGN.get(own, ()):
                yield f"{path}:{line}: {own} must not know {other}"
            continue
        if other == own:
            yield f"{path}:{line}: inside a package imports are relative: {module}"
        elif other not in allowed:
            yield f"{path}:{line}: {own} must not import {other}"
        else:
            seen.add(other)
    if {"sip", "media"} <= seen and path not in {SEAM, ROOT_OF_COMPOSITION, *SEAM_FRIENDS}:
        yield f"{path}: sip and media meet only in {SEAM}"


def only_from_the_shop_window(path: str, text: str) -> Iterator[str]:
    """From outside a package only the names in its `__init__.__all__`."""
    own = package_of(path)
    for line, module, names, level in imports(text):
        other = package_of(module.replace(".", "/"))
        if level or other not in PACKAGES or other == own:
            continue
        if "." in module:
            yield f"{path}:{line}: {module} is inside {other}"
        missing = set(names) - exported(other)
        if missing:
            yield f"{path}:{line}: {other} does not export {', '.join(sorted(missing))}"


def exported(package: str) -> set[str]:
    """The names in `__all__` of a package."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(target, ast.Name) and target.id == "__all__":
            assert node.value is not None
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{package}/__init__.py has no __all__")


def io_is_declared(path: str, text: str) -> Iterator[str]:
    """asyncio, socket, ssl and time only in files whose docstring begins with [io]."""
    declared = (ast.get_docstring(ast.parse(text), clean=False) or "").startswith("[io] ")
    used = {module.partition(".")[0] for _, module, _, level in imports(text) if not level} & IO_MODULES
    if used and not declared:
        yield f'{path}: imports {", ".join(sorted(used))}, so its docstring begins with """[io] '


def has_a_docstring(path: str, text: str) -> Iterator[str]:
    """Every module says what it is."""
    if not ast.get_docstring(ast.parse(text)):
        yield f"{path}: no docstring"


def size_alarm(path: str, text: str) -> Iterator[str]:
    """No file over 600 lines, no function over 60: split by meaning, or write down why not."""
    lines = text.count("\n")
    if lines > MAX_FILE and path not in LARGE_ON_PURPOSE:
        yield f"{path}: {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION and f"{path}::{node.name}" not in LARGE_ON_PURPOSE:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines"


CHECKS: list[Check] = [who_may_import_whom, only_from_the_shop_window, io_is_declared, has_a_docstring, size_alarm]


def sources() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("check", CHECKS)
def test_the_code_keeps_the_rule(check: Check) -> None:
    paths = sources()
    assert paths
    complaints = [complaint for path in paths for complaint in check(path, (ROOT / path).read_text())]
    assert complaints == []


def test_size_alarm_of_tests_examples_and_bench_is_for_functions_only() -> None:
    complaints = [
        complaint
        for folder in ("tests", "examples", "bench")
        for path in (ROOT / folder).rglob("*.py")
        for complaint in size_alarm(str(path.relative_to(ROOT)), path.read_text())
        if "/" in complaint and " has " in complaint
    ]
    assert complaints == []


def test_nobody_imports_the_server() -> None:
    importers = {
        path
        for path in sources()
        if package_of(path) != "server"
        for _, module, _, level in imports((ROOT / path).read_text())
        if not level and package_of(module.replace(".", "/")) == "server"
    }
    assert importers == set()


def test_the_top_level_is_fixed() -> None:
    tracked = {line.partition("/")[0] for line in _tracked()}
    assert tracked - TOP_LEVEL == set()


def test_no_catch_all_names() -> None:
    refused = {"utils.py", "manager.py", "helpers.py", "common.py"}
    assert [path for path in sources() if Path(path).name in refused] == []


def test_what_is_written_down_as_large_is_still_there() -> None:
    for key in LARGE_ON_PURPOSE:
        path, _, function = key.partition("::")
        assert function in (ROOT / path).read_text(), key


def _tracked() -> list[str]:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git work tree")
    return listed.stdout.split("\n")[:-1]


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 60

BAD = [
    (who_may_import_whom, "sip/a.py", "import signalling"),
    (who_may_import_whom, "sip/a.py", "from media import sdp"),
    (who_may_import_whom, "sip/a.py", "def f():\n    import aiohttp.web"),
    (who_may_import_whom, "media/a.py", "from sip import Uri"),
    (who_may_import_whom, "signalling/a.py", "from server import config"),
    (who_may_import_whom, "signalling/a.py", "from sip import Uri\nfrom media import MediaLeg"),
    (who_may_import_whom, "server/a.py", "from sip import Uri"),
    (who_may_import_whom, "sip/a.py", "from sip.uri import Uri"),
    (who_may_import_whom, "server/a.py", "if TYPE_CHECKING:\n    import media"),
    (only_from_the_shop_window, "signalling/a.py", "from sip.grammar import Scanner"),
    (only_from_the_shop_window, "server/app.py", "import sip.stack"),
    (only_from_the_shop_window, "signalling/a.py", "from sip import no_such_name"),
    (io_is_declared, "sip/a.py", '"""A timer."""\nimport time'),
    (io_is_declared, "sip/a.py", "from asyncio import Queue"),
    (io_is_declared, "sip/a.py", "def f():\n    import socket"),
    (io_is_declared, "sip/a.py", '"""Not [io] first."""\nimport ssl'),
    (has_a_docstring, "sip/a.py", "x = 1"),
    (size_alarm, "sip/a.py", "x = 1\n" * 601),
    (size_alarm, "sip/a.py", LONG_FUNCTION),
    (size_alarm, "sip/a.py", "class A:\n    async " + LONG_FUNCTION.replace("\n", "\n    ")),
]

GOOD = [
    (who_may_import_whom, "signalling/legs.py", "from sip import Uri\nfrom media import MediaLeg"),
    (who_may_import_whom, "server/app.py", "from sip import SipStack\nfrom media import MediaEngine"),
    (who_may_import_whom, "sip/a.py", "from .uri import Uri\nimport re"),
    (who_may_import_whom, "server/a.py", "import aiohttp\nfrom signalling import Session"),
    (only_from_the_shop_window, "signalling/a.py", "from sip import Uri"),
    (io_is_declared, "sip/a.py", '"""[io] A socket."""\nimport socket'),
    (io_is_declared, "sip/a.py", "from .timers import Timers\nfrom .time import x"),
    (size_alarm, "sip/a.py", "x = 1\n" * 600),
]


@pytest.mark.parametrize(("check", "path", "text"), BAD)
def test_a_check_finds_what_breaks_its_rule(check: Check, path: str, text: str) -> None:
    assert list(check(path, text))


@pytest.mark.parametrize(("check", "path", "text"), GOOD)
def test_a_check_lets_pass_what_keeps_its_rule(check: Check, path: str, text: str) -> None:
    assert not list(check(path, text))
