"""The spans of batches in this process: one request alone, some that are not recorded, and a batch that was undone."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.db import batching
from service.db.database import Database
from service.domain import tasks
from service.domain.tasks import Changes
from service.errors import Code
from service.traces.opentelemetry_tracer import OpenTelemetryTracer
from tests.databases import Urls
from tests.db.event_loop import run_async
from tests.db.owners import DONE, USERS, Owner, code_of, database_at, gather_all, new_owners
from tests.otlp import new_trace

ALONE = Changes({"due_time": "09:30"})  # refused: the tasks have no due date


class Traced:
    """A database whose calls are requests, with or without a recorded trace."""

    def __init__(self, database: Database, tracer: OpenTelemetryTracer, exporter: InMemorySpanExporter) -> None:
        self.database, self._tracer, self._exporter = database, tracer, exporter

    async def request(self, name: str, work: Coroutine[Any, Any, Any], *, is_sampled: bool = True) -> Any:
        _, headers = new_trace(is_sampled=is_sampled)
        span = self._tracer.begin_request(headers["traceparent"], time.time_ns())
        span.update_name(name)
        with self._tracer.use(span):
            try:
                return await work
            finally:
                span.end()

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def forget(self) -> None:
        self._exporter.clear()


@asynccontextmanager
async def traced(url: str) -> AsyncIterator[Traced]:
    tracer, exporter = OpenTelemetryTracer("http://127.0.0.1:1", "todo"), InMemorySpanExporter()
    tracer._processor.add_span_processor(SimpleSpanProcessor(exporter))
    async with database_at(url, pool=1, tracer=tracer) as database:
        yield Traced(database, tracer, exporter)


def in_words(spans: list[ReadableSpan]) -> list[str]:
    """Each span with those above it, in the order of their ends: `request 1 > tasks/get_task (INTERNAL)`."""
    by_id = {span.context.span_id: span for span in spans}

    def path(span: ReadableSpan) -> str:
        above = by_id.get(span.parent.span_id) if span.parent else None
        return f"{path(above)} > {span.name} ({span.kind.name})" if above else span.name

    return sorted(path(span) for span in spans)


def test_a_request_that_is_alone_in_its_batch_has_the_statement_in_its_own_trace(urls: Urls) -> None:
    """It meets another one, whose statement is another batch."""

    async def scenario() -> None:
        async with traced(urls.runtime) as here:
            [owner] = await new_owners(here.database, 1)
            here.forget()
            read = tasks.get_task(here.database, owner.id, owner.task)
            listed = tasks.list_tasks(here.database, owner.id)
            await gather_all(here.request("list", listed), here.request("read", read))

            found = [each for each in in_words(here.spans()) if each.startswith("read")]
            wait = "read > tasks/get_task (INTERNAL)"
            assert found == [
                "read", wait, f"{wait} > pool wait (INTERNAL)", f"{wait} > tasks/get_task (CLIENT)"
            ]  # fmt: skip
            assert [span.name for span in here.spans() if span.links] == []

    run_async(scenario())


def test_a_batch_is_linked_with_the_recorded_requests_alone(urls: Urls) -> None:
    async def scenario() -> None:
        async with traced(urls.runtime) as here:
            owners = await new_owners(here.database)
            here.forget()
            await gather_all(*(
                here.request(f"read {number}", read(here, owner), is_sampled=number in (1, 3))
                for number, owner in enumerate(owners)
            ))  # fmt: skip

            [batch] = [span for span in here.spans() if span.name == "batch tasks/get_task"]
            waits = [span for span in here.spans() if (span.name, span.kind.name) == ("tasks/get_task", "INTERNAL")]
            assert batch.attributes is not None
            assert batch.attributes["todo.batch.requests"] == USERS - 1  # the first one was sent alone
            assert [link.context.span_id for link in batch.links] == [wait.context.span_id for wait in waits]
            assert [each for each in in_words(here.spans()) if each.startswith("read")] == [
                "read 1", "read 1 > tasks/get_task (INTERNAL)", "read 3", "read 3 > tasks/get_task (INTERNAL)",
            ]  # fmt: skip

    run_async(scenario())


def read(here: Traced, owner: Owner) -> Coroutine[Any, Any, Any]:
    return tasks.get_task(here.database, owner.id, owner.task)


def test_a_batch_without_a_recorded_request_leaves_no_span_even_behind_one_with(
    urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second batch is held until the first is back, and begins in the task of the first."""
    monkeypatch.setattr(batching, "MAX_HOLD_SECONDS", 60)

    async def scenario() -> None:
        async with traced(urls.runtime) as here:
            owners = await new_owners(here.database, 2 * USERS)
            here.forget()
            first = [here.request("recorded", read(here, owner)) for owner in owners[:USERS]]

            async def later(owner: Owner) -> None:
                while not here.database._batches._in_flight["tasks/get_task"]:  # noqa: ASYNC110 - it sets no event
                    await asyncio.sleep(0)
                await here.request("not recorded", read(here, owner), is_sampled=False)

            await gather_all(*first, *(later(owner) for owner in owners[USERS:]))

            batches = [span for span in here.spans() if span.name == "batch tasks/get_task"]
            assert [len(span.links) for span in batches] == [USERS - 1]
            messages = [span for span in here.spans() if span.kind.name == "CLIENT"]
            assert (
                len([span for span in messages if span.parent and span.parent.span_id == batches[0].context.span_id])
                == 1
            )

    run_async(scenario())


def test_writes_whose_batch_was_undone_are_sent_again_in_their_own_traces(urls: Urls) -> None:
    async def scenario() -> None:
        async with traced(urls.runtime) as here:
            owners = await new_owners(here.database)

            def write(number: int, changes: Changes) -> Coroutine[Any, Any, Any]:
                owner = owners[number]
                return here.request(f"write {number}", tasks.update_task(here.database, owner.id, owner.task, changes))

            await gather_all(*(write(number, DONE) for number in range(USERS)))  # asks whether writes may be batched
            here.forget()
            answers = await gather_all(*(write(number, ALONE if number == 3 else DONE) for number in range(USERS)))

            assert [code_of(answer) for answer in answers[3:4]] == [Code.VALIDATION_ERROR]
            [batch] = [span for span in here.spans() if span.name == "batch tasks/update_task"]
            assert not batch.status.is_ok
            found = in_words(here.spans())
            for number in range(1, USERS):  # the first one was sent alone
                wait = f"write {number} > tasks/update_task (INTERNAL)"
                assert f"{wait} > tasks/update_task (CLIENT)" in found
            failed = {span.name for span in here.spans() if not span.status.is_ok and span.kind.name == "INTERNAL"}
            assert failed == {"batch tasks/update_task", "tasks/update_task"}
            [refused] = [
                span for span in here.spans()
                if (span.kind.name, span.name, span.status.is_ok) == ("INTERNAL", "tasks/update_task", False)
            ]  # fmt: skip
            assert (refused.attributes or {})["error.type"] == "VALIDATION_ERROR"

    run_async(scenario())
