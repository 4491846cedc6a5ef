"""Everything that bends Sanic lies in service/server/, and its README lists it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

SERVICE = ROOT / "service"
SERVER = SERVICE / "server"

# What Sanic documents for applications.
PUBLIC = {
    "sanic", "sanic.config", "sanic.exceptions", "sanic.headers", "sanic.worker.loader", "sanic_ext",
    "sanic_routing.exceptions",
}  # fmt: skip

# Attributes of Sanic's server that are reachable from a request or a response.
INSIDE = {
    "stream", "stage", "response_func", "recv_buffer", "request_body", "request_bytes", "keep_alive", "protocol",
    "transport", "expecting_continue", "conn_info", "route_context", "match_info", "signal_router", "finalize", "extra",
}  # fmt: skip


def outside_server() -> list[Path]:
    return [path for path in SERVICE.rglob("*.py") if not path.is_relative_to(SERVER)]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


@pytest.mark.parametrize("path", outside_server(), ids=lambda path: str(path.relative_to(SERVICE)))
def test_a_module_outside_server_uses_only_documented_parts_of_sanic(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = {name for name in imported(tree) if name.split(".")[0] in {"sanic", "sanic_ext", "sanic_routing"}}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    uses_sanic = bool(names)

    assert names <= PUBLIC
    assert not (uses_sanic and attributes & INSIDE)


def test_the_readme_has_a_row_for_every_module_and_every_test_that_it_names_exists() -> None:
    readme = (SERVER / "README.md").read_text()
    modules = {path.name for path in SERVER.glob("*.py")} - {"__init__.py"}

    assert {name for name in re.findall(r"`(\w+\.py)`", readme) if not name.startswith("test_")} == modules
    named = re.findall(r"`(tests/[\w/]+\.py)`", readme)
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
