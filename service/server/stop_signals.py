"""SIGINT and SIGTERM in a process that serves: before, while and after Sanic has handlers of its own for them."""

import asyncio
import logging
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

from service.server.sanic_app import ServerApp

ALL = (signal.SIGINT, signal.SIGTERM)


def ignore() -> None:
    for each in ALL:
        signal.signal(each, signal.SIG_IGN)


def exit_at_once() -> None:
    """For a process that has nothing to finish yet."""
    for each in ALL:
        signal.signal(each, lambda *_: os._exit(0))


async def ignore_more_signals(_: ServerApp) -> None:
    """Before the server stops: Sanic has removed its handlers at the first signal, and another would end the process in
    the middle of its stop."""
    ignore()


def is_no_stop(record: logging.LogRecord) -> bool:
    """A filter of Sanic's log. Sanic reports the SystemExit of a signal during the start as an error."""
    return record.exc_info is None or not isinstance(record.exc_info[1], SystemExit)


def stop_at_end_of_file(app: ServerApp, told: Connection) -> None:
    """The end of the connection counts as a SIGTERM."""

    async def watch(_: ServerApp) -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.remove_reader(told.fileno())
            if callable(signal.getsignal(signal.SIGTERM)):  # otherwise a signal has come first, and Sanic stops already
                os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(told.fileno(), stop)

    app.before_server_start(watch, priority=1)  # a worker that waits for its database stops as well


async def let_manager_stop(app: ServerApp) -> None:
    """At any moment. Left alone, Sanic's manager cannot, for two reasons:

    - It waits until each worker has said that it is up. One that was stopped before never does, and Ctrl-C in the first
      two seconds of `serve --reload` would hang.
    - Its signal handler asks the process that keeps the workers' states. If the signal comes while the manager waits
      for an answer from there, each reads the other's, and the stop ends with a traceback and exit code 1. A message
      that the manager reads in its own time stops it just as well.
    """
    manager: Any = app.manager
    manager.wait_for_ack = lambda: None

    def stop(*_: object) -> None:
        ignore()
        manager.monitor_publisher.send("__TERMINATE__")

    for each in ALL:
        signal.signal(each, stop)
