"""Writes lines to standard output without ever waiting for its reader, which may be a pipe that nothing empties."""

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

CATCH_UP_SECONDS = 0.1  # between two looks whether the reader goes on, where no line comes that would notice it

Write = Callable[[bytes], int | None]  # how many bytes were taken; as with every raw stream, None where none could be


class LineWriter:
    """A line that the reader does not take at once is dropped and counted. When it reads again, the first line it gets
    says how many are missing. Lines of several processes share a pipe: up to PIPE_BUF bytes are written whole or not at
    all, longer ones only where they fit, and what was begun is finished before anything else."""

    def __init__(self, fd: int, report: Callable[[int], bytes]) -> None:
        self._fd = fd
        self._report = report
        self._write = unblocked(fd)
        self._lock = threading.RLock()  # a destructor may log while another line is written
        self._rest = b""  # of a line of which a part was taken
        self._dropped = 0
        self._is_behind = False  # a rest or a report is due
        self._is_watched = False

    def write(self, line: bytes) -> None:
        size = len(line)
        if self._is_behind or size > PIPE_BUF:
            self._write_in_turn(line)
            return
        write = self._write  # cheaper than to call it as if it were a method
        taken = write(line)
        if taken != size:
            with self._lock:
                self._fall_behind(line, taken or 0)

    def _write_in_turn(self, line: bytes) -> None:
        """After what is due, and where the whole of it fits."""
        with self._lock:
            if self._is_behind and not self._catch_up():
                self._dropped += 1
                return
            fits = len(line) <= PIPE_BUF or has_room(self._fd, len(line))
            taken = self._write(line) if fits else None
            if taken != len(line):
                self._fall_behind(line, taken or 0)

    def _catch_up(self) -> bool:
        try:
            # A pipe that has no room for a line may have some for the report, long before anything is read.
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
            self._rest = b""  # another reader would not know what it belongs to
            raise
        self._is_behind = False
        return True

    def _fall_behind(self, line: bytes, taken: int) -> None:
        if taken:
            self._rest += line[taken:]
        else:
            self._dropped += 1
        self._is_behind = True
        if not self._is_watched:
            self._is_watched = True
            with suppress(RuntimeError):  # the interpreter ends
                threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """A thread, so that the report does not wait for the next line."""
        is_due = True
        while is_due:
            time.sleep(CATCH_UP_SECONDS)
            with suppress(OSError):
                select((), (self._fd,), ())
            with self._lock:
                try:
                    is_due = self._is_behind and not self._catch_up()
                except OSError:  # the reader has gone: the next line says so
                    is_due = False
                self._is_watched = is_due


def unblocked(fd: int) -> Write:
    """The flag O_NONBLOCK of the descriptor itself is shared with the shell, and with every process that writes to the
    same pipe: it is never set."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return partial(_send, socket.socket(fileno=os.dup(fd)))
    if not stat.S_ISFIFO(mode) and not os.isatty(fd):
        return io.FileIO(fd, "w", closefd=False).write  # a file takes everything
    if sys.platform == "linux":  # elsewhere it would be the same description, with the same flags
        with suppress(OSError):  # it is another user's, or there is no /proc
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            return io.FileIO(own, "w", closefd=False).write  # open as long as the process is
    return partial(_write_where_it_fits, fd)


def _send(connection: socket.socket, data: bytes) -> int | None:
    with suppress(BlockingIOError):
        return connection.send(data, socket.MSG_DONTWAIT)
    return None


def _write_where_it_fits(fd: int, data: bytes) -> int:
    """A pipe that is said to be writable takes PIPE_BUF bytes without waiting."""
    taken = 0
    while taken < len(data) and select((), (fd,), (), 0)[1]:
        taken += os.write(fd, data[taken : taken + PIPE_BUF])
    return taken


def has_room(fd: int, size: int) -> bool:
    """Whether a pipe takes so many bytes at once, asked for lines that it would otherwise break. It has so many pages,
    and writes share one where they fit into it: two pages in a row hold more than the bytes of one."""
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

    def write(self, data: Any) -> int:  # what has a buffer: bytes, from the text layer
        self._write(data)
        return len(data)


def unblock_stderr() -> None:
    """What Python itself says there, of a line that cannot be made for example, is lost where its reader stalls."""
    if sys.stderr is not None:
        raw = _Unblocked(sys.stderr.fileno())
        sys.stderr = io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
