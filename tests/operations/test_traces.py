"""The traces of real services, as a collector gets them: spans of requests and statements, links, sampling, the log."""

import re
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from service import VERSION
from tests.documents import block, section
from tests.issuers import claims_of, ed_key, publishing
from tests.metrics import Metered
from tests.operations.test_docs import OPERATING
from tests.otlp import CLIENT, CLIENT_SPAN, INTERNAL, SERVER, Collector, Span, collecting, new_trace
from tests.outages import wait_for
from tests.server.plain_clients import FILL, as_user_of, connected, read_to_end
from tests.support import FEBRUARY, PASSWORD, TRUST, Service, User, free_port, new_email, sign_up

Start = Callable[..., Service]

QUERY = {"db.query.summary": "tasks/get_task"}
STATEMENT = QUERY | {"db.system.name": "postgresql", "db.operation.name": "SELECT"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def start(start_service: Callable[..., Service], collector: Collector) -> Start:
    def start(**settings: object) -> Service:
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": 50, "TOKEN_RECHECK": 300}
        return start_service(**(given | settings))

    return start


def with_known_token(service: Service, user: User) -> User:
    """Whose next request asks the database nothing about the token."""
    user = as_user_of(service, user)
    assert user.get("/api/tasks").status_code == 200
    return user


def described(span: Span) -> tuple[int, str, object, bool]:
    return span.kind, span.name, span.attributes, span.has_failed


def http(method: str, route: str | None, status: int | None) -> dict[str, str | int]:
    """The attributes of a request's span."""
    found: dict[str, str | int] = {"http.request.method": method, "url.scheme": "http"}
    found |= {} if status is None else {"http.response.status_code": status}
    return found | ({} if route is None else {"http.route": route, "url.path": route})


def test_a_request_and_its_statement_are_spans_of_the_clients_trace(
    start: Start, collector: Collector, ann: User
) -> None:
    user = with_known_token(start(), ann)
    task = user.creates(FEBRUARY)
    trace_id, headers = new_trace()

    assert user.get(f"/api/tasks/{task['id']}", headers=headers).status_code == 200

    [request, statement] = collector.trace(trace_id)
    assert described(request) == (
        SERVER, "GET /api/tasks/{task_id}", http("GET", "/api/tasks/{task_id}", 200), False,
    )  # fmt: skip
    assert described(statement) == (CLIENT, "tasks/get_task", STATEMENT, False)
    assert (request.parent_id, statement.parent_id) == (CLIENT_SPAN, request.span_id)
    instance = request.resource["service.instance.id"]
    assert request.resource == {
        "service.name": "todo",
        "service.version": VERSION,
        "service.instance.id": instance,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": request.resource["telemetry.sdk.version"],
    }


def test_the_picture_in_the_document_is_a_trace_of_the_service(start: Start, collector: Collector, ann: User) -> None:
    user = with_known_token(start(), ann)
    user.creates(FEBRUARY)
    trace_id, headers = new_trace()

    answer = user.put(f"/api/tasks/{uuid4()}", {"title": "x"}, headers=headers | {"If-None-Match": "*"})

    assert answer.status_code == 201
    [request, *statements] = collector.trace(trace_id)
    assert {span.parent_id for span in statements} == {request.span_id}
    shown = block(section(OPERATING, "Traces"), "text").splitlines()
    assert [re.split("  +", line.lstrip("├└─ "))[0] for line in shown] == [
        request.name,
        *(each.name for each in statements),
    ]


def test_each_request_of_a_connection_begins_a_trace_of_its_own(start: Start, collector: Collector) -> None:
    service = start()
    for _ in range(3):
        service.http.get("/")

    wait_for(lambda: len([span for span in collector.spans() if span.name == "GET /"]) == 3)
    found = [span for span in collector.spans() if span.name == "GET /"]
    assert len({span.trace_id for span in found}) == 3
    assert {span.parent_id for span in found} == {""}


MALFORMED = {
    "empty": "",
    "words": "nonsense",
    "version ff": f"ff-{'a' * 32}-{'b' * 16}-01",
    "upper case": f"00-{'A' * 32}-{'b' * 16}-01",
    "no trace": f"00-{'0' * 32}-{'b' * 16}-01",
    "no span": f"00-{'a' * 32}-{'0' * 16}-01",
    "too long for version 00": f"00-{'a' * 32}-{'b' * 16}-01-more",
    "far too long": f"01-{'a' * 32}-{'b' * 16}-01-{'x' * 1000}",
    "short": f"00-{'a' * 31}-{'b' * 16}-01",
}


def test_a_malformed_traceparent_begins_a_new_trace_and_is_no_error(start: Start, collector: Collector) -> None:
    service = start()
    twice = [("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")] * 2
    for headers in [*([("traceparent", given)] for given in MALFORMED.values()), twice]:
        assert service.http.get("/", headers=headers).status_code == 200

    wait_for(lambda: len([span for span in collector.spans() if span.name == "GET /"]) == len(MALFORMED) + 1)
    found = [span for span in collector.spans() if span.name == "GET /"]
    assert {span.parent_id for span in found} == {""}
    assert "a" * 32 not in {span.trace_id for span in found}
    assert {line["level"] for line in service.lines()} == {"info"}


def test_a_request_of_a_trace_that_is_not_sampled_is_not_recorded_and_its_log_line_names_the_trace(
    start: Start, collector: Collector, ann: User
) -> None:
    service = start()
    user = with_known_token(service, ann)
    unsampled, headers = new_trace(is_sampled=False)
    answer = user.get("/api/tasks", headers=headers)

    sampled, headers = new_trace()
    user.get("/api/tasks", headers=headers)

    collector.trace(sampled)  # it was sent later
    assert unsampled not in {span.trace_id for span in collector.spans()}
    [line] = service.lines_of(answer.headers["X-Request-ID"])
    assert line["trace_id"] == unsampled


def test_the_sampler_of_the_environment_decides_for_requests_without_a_trace(
    start: Start, collector: Collector
) -> None:
    service = start(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0")
    service.http.get("/")
    sampled, headers = new_trace()
    service.http.get("/", headers=headers)

    [request] = collector.trace(sampled)
    assert [span for span in collector.spans() if span.kind == SERVER] == [request]


def test_requests_that_travelled_in_one_message_are_linked_with_it(
    start: Start, collector: Collector, ann: User
) -> None:
    user = with_known_token(start(POOL_MAX=1), ann)
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


def test_a_failed_statement_marks_its_request_only_if_the_answer_is_5xx(
    start: Start, collector: Collector, ann: User
) -> None:
    service = start()
    user = with_known_token(service, ann)
    conflict, headers = new_trace()
    service.http.post("/api/auth/signup", json={"email": ann.email, "password": PASSWORD}, headers=headers)
    missing, headers = new_trace()
    user.get(f"/api/tasks/{uuid4()}", headers=headers)

    [request, *statements] = collector.trace(conflict)
    assert described(request) == (
        SERVER, "POST /api/auth/signup", http("POST", "/api/auth/signup", 409), False,
    )  # fmt: skip
    [failed] = [span for span in statements if span.has_failed]
    error = {"db.response.status_code": "23505", "error.type": "23505"}
    assert failed.name == "accounts/create_user"
    assert error.items() <= failed.attributes.items()
    [request, *_] = collector.trace(missing)
    assert described(request)[2:] == (http("GET", "/api/tasks/{task_id}", 404), False)


def test_an_answer_of_5xx_fails_with_its_code_and_lines_of_the_log_name_the_spans(
    start: Start, collector: Collector, ann: User, database: psycopg.Connection
) -> None:
    service = start(STATEMENT_TIMEOUT=0.5, LOG_LEVEL="DEBUG")
    user = with_known_token(service, ann)
    task = user.creates(FEBRUARY)
    trace_id, headers = new_trace()
    with database.transaction():
        database.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
        answer = user.put(f"/api/tasks/{task['id']}", {"title": "y"}, headers=headers)

    [request, *statements] = collector.trace(trace_id)
    assert (answer.status_code, answer.json()["code"]) == (500, "DATABASE_ERROR")
    route = "/api/tasks/{task_id}"
    assert described(request) == (
        SERVER, f"PUT {route}", http("PUT", route, 500) | {"error.type": "DATABASE_ERROR"}, True,
    )  # fmt: skip
    assert {(span.name, span.attributes["error.type"], span.has_failed) for span in statements} == {
        ("tasks/update_task", "55P03", True)
    }
    named = {"trace_id": trace_id, "span_id": request.span_id}
    [line] = service.lines_of(answer.headers["X-Request-ID"])
    [other] = [line for line in service.lines() if line["message"] == "tasks/update_task met a lock"]
    assert named.items() <= line.items()
    assert named.items() <= other.items()


def test_lines_of_the_log_outside_a_request_name_no_trace(start: Start) -> None:
    [ready, *_] = start().lines()

    assert ready["message"].startswith("ready: ")
    assert "trace_id" not in ready


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_requests_without_a_route_have_spans_without_their_paths_and_methods(
    start: Start, collector: Collector, fast_path: str
) -> None:
    service = start(FAST_PATH=fast_path)
    service.http.get("/no/such/path")
    service.http.request("BREW", "/api/tasks")
    service.raw(b"nonsense\r\n\r\n")

    wait_for(lambda: len(requests_but_live(collector)) == 3)
    assert [described(span) for span in requests_but_live(collector)] == [
        (SERVER, "GET", http("GET", None, 404), False),
        (SERVER, "HTTP", http("_OTHER", None, 405), False),
        (SERVER, "HTTP", http("_OTHER", None, 400), False),
    ]
    [line] = [line for line in service.lines() if line.get("status") == 400]
    assert (line["trace_id"], line["span_id"]) == ids(requests_but_live(collector)[-1])


def ids(span: Span) -> tuple[str, str]:
    return span.trace_id, span.span_id


def requests_but_live(collector: Collector) -> list[Span]:
    """Without those for /health/live, which the tests ask until a service is up."""
    return [span for span in collector.spans() if span.kind == SERVER and not span.name.endswith("/live")]


def test_the_span_of_a_streamed_list_ends_with_the_list(
    start: Start, collector: Collector, ann: User, database: psycopg.Connection
) -> None:
    service = start(WRITE_TIMEOUT=600)
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
    assert described(request) == (SERVER, "GET /v1/api/tasks", http("GET", "/v1/api/tasks", 200), False)
    assert len([span for span in statements if span.name == "tasks/list_tasks_after"]) > 1
    assert {span.parent_id for span in statements} == {request.span_id}


def test_the_wait_for_a_connection_is_a_span_of_the_request_that_waits(
    start: Start, collector: Collector, ann: User, bob: User, database: psycopg.Connection, database_url: str
) -> None:
    """The only connection waits for a lock, as long as the server lets it."""
    sign = "&" if "?" in database_url else "?"
    service = start(DATABASE_URL=f"{database_url}{sign}options=-c%20lock_timeout%3D0", POOL_MAX=1, STATEMENT_TIMEOUT=60)
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


def test_no_parameter_email_token_or_id_is_in_anything_that_is_sent(
    start: Start, collector: Collector, ann: User, database: psycopg.Connection
) -> None:
    service = start()
    email, marks = new_email(), [f"mark{number}-{uuid4().hex}" for number in range(9)]
    given = {"email": email, "password": marks[0]}
    user = sign_up(service.http, FEBRUARY, **given)
    for path in ("/api/auth/login", "/v1/api/auth/login", "/api/auth/signup"):
        service.http.post(path, json=given)
    service.http.post("/api/auth/login", json=given | {"password": marks[1]})
    task = user.creates(FEBRUARY, marks[2], description=marks[3], tags=[marks[4][:20]])
    user.put(f"/api/tasks/{task['id']}", {"title": marks[2], "time_zone": marks[5]})
    user.get(f"/api/tasks/{task['id']}")
    user.get("/api/tasks", params={"q": marks[6], "tag": marks[4][:20]})
    user.get(f"/{marks[7]}")
    last, headers = new_trace()
    named = dict.fromkeys(("X-Request-ID", "User-Agent", "tracestate", "baggage", "Idempotency-Key"), marks[8])
    user.post("/api/tasks", {"title": marks[2]}, headers=headers | named | {"tracestate": f"x={marks[8]}"})

    collector.trace(last)
    sent = b"".join(collector.received)
    assert b"tasks/create_task" in sent
    secrets = [email, user.id, user.token, task["id"], *marks[:4], marks[4][:20], *marks[5:], PASSWORD, "127.0.0.1"]
    assert [each for each in secrets if each.encode() in sent] == []


def test_a_fetch_of_keys_passes_the_trace_on(start: Start, collector: Collector) -> None:
    first, second = ed_key(), ed_key()
    with publishing(first.jwk) as publisher:
        service = start(AUTH_ISSUERS=publisher.url)
        wait_for(lambda: publisher.headers)
        publisher.keys.append(second.jwk)
        trace_id, headers = new_trace()
        token = {"Authorization": f"Bearer {second.sign(claims_of(publisher.url))}"}
        assert service.http.get("/api/tasks", headers=headers | token).status_code == 200

    [request, *others] = collector.trace(trace_id)
    [fetch] = [span for span in others if span.name == "fetch keys"]
    assert (fetch.kind, fetch.parent_id, fetch.has_failed) == (CLIENT, request.span_id, False)
    assert publisher.headers[-1]["traceparent"] == f"00-{trace_id}-{fetch.span_id}-01"


def test_each_worker_is_an_instance_of_the_service(start: Start, collector: Collector) -> None:
    service = start(WORKERS=2, OTEL_SERVICE_NAME="todo-test", OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=x")

    def instances() -> set[Any]:
        httpx.get(f"{service.url}/", verify=TRUST)  # on a new connection, which the system gives to one of the workers
        return {span.resource["service.instance.id"] for span in collector.spans()}

    wait_for(lambda: len(instances()) == 2)
    assert {span.resource["service.name"] for span in collector.spans()} == {"todo-test"}
    assert {span.resource["deployment.environment.name"] for span in collector.spans()} == {"x"}


def test_metrics_and_traces_see_the_same_request_and_statement(start: Start, collector: Collector, ann: User) -> None:
    port = free_port()
    metered = Metered(start(METRICS_PORT=port), port)
    user = with_known_token(metered.service, ann)
    trace_id, headers = new_trace()

    user.get(f"/api/tasks/{uuid4()}", headers=headers)

    assert [span.name for span in collector.trace(trace_id)][:2] == ["GET /api/tasks/{task_id}", "tasks/get_task"]
    assert metered.scrape().requests()["GET", "/api/tasks/{task_id}", "404"] == 1
    assert metered.value("todo_statement_duration_seconds_count", statement="tasks/get_task") == 1


def test_a_request_whose_client_resets_the_connection_is_cancelled_and_has_not_failed(
    start: Start, collector: Collector, ann: User, database: psycopg.Connection
) -> None:
    service = start(STATEMENT_TIMEOUT=60)
    task = with_known_token(service, ann).creates(FEBRUARY)
    trace_id, headers = new_trace()
    head = (
        f"DELETE /api/tasks/{task['id']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n"
        f"traceparent: {headers['traceparent']}\r\n\r\n"
    )
    with database.transaction():
        database.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
        with connected(service) as [connection]:
            connection.sendall(head.encode())
            wait_for(lambda: [span for span in collector.spans() if span.trace_id == trace_id])  # it waits for the lock
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset at close

        [request, *_] = collector.trace(trace_id)

    attributes = http("DELETE", "/api/tasks/{task_id}", None) | {"error.type": "cancelled"}
    assert described(request) == (SERVER, "DELETE /api/tasks/{task_id}", attributes, False)
