"""A stalled reader of the log: no request and no stop waits for it, and dropped lines are counted."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from service.log.line_writer import LineWriter
from tests import support
from tests.support import ROOT, SECRET, Service

TEST_TIMEOUT_SECONDS = 30.0  # a test that waits longer fails
PAGE = os.sysconf("SC_PAGE_SIZE")


class Channel(NamedTuple):
    reader: int
    writer: int
    lines: LineWriter


def report(dropped: int) -> bytes:
    return b"dropped %d\n" % dropped


def socket_pair() -> tuple[int, int]:
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


def terminal() -> tuple[int, int]:
    reader, writer = pty.openpty()
    tty.setraw(writer)
    return reader, writer


def refuse(*_: object) -> int:
    raise PermissionError


@contextmanager
def channel_of(make: Callable[[], tuple[int, int]]) -> Iterator[Channel]:
    made = Channel(*(ends := make()), LineWriter(ends[1], report))
    yield made
    for each in getattr(made.lines._write, "args", ()):
        if isinstance(each, socket.socket):  # a service keeps it open as long as it runs
            each.close()
    for fd in ends:
        with suppress(OSError):  # the test has closed it
            os.close(fd)


@pytest.fixture(params=["pipe", "pipe of another user", "socket", "terminal"])
def channel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    if request.param == "pipe of another user":
        monkeypatch.setattr(os, "open", refuse)  # the pipe cannot be opened a second time
    with channel_of({"socket": socket_pair, "terminal": terminal}.get(request.param, os.pipe)) as made:
        yield made


@pytest.fixture
def pipe() -> Iterator[Channel]:
    with channel_of(os.pipe) as made:
        yield made


def numbered(number: int, size: int = 200) -> bytes:
    return b"%d %s\n" % (number, b"x" * size)


def write_all(lines: LineWriter, wanted: list[bytes]) -> None:
    """Fails if writing waits for the reader."""

    def write() -> None:
        for line in wanted:
            lines.write(line)

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    writing.join(TEST_TIMEOUT_SECONDS)
    assert not writing.is_alive()


def read_until(reader: int, is_enough: Callable[[bytes], object]) -> bytes:
    received, deadline = b"", time.monotonic() + TEST_TIMEOUT_SECONDS
    while not is_enough(received):
        assert time.monotonic() < deadline, received[-1000:]
        if select.select((reader,), (), (), 0.1)[0]:
            received += os.read(reader, 65536)
    return received


def count_lines(received: bytes, written: list[bytes]) -> int:
    """The number of written lines that were received, or reported as dropped in their place."""
    place = 0
    for line in received.splitlines(keepends=True):
        if line.startswith(b"dropped"):
            place += int(line.split()[1])
        else:
            assert written[place].startswith(line)  # the end of the last line may still come
            place += line.endswith(b"\n")
    return place


def test_lines_for_a_stalled_reader_are_dropped_and_counted_without_waiting(
    channel: Channel,
) -> None:
    lines = channel.lines
    written = [numbered(number) for number in range(5000)]

    write_all(lines, written)
    received = read_until(channel.reader, lambda it: it.endswith(b"\n") and count_lines(it, written) == 5000)
    assert b"dropped" in received

    lines.write(b"next\n")
    assert read_until(channel.reader, len) == b"next\n"


def test_the_report_of_dropped_lines_comes_before_the_next_line(pipe: Channel) -> None:
    write_all(pipe.lines, [numbered(number) for number in range(1000)])
    received = os.read(pipe.reader, 1_000_000)
    assert b"dropped" not in received  # a report follows only after a read

    pipe.lines.write(b"next\n")

    dropped = 1000 - received.count(b"\n")
    assert read_until(pipe.reader, lambda it: it.endswith(b"next\n")) == report(dropped) + b"next\n"


def test_a_slow_reader_is_watched_by_one_thread(pipe: Channel) -> None:
    threads = threading.active_count()
    written = [numbered(number) for number in range(20_000)]

    received = b""
    for number, line in enumerate(written):
        pipe.lines.write(line)
        if number % 50 == 0:
            received += os.read(pipe.reader, PAGE)
    at_the_end = threading.active_count()

    assert received.count(b"dropped") > 10
    assert at_the_end <= threads + 1
    received += read_until(
        pipe.reader, lambda it: it.endswith(b"\n") and count_lines(received + it, written) == len(written)
    )


def test_the_flags_of_the_shared_file_description_are_unchanged(channel: Channel) -> None:
    assert os.get_blocking(channel.writer), "as it was made: other processes write to the same description"
    flags = fcntl.fcntl(channel.writer, fcntl.F_GETFL)

    written = [numbered(number) for number in range(5000)]
    write_all(channel.lines, written)

    assert fcntl.fcntl(channel.writer, fcntl.F_GETFL) == flags
    read_until(channel.reader, lambda it: it.endswith(b"\n") and count_lines(it, written) == 5000)


def test_lines_to_a_file_are_appended_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("ab", buffering=0) as file:
        file.write(b"before\n")
        lines = LineWriter(file.fileno(), report)
        written = [numbered(number, 10_000) for number in range(1000)]
        write_all(lines, written)
        file.write(b"after\n")

    assert (tmp_path / "log").read_bytes() == b"before\n" + b"".join(written) + b"after\n"


def test_a_long_line_is_written_whole_or_dropped(pipe: Channel) -> None:
    lines = pipe.lines
    short = [numbered(number) for number in range(200)]
    long = numbered(0, 3 * PAGE)

    write_all(lines, [*short, long, b"after it\n", long])

    expected = b"".join(short) + report(1) + b"after it\n" + report(1)
    assert read_until(pipe.reader, lambda it: it.count(b"dropped") == 2) == expected
    write_all(lines, [long])
    assert read_until(pipe.reader, lambda it: len(it) >= len(long)) == long


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="pipes have one size here")
def test_a_line_longer_than_the_pipe_is_finished_before_the_next(pipe: Channel) -> None:
    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, PAGE)
    lines = pipe.lines
    long = numbered(0, 3 * PAGE)

    write_all(lines, [long, b"lost\n", b"lost\n"])

    assert read_until(pipe.reader, lambda it: b"dropped" in it) == long + report(2)


def test_lines_of_two_writers_stay_whole_and_each_is_received_or_counted(pipe: Channel) -> None:
    """Two writers of one pipe, as two workers are, and a reader that pauses repeatedly."""

    def write(name: bytes) -> None:
        lines = LineWriter(pipe.writer, lambda dropped: b"dropped %d\n" % dropped)
        for number in range(20_000):
            lines.write(b"<%s%s>\n" % (name, b"x" * (9000 if number % 100 == 0 else number % 500)))

    writers = [threading.Thread(target=write, args=[name], daemon=True) for name in (b"one", b"two")]
    for each in writers:
        each.start()
    received, counted, deadline = b"", 0, time.monotonic() + TEST_TIMEOUT_SECONDS
    while counted < 40_000 and time.monotonic() < deadline:
        time.sleep(0.002)
        if select.select((pipe.reader,), (), (), 0.1)[0]:
            received += os.read(pipe.reader, 40_000)
        if not any(each.is_alive() for each in writers):
            counted = received.count(b"\n<") + 1 + sum(map(int, re.findall(rb"dropped (\d+)\n", received)))

    assert counted == 40_000
    for line in received.splitlines():
        assert re.fullmatch(rb"<(one|two)x*>|dropped \d+", line)


def test_writing_to_a_closed_reader_raises_broken_pipe_error(pipe: Channel) -> None:
    lines = pipe.lines
    write_all(lines, [numbered(0)] * 1000)
    os.close(pipe.reader)

    for _ in range(3):
        with pytest.raises(BrokenPipeError):
            lines.write(b"lost\n")


def test_writing_to_a_stalled_stderr_does_not_wait(pipe: Channel) -> None:
    code = (
        "import sys; from service.log.line_writer import unblock_stderr;unblock_stderr(); sys.stderr.write('é' * 10**6)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=pipe.writer, env={"PYTHONPATH": str(ROOT)})
    try:
        assert process.wait(TEST_TIMEOUT_SECONDS) == 0
    finally:
        process.kill()
    assert os.read(pipe.reader, 4) == "éé".encode()


class Stalled(NamedTuple):
    service: Service
    reader: int


@pytest.fixture
def start_stalled(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Stalled]]:
    """Starts services whose stdout and stderr are one pipe, which only the test reads."""
    started: list[Stalled] = []

    def start(**settings: object) -> Stalled:
        port = support.free_port()
        wanted = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "PORT": port} | settings
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], cwd=tmp_path, env=support.environment(**wanted), stdout=writer,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        os.close(writer)
        started.append(Stalled(Service(port, process, tmp_path / "no log"), reader))
        return started[-1]

    yield start
    for service, reader in started:
        with suppress(OSError):  # the test may have closed it; a hanging service continues now
            os.close(reader)
        service.process.terminate()
        service.wait()


def statuses_of(service: Service, number: int) -> list[int]:
    """The statuses of this number of requests, on 20 connections, so that each worker has some."""
    statuses = []
    for _ in range(20):
        with httpx.Client(base_url=service.url, timeout=TEST_TIMEOUT_SECONDS, verify=support.TRUST) as client:
            statuses += [client.get("/health/live").status_code for _ in range(number // 20)]
    return statuses


def wait_until_up(stalled: Stalled, workers: int) -> bytes:
    """The log from the start until each worker is ready."""
    return read_until(stalled.reader, lambda log: log.count(b"ready:") == workers and log.endswith(b"\n"))


def dropped_of(log: bytes) -> list[int]:
    found = re.findall(rb"(\d+) lines of the log were dropped(?: dropped=|.*\"dropped\":)(\d+)", log)
    assert all(said == field for said, field in found)
    return [int(said) for said, _ in found]


@pytest.mark.parametrize(("log_format", "workers"), [("json", 1), ("json", 2), ("text", 1)])
def test_requests_are_answered_while_the_log_reader_stalls_and_lost_lines_are_counted(
    start_stalled: Callable[..., Stalled], log_format: str, workers: int
) -> None:
    stalled = start_stalled(WORKERS=workers, LOG_FORMAT=log_format)
    wait_until_up(stalled, workers)

    assert statuses_of(stalled.service, 2000) == [200] * 2000

    def lines_of(log: bytes) -> int:
        return log.count(b"request_id") + sum(dropped_of(log))

    log = read_until(stalled.reader, lambda log: lines_of(log) >= 2000 and log.endswith(b"\n"))
    assert lines_of(log) == 2000
    assert len(dropped_of(log)) >= 1
    if log_format == "json":
        assert {json.loads(line)["level"] for line in log.splitlines()} == {"info", "warning"}

    assert statuses_of(stalled.service, 20) == [200] * 20
    again = read_until(stalled.reader, lambda log: log.count(b"\n") == 20)
    assert (again.count(b"request_id"), dropped_of(again)) == (20, [])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_does_not_wait_for_a_stalled_log_reader(start_stalled: Callable[..., Stalled], workers: int) -> None:
    stalled = start_stalled(WORKERS=workers)
    wait_until_up(stalled, workers)
    assert statuses_of(stalled.service, 1000) == [200] * 1000

    stalled.service.process.send_signal(signal.SIGTERM)

    assert stalled.service.process.wait(TEST_TIMEOUT_SECONDS) == 0


def test_requests_are_answered_after_the_log_reader_has_closed(start_stalled: Callable[..., Stalled]) -> None:
    stalled = start_stalled()
    wait_until_up(stalled, 1)
    os.close(stalled.reader)

    assert statuses_of(stalled.service, 20) == [200] * 20
    assert stalled.service.stop() == 0
