"""`make dev`: the service starts again when a file changes."""

import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests import support
from tests.support import POSTMASTER, ROOT, SECRET, User, sign_up


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in ("service", "sql", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / "checkout" / folder)
    return tmp_path / "checkout"


def listed_by(user: User) -> int | None:
    """The number of listed tasks, or None during a restart: each write of the file causes one."""
    try:
        return len(user.get("/api/tasks").json()["tasks"])
    except httpx.TransportError:
        return None


def test_dev_restarts_when_a_file_changes(checkout: Path) -> None:
    service = support.start(checkout, "serve", "--reload", PYTHONPATH=checkout)
    service.wait_until_ready()
    user = sign_up(service.http)
    for _ in range(2):
        user.post("/api/tasks", {"title": "x"})

    for changed, was, becomes, listed in (
        ("sql/tasks/list_tasks.sql", "LIMIT $2", "LIMIT $2 / 250", 1),
        ("service/http/json_stream.py", "MAX_PAGE_ROWS = 250", "MAX_PAGE_ROWS = 500", 2),
    ):
        path = checkout / changed
        changed_text = path.read_text().replace(was, becomes)
        deadline = time.monotonic() + 120
        while (found := listed_by(user)) != listed and time.monotonic() < deadline:
            path.write_text(changed_text)  # written again in case the reloader had not looked at it yet
            restarted = time.monotonic() + 20
            while (found := listed_by(user)) != listed and time.monotonic() < restarted:
                time.sleep(0.1)
        assert found == listed
    os.killpg(service.process.pid, signal.SIGINT)
    assert service.wait() == 0
    assert not (checkout / ".data" / POSTMASTER).exists()


# A signal between a question to the process that keeps the workers' states, and its answer.
SIGNAL_BEFORE_AN_ANSWER = """
import os, signal
from multiprocessing.connection import Connection
from sanic.worker.manager import WorkerManager

sync_states, send = WorkerManager._sync_states, Connection._send

def send_and_signal(self, *given):
    Connection._send = send
    send(self, *given)
    os.kill(os.getpid(), signal.SIGTERM)

def sync_states_and_signal(self):
    if os.path.exists("signal"):
        os.remove("signal")
        Connection._send = send_and_signal
    sync_states(self)

WorkerManager._sync_states = sync_states_and_signal
"""


def test_a_signal_at_the_worst_moment_ends_dev_in_order(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SIGNAL_BEFORE_AN_ANSWER)
    given = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    service = support.start(tmp_path, "serve", "--reload", **given)
    service.wait_until_ready()

    (tmp_path / "signal").touch()

    assert service.wait() == 0
    assert not (tmp_path / "signal").exists()


def test_ctrl_c_while_dev_starts_ends_it_in_order(tmp_path: Path) -> None:
    service = support.start(tmp_path, "serve", "--reload")
    deadline = time.monotonic() + 60
    while "embedded PostgreSQL" not in service.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)

    os.killpg(service.process.pid, signal.SIGINT)

    assert service.wait() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()
