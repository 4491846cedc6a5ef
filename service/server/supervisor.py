"""Several worker processes on one port. The supervisor starts them, restarts those that die, and serves nothing itself.

Workers are forked, not started as new programs: they share the memory of all imports, a killed one is back in a tenth
of a second, and all have the same settings and code, whatever has changed on disk since. A fork is safe here because
the supervisor has one thread, no event loop and no open connection; each worker makes its own. On macOS, libraries of
the system may refuse to work in a forked process: WORKERS is meant for Linux.

A worker is told to stop by the end of a pipe, not by a signal. Every worker holds the read end, and the supervisor the
write end: it closes when the supervisor stops, and also when it is killed. A signal can be lost on a process that is
just setting up its handlers; an end of file cannot.
"""

import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from time import monotonic

from service.server import stop_signals

SERVED_SECONDS = 30.0  # a worker that lives for less is assumed to fail at its start
SIGNAL_SPREAD_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0  # before a restart

_fork = multiprocessing.get_context("fork")
_log = logging.getLogger("service.server.supervisor")


class Worker:
    """One of the processes, and its successors after each restart. They are numbered from 0."""

    def __init__(self, number: int, target: Callable[[], None]) -> None:
        self.number = number
        self.name = f"worker {number + 1}"
        self.process: ForkProcess | None = None
        self.due = 0.0  # when it is to be started, if it does not run
        self._target = target
        self._started = 0.0
        self._pause: float | None = None  # before the last restart

    def start(self) -> None:
        process = _fork.Process(target=self._target, name=self.name)
        self._started = monotonic()
        try:
            process.start()
            self.process = process
        except OSError as error:  # no memory, or too many processes
            _log.error("%s cannot be started: %s; it is tried again %s", self.name, error.strerror, self._put_off())

    def was_told_to_stop(self) -> bool:
        return self.process is not None and self.process.exitcode == 0

    def look(self) -> bool:
        """Whether it has ended since the last look."""
        if self.process is not None and not self.process.is_alive():
            pid, reason = self.process.pid, _reason(self.process.exitcode)
            self.process = None
            _log.warning("%s (%s) %s; it is started again %s", self.name, pid, reason, self._put_off())
            return True
        return False

    def _put_off(self) -> str:
        """The first restart is at once, and so is that of a worker that has served for a while."""
        if self._pause is None or monotonic() - self._started > SERVED_SECONDS:
            self._pause = 0.0
        else:
            self._pause = min(LONGEST_PAUSE_SECONDS, max(1.0, 2 * self._pause))
        self.due = monotonic() + self._pause
        return f"in {self._pause:g} s" if self._pause else "at once"


class Supervisor:
    def __init__(
        self, workers: int, serve: Callable[[int, Connection], None], worker_ended: Callable[[int], None]
    ) -> None:
        """`serve` runs in each worker with its number, and returns once the connection that it is given has ended.
        `worker_ended` gets the number of a worker that has died."""
        self._serve = serve
        self._worker_ended = worker_ended
        self._told, self._hold = _fork.Pipe(duplex=False)
        self._workers = [Worker(number, partial(self._work, number)) for number in range(workers)]

    def run(self) -> None:
        """Until SIGINT or SIGTERM, at which the workers begin to stop."""
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        try:
            while not self._told.poll():  # readable only at its end: nothing is ever sent
                self._start_due()
                self._wait()
                if any(each.was_told_to_stop() for each in self._workers):
                    # A signal to all processes reaches a worker before this one.
                    connection.wait([self._told], SIGNAL_SPREAD_SECONDS)
                    if self._told.poll():
                        break
                for each in self._workers:
                    if each.look():
                        self._worker_ended(each.number)
        finally:
            self._hold.close()

    def end(self, longest_stop: float) -> None:
        """Until all workers have ended. One that has not within `longest_stop` seconds is killed."""
        deadline = monotonic() + longest_stop
        for name, process in [(each.name, each.process) for each in self._workers if each.process is not None]:
            process.join(max(0.0, deadline - monotonic()))
            if process.is_alive():
                _log.warning("%s (%s) does not end, and is killed", name, process.pid)
                process.kill()
                process.join()

    def _stop(self, *_: object) -> None:
        stop_signals.ignore_from_handler()
        self._hold.close()

    def _start_due(self) -> None:
        for each in self._workers:
            if each.process is None and each.due <= monotonic():
                with _signals_held_back():
                    each.start()

    def _wait(self) -> None:
        """For the end of a worker, the next start, or the stop."""
        ends = [each.process.sentinel for each in self._workers if each.process is not None]
        next_start = min((each.due for each in self._workers if each.process is None), default=None)
        connection.wait([self._told, *ends], None if next_start is None else max(0.0, next_start - monotonic()))

    def _work(self, number: int) -> None:
        """In the worker. It has nothing to finish until it serves: until then a signal ends it at once."""
        self._hold.close()
        stop_signals.exit_at_once()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals.ALL)
        self._serve(number, self._told)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """While a process is forked, or the new one would run the handlers of this one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals.ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals.ALL)


def _reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was ended by signal {-exit_code} ({signal.strsignal(-exit_code)})"
    return f"ended with {exit_code}"
