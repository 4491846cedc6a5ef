"""Each call in service/ that runs a statement passes the parameters of its header.

The test reads the source code, so it finds a wrong name before a request does.
"""

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from service.db.statements import Statement
from tests.support import ROOT

# Functions that run a statement, with the kind that they need and the parameters that they add to the caller's.
RUNNERS = {
    "one": "one", "require_one": "one", "many": "many", "many_alone": "many", "execute": "exec", "rows": None,
    "run_alone": None, "Walk": "one",
}  # fmt: skip
MODULES = sorted(file for file in (ROOT / "service").rglob("*.py") if file.name != "__main__.py")


class CallSites:
    """The calls of one module. A module's own function with a parameter `statement: Statement` and with `**values` is a
    runner too: `_one(database, statement, user_id, task_id, **values)` adds user_id and task_id."""

    def __init__(self, module: ModuleType, tree: ast.Module) -> None:
        self.module = module
        self._functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        self._calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        self._runners: dict[str, tuple[str | None, set[str]]] = {name: (kind, set()) for name, kind in RUNNERS.items()}
        for function in self._functions:
            if function.args.kwarg and _statement_parameter(function) and function.name not in RUNNERS:
                self._runners[function.name] = self._forwarded(function)
        self.checked: set[str] = set()

    def faults(self) -> Iterator[str]:
        inside = {id(call): function for function in self._functions for call in _calls(function)}
        for call in self._calls:
            for argument in call.args:
                statement = self._statement(argument)
                if statement is not None:
                    self.checked.add(statement.name)
                    yield from self._faults(call, statement, inside.get(id(call)))

    def _faults(
        self, call: ast.Call, statement: Statement, function: ast.FunctionDef | ast.AsyncFunctionDef | None
    ) -> Iterator[str]:
        place = f"{self.module.__name__}:{call.lineno}: {statement.name}"
        runner = self._runners.get(_name(call.func))
        if runner is None and not statement.parameters:
            return
        if runner is None:
            yield f"{place} is passed to {_name(call.func)}, which this test does not know"
            return
        kind, added = runner
        if kind is not None and kind != statement.kind:
            yield f"{place} is :{statement.kind}, and is run as :{kind}"
        passed, wanted = set(added), {name for name, _ in statement.parameters}
        for argument in call.args:
            passed |= self._keys(argument, function) if isinstance(argument, ast.Dict) else set()
        for keyword in call.keywords:
            passed |= {keyword.arg} if keyword.arg else self._keys(keyword.value, function)
        if passed != wanted:
            yield f"{place} takes {', '.join(sorted(wanted))}, not {', '.join(sorted(passed))}"

    def _forwarded(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str | None, set[str]]:
        own = _statement_parameter(function)
        [call] = [each for each in _calls(function) if any(_name(argument) == own for argument in each.args)]
        return RUNNERS[_name(call.func)], {keyword.arg for keyword in call.keywords if keyword.arg}

    def _keys(self, value: ast.expr, function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> set[str]:
        """The keys of a `**value`: a dictionary of the function or of the module. What comes from elsewhere has none
        here: it may replace values, and add no name."""
        match value:
            case ast.Dict():
                return {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}
            case ast.BinOp(op=ast.BitOr()):
                return self._keys(value.left, function) | self._keys(value.right, function)
            case ast.Name():
                found = [
                    node.value
                    for node in (ast.walk(function) if function else ())
                    if isinstance(node, ast.Assign) and [_name(target) for target in node.targets] == [value.id]
                ]
                if len(found) == 1:
                    return self._keys(found[0], function)
                constant = getattr(self.module, value.id, None)
                return set(constant) if isinstance(constant, Mapping) else set()
        return set()

    def _statement(self, argument: ast.expr) -> Statement | None:
        found = getattr(self.module, argument.id, None) if isinstance(argument, ast.Name) else None
        return found if isinstance(found, Statement) else None


def _calls(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.Call]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Call)]


def _statement_parameter(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    return next((each.arg for each in function.args.args if _name(each.annotation) == Statement.__name__), None)


def _name(node: ast.expr | None) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def call_sites(file: Path, text: str | None = None) -> CallSites:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return CallSites(importlib.import_module(name), ast.parse(text or file.read_text()))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_call_passes_the_parameters_of_the_header(file: Path) -> None:
    assert list(call_sites(file).faults()) == []


def test_every_statement_with_parameters_has_a_call_that_is_checked() -> None:
    checked: set[str] = set()
    bound: set[str] = set()
    for file in MODULES:
        sites = call_sites(file)
        list(sites.faults())
        checked |= sites.checked
        values = vars(sites.module).values()
        bound |= {each.name for each in values if isinstance(each, Statement) and each.parameters}

    assert len(bound) > 20
    assert bound - checked == set()


@pytest.mark.parametrize(
    ("file", "good", "bad", "fault"),
    [
        (
            "domain/tasks.py",
            "user_id=user_id, max_rows=max_rows)",
            "user_id=user_id, limit=max_rows)",
            "tasks/list_tasks takes max_rows, user_id, not limit, user_id",
        ),
        (
            "domain/tasks.py",
            '"task_id": after["id"]',
            '"id": after["id"]',
            "tasks/list_tasks_after takes created_at, max_rows, task_id, user_id, not created_at, id, ",
        ),
        (
            "domain/tasks.py",
            "values = NO_CHANGES | await",
            "values = await",
            "tasks/update_task takes ",
        ),
        (
            "domain/tasks.py",
            '"max_tasks": max_tasks}',
            '"quota": max_tasks}',
            "tasks/create_task takes ",
        ),
        (
            "domain/tasks.py",
            "task_id=task_uuid, versions=versions, **values",
            "id=task_uuid, versions=versions, **values",
            "tasks/delete_task takes kept_days, task_id, user_id, versions, not id, kept_days, user_id, versions",
        ),
        (
            "domain/tasks.py",
            "database.many(LIST_TASKS,",
            "database.one(LIST_TASKS,",
            "tasks/list_tasks is :many, and is run as :one",
        ),
        (
            "domain/tasks.py",
            "database.many(LIST_TASKS,",
            "later(LIST_TASKS,",
            "tasks/list_tasks is passed to later, which this test does not know",
        ),
        (
            "domain/account_changes.py",
            "password_hash=new_hash",
            "new_hash=new_hash",
            (
                "accounts/change_password takes password_hash, token_generation, user_id, "
                "not new_hash, token_generation, user_id"
            ),
        ),
        (
            "domain/cleanup.py",
            '"after_key": ""',
            '"key": ""',
            "maintenance/forget_idempotency_keys takes after_key, after_user_id, not after_user_id, key",
        ),
        (
            "cli/user.py",
            "COUNT_TASKS, user_id=",
            "COUNT_TASKS, owner_id=",
            "tasks/count_tasks takes user_id, not owner_id",
        ),
    ],
)
def test_a_call_with_a_wrong_name_is_found(file: str, good: str, bad: str, fault: str) -> None:
    path = ROOT / "service" / file
    text = path.read_text()
    assert good in text

    found = [each.partition(": ")[2] for each in call_sites(path, text.replace(good, bad)).faults()]

    assert any(each.startswith(fault) for each in found)
