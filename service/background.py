"""Work that outlives its request: the client has disconnected, or has its answer already."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from service.errors import Problem

Result = TypeVar("Result")

_log = logging.getLogger("service.background")


class Background:
    """The background tasks of one process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()  # strong references: the event loop has only weak ones

    async def finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Waits for the work. If the request is cancelled, the work goes on."""
        task = self._start(work)
        # After a cancelled request the result is never read. Reading it here keeps asyncio from logging that.
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(task)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts the work and returns. A failure is logged."""
        self._start(work).add_done_callback(_say_failure)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _say_failure(task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    failure = task.exception()
    if isinstance(failure, Problem):
        _log.warning("left undone in the background: %s", failure.reason or failure.text)
    elif failure is not None:
        _log.error("failed in the background", exc_info=failure)
