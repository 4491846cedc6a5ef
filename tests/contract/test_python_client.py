"""A Python client made from the OpenAPI document by openapi-python-client, used against the running service."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.documents import DOCS, block, section
from tests.support import PASSWORD, Contract, Service, User, new_email

TYPED = section(DOCS / "frontends.md", "A typed client").partition("**Python.**")[2]
PAGES = section(DOCS / "frontends.md", "Every page of a list")
URL = "http://127.0.0.1:8000"
PACKAGE = "todo_client"


@pytest.fixture(scope="module")
def directory(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory with the package that the documented command generated without warnings about omissions."""
    directory = tmp_path_factory.mktemp("python")
    (directory / "config.yml").write_text("post_hooks: []\n")  # without it the generator runs ruff on its output
    program, *arguments = block(TYPED, "sh").replace(URL, service.url).split()
    assert program == "openapi-python-client"
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *arguments, "--fail-on-warning", "--config=config.yml"],
        cwd=directory, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(directory))
    yield directory
    sys.path.remove(str(directory))


@pytest.fixture
def call(directory: Path, contract: Contract) -> Callable[..., Any]:
    """A function that calls an operation of this contract and returns the detailed answer."""
    assert (directory / PACKAGE).is_dir()
    prefix = "v_1_" if contract.name == "january" else ""

    def call(operation: str, *path: Any, **arguments: Any) -> Any:
        function = import_module(f"{PACKAGE}.api.{contract.name}.{prefix}{operation}")
        return function.sync_detailed(*path, **arguments)

    return call


@pytest.fixture
def model(directory: Path, contract: Contract) -> Callable[..., Any]:
    assert (directory / PACKAGE).is_dir()
    prefix = "V1" if contract.name == "january" else ""

    def model(name: str, **values: Any) -> Any:
        return getattr(import_module(f"{PACKAGE}.models"), prefix + name)(**values)

    return model


def test_generated_client_signs_up_creates_lists_updates_and_deletes(
    service: Service, contract: Contract, call: Callable[..., Any], model: Callable[..., Any]
) -> None:
    package = import_module(PACKAGE)
    account = {"email": new_email(), "password": PASSWORD}

    with package.Client(service.url) as client:
        signed_up = call("sign_up", client=client, body=model("SignUp", **account))
        logged_in = call("log_in", client=client, body=model("LogIn", **account))
    assert (signed_up.status_code, logged_in.status_code) == (201, 200)
    assert signed_up.parsed.user == logged_in.parsed.user

    with package.AuthenticatedClient(service.url, signed_up.parsed.token) as client:
        created = call("create_task", client=client, body=model("NewTask", title="Buy milk", description=None))
        task = created.parsed.task if contract.name == "january" else created.parsed
        changed = call("update_task", task.id, client=client, body=model("TaskChanges", **{contract.flag: True}))
        listed = call("list_tasks", client=client)
        read = call("get_task", task.id, client=client)
        deleted = call("delete_task", task.id, client=client)
        gone = call("get_task", task.id, client=client)

    assert (created.status_code, task.title, task.description) == (201, "Buy milk", None)
    [found] = listed.parsed.tasks
    assert (changed.status_code, listed.status_code, found.id) == (200, 200, task.id)
    assert getattr(found, contract.flag) is True
    assert read.parsed == changed.parsed
    assert deleted.status_code == (204 if contract.name == "january" else 200)
    assert (gone.status_code, gone.parsed.error, gone.parsed.code) == (404, "Task not found", "NOT_FOUND")


def test_documented_python_program_prints_the_task_it_created(directory: Path, service: Service) -> None:
    (directory / "program.py").write_text(block(TYPED, "python"))

    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=directory, env=os.environ | {"API": service.url}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("['Buy milk: False']\n", "")


def test_documented_python_program_reads_all_of_2500_tasks_in_pages(
    directory: Path, service: Service, ann: User, database: psycopg.Connection
) -> None:
    database.execute(
        "INSERT INTO tasks (user_id, title) SELECT %s, 'Task ' || n FROM generate_series(1, 2500) AS n", [ann.id]
    )
    (directory / "pages.py").write_text(block(PAGES, "python"))

    done = subprocess.run(
        [sys.executable, "pages.py"],
        cwd=directory, env=os.environ | {"API": service.url, "TOKEN": ann.token},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("2500\n", "")
