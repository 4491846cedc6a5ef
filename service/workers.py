"""What Sanic's manager of workers leaves open: a stop during the start, a second signal, a parent that is gone."""

import multiprocessing
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from sanic.worker.manager import MonitorCycle

from service.context import App

_noted: list[int] = []


def note_signals() -> None:
    """While Sanic makes its manager: to raise in the middle of that would leave a process behind, or end with 1."""
    signal.signal(signal.SIGINT, lambda number, _: _noted.append(number))
    signal.signal(signal.SIGTERM, lambda number, _: _noted.append(number))


def is_worker() -> bool:
    return multiprocessing.parent_process() is not None


async def mend_manager(app: App) -> None:
    """In the main process, before the workers are started. A signal is noted, and the manager's own loop acts on it:
    what it keeps about its workers goes through a connection that nothing may interrupt."""
    manager: Any = app.manager
    if _noted:
        manager.run = lambda: None  # there is nothing to stop yet, and what Sanic has made it takes down again
        return
    every_worker_is_up, poll, join = manager._all_workers_ack, manager._poll_monitor, manager.join

    def stop_once(number: int, _: FrameType | None) -> None:
        # At a second signal the manager kills its process group: itself, and whoever called it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _noted.append(number)

    def stop_and_join() -> None:
        manager.join = join  # which calls itself until all are gone
        manager.shutdown()
        join()

    # A worker that was told to stop never says that it is up, and the manager would wait for it for ever.
    manager._all_workers_ack = lambda: _noted or every_worker_is_up()
    manager._poll_monitor = lambda: MonitorCycle.BREAK if _noted else poll()
    manager.join = stop_and_join
    signal.signal(signal.SIGINT, stop_once)
    signal.signal(signal.SIGTERM, stop_once)


def end_quietly_while_starting() -> None:
    """In a worker, from its first moment until Sanic has handlers of its own: it has nothing to finish yet."""
    if is_worker():
        signal.signal(signal.SIGINT, lambda _, __: os._exit(0))
        signal.signal(signal.SIGTERM, lambda _, __: os._exit(0))


async def end_with_parent(_: App) -> None:
    """In a worker: one whose parent was killed would go on, and keep the port."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        threading.Thread(target=_stop_without, args=[parent.pid], daemon=True).start()


def _stop_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    while True:  # the first signal is lost on a worker that is still starting
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3)
