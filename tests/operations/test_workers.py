"""Several workers: they share one database, and they end together, however and whenever they are told to."""

import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import pytest

from service import workers
from tests import support
from tests.support import User, sign_up

POSTMASTER = Path("postgresql") / "postmaster.pid"


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_several_workers_end_though_they_were_stopped_during_their_start(tmp_path: Path) -> None:
    service = support.start(tmp_path, WORKERS=2)
    while "embedded PostgreSQL" not in service.log.read_text():
        time.sleep(0.01)
    time.sleep(0.5)

    assert service.stop() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()


def test_a_second_ctrl_c_harms_nothing(tmp_path: Path) -> None:
    service = support.start(tmp_path, WORKERS=2)
    service.wait_until_ready()
    time.sleep(1)

    for _ in range(3):
        os.killpg(service.process.pid, signal.SIGINT)
        time.sleep(0.2)

    assert service.wait() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()


def test_several_workers_share_one_database_and_end_together(tmp_path: Path) -> None:
    service = support.start(tmp_path, WORKERS=2)
    service.wait_until_ready()
    user = sign_up(service.http)
    for _ in range(10):
        with httpx.Client(base_url=service.url) as http:
            assert User(http, user.id, user.email, user.token).get("/api/tasks").json() == {"tasks": []}

    assert service.stop() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()


def test_several_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    service = support.start(tmp_path, WORKERS=2)
    service.wait_until_ready()
    service.stop(signal.SIGKILL)

    deadline = time.monotonic() + 30
    while is_listening(service.port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_listening(service.port)
    os.killpg(service.process.pid, signal.SIGKILL)  # Sanic's own helper process, which holds nothing
    with support.running(tmp_path, PORT=service.port) as again:
        assert again.http.get("/health").status_code == 200


def start_slowly(started: Event) -> None:
    workers.end_quietly_while_starting()
    started.set()
    time.sleep(60)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_told_to_stop_while_it_starts_ends_at_once_and_quietly(told: signal.Signals) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    worker = context.Process(target=start_slowly, args=[started])
    worker.start()
    assert started.wait(30)
    assert worker.pid is not None

    os.kill(worker.pid, told)
    worker.join(30)

    assert worker.exitcode == 0
    worker.close()
