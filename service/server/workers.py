"""What Sanic's manager of workers leaves open: a stop during the start, a second signal, somebody who is gone."""

import logging
import multiprocessing
import os
import signal
import time
from multiprocessing.managers import SyncManager
from types import FrameType
from typing import Any

from sanic.mixins import startup
from sanic.worker.manager import MonitorCycle

from service.server import parent
from service.server.revival import Revival
from service.server.sanic_app import ServerApp

ENDS_EARLY = "__TERMINATE_EARLY__"
SAY_AGAIN = 3.0  # seconds

_noted: list[int] = []
_log = logging.getLogger("service.server.workers")


def note_signals() -> None:
    """While Sanic makes its manager: to raise in the middle of that would leave a process behind, or end with 1."""
    signal.signal(signal.SIGINT, lambda number, _: _noted.append(number))
    signal.signal(signal.SIGTERM, lambda number, _: _noted.append(number))


def keep_helper() -> None:
    """Before Sanic starts the process that keeps what is known of the workers: all is lost where a signal for all
    processes, as systemd sends it, ends that one first."""
    sanic: Any = startup
    sanic.Manager = _helper


def _helper() -> SyncManager:
    helper = SyncManager(ctx=multiprocessing.get_context())
    helper.start(parent.end_without_parent)
    return helper


def is_worker() -> bool:
    return multiprocessing.parent_process() is not None


async def mend_manager(app: ServerApp) -> None:
    """In the main process, before the workers are started. A signal is noted, and the manager's own loop acts on it:
    what it keeps about its workers goes through a connection that nothing may interrupt."""
    manager: Any = app.manager
    if _noted:
        manager.run = lambda: None  # there is nothing to stop yet, and what Sanic has made it takes down again
        return
    poll, join = manager._poll_monitor, manager.join
    handle = manager._handle_message
    revival = Revival(manager)

    def stop_once(number: int, _: FrameType | None) -> None:
        # At a second signal the manager kills its process group: itself, and whoever called it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _noted.append(number)

    def stop_or_poll() -> MonitorCycle | None:
        if _noted:
            return MonitorCycle.BREAK
        if not app.state.auto_reload:  # there it comes back when a file is saved that lets it
            revival.look()
        cycle: MonitorCycle | None = poll()
        return cycle

    def stop_and_join() -> None:
        manager.join = join  # which calls itself until all are gone
        manager._shutting_down = True
        manager._server_settings["sock"].close()  # so that the port is closed when the workers have closed it
        _stop_all(manager, app.config.LONGEST_STOP)
        join()

    # Sanic would wait until every worker is up, and kill them all, itself and whoever called it if one is not in time.
    manager.wait_for_ack = lambda: None
    manager._poll_monitor = stop_or_poll
    # A worker says this when it fails while it starts. Here it would be taken for a name.
    manager._handle_message = lambda message: None if message == ENDS_EARLY else handle(message)
    manager.join = stop_and_join
    signal.signal(signal.SIGINT, stop_once)
    signal.signal(signal.SIGTERM, stop_once)


def _stop_all(manager: Any, longest: float) -> None:
    """Sanic sends SIGINT, at which a Python that has only begun shows where it was; once, which is lost on a worker
    that is setting up its handlers; and waits for ten seconds."""
    deadline = time.monotonic() + longest
    while alive := [each for each in manager.processes if each.is_alive()]:
        how = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for each in alive:
            if how == signal.SIGKILL:
                _log.warning("worker %s (%s) does not end, and is killed", each.name, each.pid)
            os.kill(each.pid, how)
        again = min(time.monotonic() + SAY_AGAIN, max(deadline, time.monotonic() + 1))
        while any(each.is_alive() for each in alive) and time.monotonic() < again:
            time.sleep(0.05)


def end_quietly_while_starting() -> None:
    """In a worker, from its first moment until Sanic has handlers of its own: it has nothing to finish yet."""
    if is_worker():
        signal.signal(signal.SIGINT, lambda _, __: os._exit(0))
        signal.signal(signal.SIGTERM, lambda _, __: os._exit(0))


async def ignore_more_signals(_: ServerApp) -> None:
    """From the first on there are no handlers of Sanic's any more: another would end the stop in the middle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def end_with_parent(_: ServerApp) -> None:
    """In a worker: one whose parent was killed would go on, and keep the port."""
    parent.without_parent(_stop)


def _stop() -> None:
    while True:  # the first signal is lost on a worker that is still starting
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SAY_AGAIN)
