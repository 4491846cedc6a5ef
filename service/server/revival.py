"""A worker that ends on its own comes back: at once if it had served for a while, else after pauses that grow."""

import logging
import signal
from time import monotonic
from typing import Any

from sanic.worker.constants import ProcessState

SERVED = 30.0  # seconds; who lived for less has not got over its start
LONGEST_PAUSE = 15.0

_log = logging.getLogger("service.server.revival")


class Revival:
    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._started: dict[str, float] = {}  # by us, by name
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def look(self) -> None:
        """The manager's loop calls it every tenth of a second: it never waits, and it never raises."""
        now = monotonic()
        for process in self._manager.transient_processes:
            if process.is_alive():
                self._due.pop(process.name, None)
            elif process.name not in self._due:
                self._has_ended(process, now)
            elif self._due[process.name] <= now:
                self._start(process, now)

    def _has_ended(self, process: Any, now: float) -> None:
        name = process.name
        has_served = name not in self._started or now - self._started[name] > SERVED
        pause = 0.0 if has_served else min(LONGEST_PAUSE, max(1.0, 2 * self._pauses[name]))
        self._pauses[name] = pause
        self._due[name] = now + pause
        when = f"in {pause:g} s" if pause else "at once"
        _log.warning("worker %s (%s) %s; it is started again %s", name, process.pid, _how(process.exitcode), when)

    def _start(self, process: Any, now: float) -> None:
        del self._due[process.name]
        self._started[process.name] = now
        try:
            process.restart()
        except OSError as error:  # no memory, no process, or it was killed before it could be told what to do
            _log.error("worker %s cannot be started: %s", process.name, error.strerror)
            process.set_state(ProcessState.FAILED, force=True)


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "was not started"
    if exit_code >= 0:
        return f"ended with {exit_code}"
    return f"was ended by signal {-exit_code} ({signal.strsignal(-exit_code)})"
