"""`sanic service.cli.factory:app_factory` serves and stops like `python -m service`."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import support
from tests.support import POSTMASTER, ROOT, SECRET, Service, free_port, logs_in, sign_up


def start_with_sanic(directory: Path, *how: str, **settings: object) -> Service:
    service = begin_with_sanic(directory, "service.cli.factory:app_factory", *how, **settings)
    service.wait_until_ready()
    return service


def begin_with_sanic(directory: Path, factory: str, *how: str, **settings: object) -> Service:
    port = free_port()
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sanic", factory, "--factory", f"--port={port}", *how],
            cwd=directory,
            env=support.environment(**settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Service(port, process, log)


@pytest.mark.parametrize("how", [[], ["--single-process"], ["--workers=2"]])
def test_sanics_own_command_line_serves_and_stops(tmp_path: Path, how: list[str]) -> None:
    service = start_with_sanic(tmp_path, *how)

    assert logs_in(service, sign_up(service.http)) == 200
    assert service.stop() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()
    assert all(isinstance(json.loads(line), dict) for line in service.log.read_text().splitlines())


def test_sanics_own_command_line_stops_while_its_workers_start(tmp_path: Path) -> None:
    started = tmp_path / "started"
    (tmp_path / "slow_start.py").write_text(
        "import asyncio, pathlib\n"
        "from service.cli.factory import app_factory as factory\n"
        "async def wait(_):\n"
        f"    pathlib.Path({str(started)!r}).touch()\n"
        "    await asyncio.sleep(60)\n"
        "def app_factory(_=None):\n"
        "    app = factory()\n"
        "    app.before_server_start(wait)\n"
        "    return app\n"
    )
    paths = f"{tmp_path}:{ROOT}"
    service = begin_with_sanic(tmp_path, "slow_start:app_factory", "--workers=2", PYTHONPATH=paths)
    deadline = time.monotonic() + 60
    try:
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        ended = service.stop()

    assert ended == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()


@pytest.mark.parametrize("how", ["--single-process", "--workers=1"])
def test_sanics_own_command_line_serves_from_a_given_database(database_url: str, tmp_path: Path, how: str) -> None:
    service = start_with_sanic(tmp_path, how, DATABASE_URL=database_url, BETTER_AUTH_SECRET=SECRET)

    assert logs_in(service, sign_up(service.http)) == 200
    assert service.stop() == 0


def test_sanics_own_command_line_prints_a_bad_setting_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sanic", "service.cli.factory:app_factory", "--factory"],
        cwd=tmp_path,
        env=support.environment(PORT="x"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (
        2,
        "PORT: should be a valid integer, unable to parse string as an integer\n",
    )
