"""Writes log lines to standard output without blocking, even if its reader is a pipe that is never emptied."""

import fcntl
import io
import os
import socket
import stat
import sys
import termios
import threading
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from select import PIPE_BUF, select
from typing import Any

CATCH_UP_SECONDS = 0.1  # between two checks whether the reader reads again, while no new line checks it

Write = Callable[[bytes], int | None]  # returns the number of bytes written, or None if it would block


class LineWriter:
    """Drops and counts the lines that the reader does not take at once.

    When it reads again, the first line it gets is a report of how many are missing. Several processes may share the
    pipe, so lines must not mix: a line of up to PIPE_BUF bytes is written whole or not at all, a longer one only if it
    fits, and a line that was partly written is finished before anything else."""

    def __init__(self, fd: int, report: Callable[[int], bytes]) -> None:
        self._fd = fd
        self._report = report
        self._write = unblocked(fd)
        self._lock = threading.RLock()  # reentrant: a destructor may log while a line is being written
        self._rest = b""  # of a partly written line
        self.dropped = 0  # lines, since the start
        self._dropped = 0  # those that are not reported yet
        self._is_behind = False  # a rest or a report must be written first
        self._is_watched = False

    def write(self, line: bytes) -> None:
        size = len(line)
        if self._is_behind or size > PIPE_BUF:
            self._write_in_turn(line)
            return
        write = self._write  # faster than self._write(line)
        taken = write(line)
        if taken != size:
            with self._lock:
                self._fall_behind(line, taken or 0)

    def _write_in_turn(self, line: bytes) -> None:
        """Writes a line after what is due, and only if all of it fits."""
        with self._lock:
            if self._is_behind and not self._catch_up():
                self._drop()
                return
            fits = len(line) <= PIPE_BUF or has_room(self._fd, len(line))
            taken = self._write(line) if fits else None
            if taken != len(line):
                self._fall_behind(line, taken or 0)

    def _catch_up(self) -> bool:
        try:
            # A pipe without room for a line may have room for the short report, although nothing was read yet.
            if not select((), (self._fd,), (), 0)[1]:
                return False
            while self._rest or self._dropped:
                due = self._rest or self._report(self._dropped)
                taken = self._write(due)
                if not taken:
                    return False
                if not self._rest:
                    self._dropped = 0
                self._rest = due[taken:]
        except OSError:
            self._rest = b""  # a new reader cannot make sense of half a line
            raise
        self._is_behind = False
        return True

    def _fall_behind(self, line: bytes, taken: int) -> None:
        if taken:
            self._rest += line[taken:]
        else:
            self._drop()
        self._is_behind = True
        if not self._is_watched:
            self._is_watched = True
            with suppress(RuntimeError):  # the interpreter is shutting down
                threading.Thread(target=self._watch, daemon=True).start()

    def _drop(self) -> None:
        self.dropped += 1
        self._dropped += 1

    def _watch(self) -> None:
        """Runs in a thread, so that the report does not have to wait for the next line."""
        is_due = True
        while is_due:
            time.sleep(CATCH_UP_SECONDS)
            with suppress(OSError):
                select((), (self._fd,), ())
            with self._lock:
                try:
                    is_due = self._is_behind and not self._catch_up()
                except OSError:  # the reader has closed: the next line reports it
                    is_due = False
                self._is_watched = is_due


def unblocked(fd: int) -> Write:
    """A function that writes to the descriptor without blocking.

    It never sets O_NONBLOCK on the descriptor itself, because the shell and every process on the same pipe share it."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return partial(_send, socket.socket(fileno=os.dup(fd)))
    if not stat.S_ISFIFO(mode) and not os.isatty(fd):
        return io.FileIO(fd, "w", closefd=False).write  # a file never blocks for a reader
    if sys.platform == "linux":  # elsewhere opening it gives the same open file with the same flags
        with suppress(OSError):  # it belongs to another user, or there is no /proc
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            return io.FileIO(own, "w", closefd=False).write  # stays open until the process ends
    return partial(_write_where_it_fits, fd)


def _send(connection: socket.socket, data: bytes) -> int | None:
    with suppress(BlockingIOError):
        return connection.send(data, socket.MSG_DONTWAIT)
    return None


def _write_where_it_fits(fd: int, data: bytes) -> int:
    """Relies on POSIX: a pipe that select() reports as writable takes PIPE_BUF bytes without blocking."""
    taken = 0
    while taken < len(data) and select((), (fd,), (), 0)[1]:
        taken += os.write(fd, data[taken : taken + PIPE_BUF])
    return taken


def has_room(fd: int, size: int) -> bool:
    """Whether a pipe takes this many bytes at once. Asked for lines longer than PIPE_BUF, which it may split.

    A pipe has a fixed number of pages, and small writes share a page. Two neighbouring pages always hold more than one
    page of bytes, which bounds the number of pages in use."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode) or not hasattr(fcntl, "F_GETPIPE_SZ"):
        return True
    unread = array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, unread)
    if not unread[0]:
        return True
    page = os.sysconf("SC_PAGE_SIZE")
    used = 2 * unread[0] // page + 2
    return used + -(-size // page) <= fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) // page


class _Unblocked(io.RawIOBase):
    def __init__(self, fd: int) -> None:
        self._write = unblocked(fd)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # Any: a bytes-like object from the text layer
        self._write(data)
        return len(data)


def unblock_stderr() -> None:
    """Lets Python's own messages on standard error be lost, instead of blocking the service, if its reader stalls."""
    if sys.stderr is not None:
        raw = _Unblocked(sys.stderr.fileno())
        sys.stderr = io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
