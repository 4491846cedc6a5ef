"""Spans of batches: one for the wait of each request, and one for a message with several requests.

1. A request's span is in its own trace, from joining the batch to its rows. An event marks when the batch was sent.
2. A message for one request is a child of that span.
3. A message for several requests is a trace of its own, linked with their spans: none of them is its only parent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from service.db.batch_rows import Rows
from service.db.batching import StatementBatch
from service.db.statement_traces import QUERY
from service.db.statements import BatchKey, Statement
from service.errors import Problem
from service.traces.tracer import Attributes, Span, Tracer

SENT = "sent"  # the event
REQUESTS = "todo.batch.requests"


class TracedBatch(StatementBatch):
    def __init__(self, tracer: Tracer, statement: Statement, key: BatchKey, max_size: int) -> None:
        super().__init__(statement, key, max_size)
        self._tracer = tracer
        self._waits: list[Span] = []  # of its requests; those of traces that are not recorded too
        self._first_waits: dict[Any, Span] = {}  # by key of the execution

    def join(self, arguments: list[object]) -> "asyncio.Future[Rows] | None":
        answer = super().join(arguments)
        if answer is not None:
            wait = self._tracer.begin(self.statement.name, "internal", {QUERY: self.statement.name})
            self._waits.append(wait)
            self._first_waits.setdefault(self._key.of_arguments(arguments), wait)
            if wait.is_recording():
                answer.add_done_callback(lambda answer: self._end(wait, answer))
        return answer

    def _end(self, wait: Span, answer: "asyncio.Future[Rows]") -> None:
        if answer.cancelled():
            wait.set_attributes({"error.type": "cancelled"})
        elif (error := answer.exception()) is not None:
            self._tracer.fail(wait, error.code.name if isinstance(error, Problem) else type(error).__name__)
        wait.end()

    @contextmanager
    def on_its_way(self) -> Iterator[None]:
        recorded = [wait for wait in self._waits if wait.is_recording()]
        for wait in recorded:
            wait.add_event(SENT, {REQUESTS: self.size})
        if self.size == 1 or not recorded:
            with self._tracer.use(self._waits[0]):
                yield
            return
        attributes: Attributes = {QUERY: self.statement.name, REQUESTS: self.size}
        message = self._tracer.begin_shared(f"batch {self.statement.name}", attributes, recorded)
        try:
            with self._tracer.use(message):
                yield
        except Exception as error:
            self._tracer.fail(message, type(error).__name__)
            raise
        finally:
            message.end()

    async def run_one_by_one(self, run_alone: Callable[[Statement, list[object]], Awaitable[Rows]]) -> None:
        async def run_in_its_trace(statement: Statement, arguments: list[object]) -> Rows:
            with self._tracer.use(self._first_waits[self._key.of_arguments(arguments)]):
                return await run_alone(statement, arguments)

        await super().run_one_by_one(run_in_its_trace)
