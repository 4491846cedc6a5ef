"""SIGINT and SIGTERM in a process that serves: before, while and after Sanic has handlers of its own for them."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from sanic.server import runners

from service.server.sanic_app import ServerApp

ALL = (signal.SIGINT, signal.SIGTERM)


def ignore() -> None:
    for each in ALL:
        signal.signal(each, signal.SIG_IGN)


def ignore_from_handler() -> None:
    """Both may have come in the same moment. Python prints an error for the second one if it is SIG_IGN by then."""
    for each in ALL:
        signal.signal(each, lambda *_: None)


def exit_at_once() -> None:
    """For a process that has nothing to finish yet."""
    for each in ALL:
        signal.signal(each, lambda *_: os._exit(0))


@contextmanager
def left_alone_by_sanic() -> Iterator[None]:
    """While Sanic starts and serves in the context, it leaves the handlers of signals as they are.

    At the end of the start it would ignore both signals for a moment, and then make handlers of the event loop, which
    does not run until it serves: uvloop forgets what comes before. A stop that was asked for then never happened."""
    module: Any = runners
    original = module.signal_func
    module.signal_func = lambda *_: None
    try:
        yield
    finally:
        module.signal_func = original


async def stop_in_order(app: ServerApp) -> None:
    """A listener, once the server has started. Handlers of Python itself are called whether the event loop runs or
    not. One signal is enough: another would end the process in the middle of its stop."""
    loop = asyncio.get_running_loop()

    def stop(*_: object) -> None:
        ignore_from_handler()
        loop.call_soon_threadsafe(partial(app.stop, terminate=False))

    for each in ALL:
        signal.signal(each, stop)


async def ignore_more_signals(_: ServerApp) -> None:
    """Before the server stops, where the handlers are Sanic's: the first signal has removed them, and another would end
    the process in the middle of its stop."""
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
        ignore_from_handler()
        manager.monitor_publisher.send("__TERMINATE__")

    for each in ALL:
        signal.signal(each, stop)
