"""Traces of what lies behind a request: batches, waits, streamed lists, downloads of keys, workers."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from tests.issuers import claims_of, ed_key, publishing
from tests.metrics import Metered
from tests.otlp import (
    CLIENT,
    INTERNAL,
    QUERY,
    SERVER,
    STATEMENT,
    Collector,
    Span,
    Start,
    described,
    new_trace,
    request_attributes,
)
from tests.outages import wait_for
from tests.server.plain_clients import FILL, connected, read_to_end, with_known_token
from tests.support import FEBRUARY, TRUST, User, free_port


def test_requests_that_travelled_in_one_message_are_linked_with_it(
    start_traced: Start, collector: Collector, ann: User
) -> None:
    user = with_known_token(start_traced(POOL_MAX=1), ann)
    paths = [f"/api/tasks/{user.creates(FEBRUARY)['id']}" for _ in range(16)]

    def batches() -> list[Span]:
        return [span for span in collector.spans() if span.name == "batch tasks/get_task"]

    with ThreadPoolExecutor(16) as threads:
        while not batches():
            assert {answer.status_code for answer in threads.map(user.get, paths)} == {200}
    last, headers = new_trace()
    user.get("/", headers=headers)
    collector.trace(last)  # and so all before it

    spans = {(span.trace_id, span.span_id): span for span in collector.spans()}
    for batch in batches():
        count = batch.attributes["todo.batch.requests"]
        assert described(batch) == (INTERNAL, batch.name, QUERY | {"todo.batch.requests": count}, False)
        assert (batch.parent_id, len(batch.links)) == ("", count)
        [message] = [span for span in spans.values() if span.parent_id == batch.span_id and span.kind == CLIENT]
        executions = {"db.operation.batch.size": count}
        assert described(message) == (CLIENT, "tasks/get_task", STATEMENT | executions, False)
        waits = [spans[link] for link in batch.links]
        assert {len(link) for link in batch.links} == {2}
        for wait in waits:
            assert described(wait) == (INTERNAL, "tasks/get_task", QUERY, False)
            assert wait.links == [(batch.trace_id, batch.span_id)]
            assert wait.events == [("sent", {"todo.batch.requests": count})]
            assert spans[wait.trace_id, wait.parent_id].name == "GET /api/tasks/{task_id}"
        assert len({wait.trace_id for wait in waits}) == count


def test_the_span_of_a_streamed_list_ends_with_the_list(
    start_traced: Start, collector: Collector, ann: User, database: psycopg.Connection
) -> None:
    service = start_traced(WRITE_TIMEOUT=600)
    database.execute(FILL, [ann.id])
    trace_id, headers = new_trace()
    with connected(service) as [connection]:
        connection.sendall(
            f"GET /v1/api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n"
            f"traceparent: {headers['traceparent']}\r\nConnection: close\r\n\r\n".encode()
        )
        assert connection.recv(12) == b"HTTP/1.1 200"
        wait_for(lambda: [span for span in collector.spans() if span.trace_id == trace_id])
        later, headers = new_trace()
        service.http.get("/", headers=headers)
        collector.trace(later)
        assert [span for span in collector.spans() if span.trace_id == trace_id and span.kind == SERVER] == []

        assert b"0\r\n\r\n" in read_to_end(connection)

    [request, *statements] = collector.trace(trace_id)
    assert described(request) == (SERVER, "GET /v1/api/tasks", request_attributes("GET", "/v1/api/tasks", 200), False)
    assert len([span for span in statements if span.name == "tasks/list_tasks_after"]) > 1
    assert {span.parent_id for span in statements} == {request.span_id}


def test_the_wait_for_a_connection_is_a_span_of_the_request_that_waits(
    start_traced: Start, collector: Collector, ann: User, bob: User, database: psycopg.Connection, database_url: str
) -> None:
    """The only connection waits for a lock, as long as the server lets it."""
    sign = "&" if "?" in database_url else "?"
    service = start_traced(
        DATABASE_URL=f"{database_url}{sign}options=-c%20lock_timeout%3D0", POOL_MAX=1, STATEMENT_TIMEOUT=60
    )
    writer, reader = with_known_token(service, ann), with_known_token(service, bob)
    task = writer.creates(FEBRUARY)
    trace_id, headers = new_trace()
    with ThreadPoolExecutor() as threads:
        with database.transaction():
            database.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
            writing = threads.submit(writer.put, f"/api/tasks/{task['id']}", {"title": "y"})
            wait_for(lambda: is_waiting(database))
            reading = threads.submit(reader.get, f"/api/tasks/{uuid4()}", headers=headers)
            health = httpx.get(f"{service.url}/health/live", verify=TRUST)  # answered after the read has begun
            assert health.status_code == 200
        assert (writing.result().status_code, reading.result().status_code) == (200, 404)

    [request, *others] = collector.trace(trace_id)
    [waited] = [span for span in others if span.name == "pool wait"]
    assert described(waited) == (INTERNAL, "pool wait", {}, False)
    above = {span.span_id: span for span in others} | {request.span_id: request}
    assert above[waited.parent_id].trace_id == trace_id


def is_waiting(database: psycopg.Connection) -> bool:
    found = database.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found.rowcount > 0


def test_a_fetch_of_keys_passes_the_trace_on(start_traced: Start, collector: Collector) -> None:
    first, second = ed_key(), ed_key()
    with publishing(first.jwk) as publisher:
        service = start_traced(AUTH_ISSUERS=publisher.url)
        wait_for(lambda: publisher.headers)
        publisher.keys.append(second.jwk)
        trace_id, headers = new_trace()
        token = {"Authorization": f"Bearer {second.sign(claims_of(publisher.url))}"}
        assert service.http.get("/api/tasks", headers=headers | token).status_code == 200

    [request, *others] = collector.trace(trace_id)
    [fetch] = [span for span in others if span.name == "fetch keys"]
    assert (fetch.kind, fetch.parent_id, fetch.has_failed) == (CLIENT, request.span_id, False)
    assert publisher.headers[-1]["traceparent"] == f"00-{trace_id}-{fetch.span_id}-01"


def test_each_worker_is_an_instance_of_the_service(start_traced: Start, collector: Collector) -> None:
    service = start_traced(
        WORKERS=2, OTEL_SERVICE_NAME="todo-test", OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=x"
    )

    def instances() -> set[Any]:
        httpx.get(f"{service.url}/", verify=TRUST)  # on a new connection, which the system gives to one of the workers
        return {span.resource["service.instance.id"] for span in collector.spans()}

    wait_for(lambda: len(instances()) == 2)
    assert {span.resource["service.name"] for span in collector.spans()} == {"todo-test"}
    assert {span.resource["deployment.environment.name"] for span in collector.spans()} == {"x"}


def test_metrics_and_traces_see_the_same_request_and_statement(
    start_traced: Start, collector: Collector, ann: User
) -> None:
    port = free_port()
    metered = Metered(start_traced(METRICS_PORT=port), port)
    user = with_known_token(metered.service, ann)
    trace_id, headers = new_trace()

    user.get(f"/api/tasks/{uuid4()}", headers=headers)

    assert [span.name for span in collector.trace(trace_id)][:2] == ["GET /api/tasks/{task_id}", "tasks/get_task"]
    assert metered.scrape().requests()["GET", "/api/tasks/{task_id}", "404"] == 1
    assert metered.value("todo_statement_duration_seconds_count", statement="tasks/get_task") == 1
