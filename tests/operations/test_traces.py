"""The traces of real services, as a collector gets them: spans of requests and statements, links, sampling, the log."""

import re
import socket
import struct
from uuid import uuid4

import psycopg
import pytest

from service import VERSION
from tests.documents import block, section
from tests.operations.test_docs import OPERATING
from tests.otlp import (
    CLIENT,
    CLIENT_SPAN,
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
from tests.server.plain_clients import connected, with_known_token
from tests.support import FEBRUARY, PASSWORD, User, new_email, sign_up


def test_a_request_and_its_statement_are_spans_of_the_clients_trace(
    start_traced: Start, collector: Collector, ann: User
) -> None:
    user = with_known_token(start_traced(), ann)
    task = user.creates(FEBRUARY)
    trace_id, headers = new_trace()

    assert user.get(f"/api/tasks/{task['id']}", headers=headers).status_code == 200

    [request, statement] = collector.trace(trace_id)
    assert described(request) == (
        SERVER, "GET /api/tasks/{task_id}", request_attributes("GET", "/api/tasks/{task_id}", 200), False,
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


def test_the_picture_in_the_document_is_a_trace_of_the_service(
    start_traced: Start, collector: Collector, ann: User
) -> None:
    user = with_known_token(start_traced(), ann)
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


def test_each_request_of_a_connection_begins_a_trace_of_its_own(start_traced: Start, collector: Collector) -> None:
    service = start_traced()
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


def test_a_malformed_traceparent_begins_a_new_trace_and_is_no_error(start_traced: Start, collector: Collector) -> None:
    service = start_traced()
    twice = [("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")] * 2
    for headers in [*([("traceparent", given)] for given in MALFORMED.values()), twice]:
        assert service.http.get("/", headers=headers).status_code == 200

    wait_for(lambda: len([span for span in collector.spans() if span.name == "GET /"]) == len(MALFORMED) + 1)
    found = [span for span in collector.spans() if span.name == "GET /"]
    assert {span.parent_id for span in found} == {""}
    assert "a" * 32 not in {span.trace_id for span in found}
    assert {line["level"] for line in service.lines()} == {"info"}


def test_a_request_of_a_trace_that_is_not_sampled_is_not_recorded_and_its_log_line_names_the_trace(
    start_traced: Start, collector: Collector, ann: User
) -> None:
    service = start_traced()
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
    start_traced: Start, collector: Collector
) -> None:
    service = start_traced(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0")
    service.http.get("/")
    sampled, headers = new_trace()
    service.http.get("/", headers=headers)

    [request] = collector.trace(sampled)
    assert [span for span in collector.spans() if span.kind == SERVER] == [request]


def test_a_failed_statement_marks_its_request_only_if_the_answer_is_5xx(
    start_traced: Start, collector: Collector, ann: User
) -> None:
    service = start_traced()
    user = with_known_token(service, ann)
    conflict, headers = new_trace()
    service.http.post("/api/auth/signup", json={"email": ann.email, "password": PASSWORD}, headers=headers)
    missing, headers = new_trace()
    user.get(f"/api/tasks/{uuid4()}", headers=headers)

    [request, *statements] = collector.trace(conflict)
    assert described(request) == (
        SERVER, "POST /api/auth/signup", request_attributes("POST", "/api/auth/signup", 409), False,
    )  # fmt: skip
    [failed] = [span for span in statements if span.has_failed]
    error = {"db.response.status_code": "23505", "error.type": "23505"}
    assert failed.name == "accounts/create_user"
    assert error.items() <= failed.attributes.items()
    [request, *_] = collector.trace(missing)
    assert described(request)[2:] == (request_attributes("GET", "/api/tasks/{task_id}", 404), False)


def test_an_answer_of_5xx_fails_with_its_code_and_lines_of_the_log_name_the_spans(
    start_traced: Start, collector: Collector, ann: User, database: psycopg.Connection
) -> None:
    service = start_traced(STATEMENT_TIMEOUT=0.5, LOG_LEVEL="DEBUG")
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
        SERVER, f"PUT {route}", request_attributes("PUT", route, 500) | {"error.type": "DATABASE_ERROR"}, True,
    )  # fmt: skip
    assert {(span.name, span.attributes["error.type"], span.has_failed) for span in statements} == {
        ("tasks/update_task", "55P03", True)
    }
    named = {"trace_id": trace_id, "span_id": request.span_id}
    [line] = service.lines_of(answer.headers["X-Request-ID"])
    [other] = [line for line in service.lines() if line["message"] == "tasks/update_task met a lock"]
    assert named.items() <= line.items()
    assert named.items() <= other.items()


def test_lines_of_the_log_outside_a_request_name_no_trace(start_traced: Start) -> None:
    [ready, *_] = start_traced().lines()

    assert ready["message"].startswith("ready: ")
    assert "trace_id" not in ready


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_requests_without_a_route_have_spans_without_their_paths_and_methods(
    start_traced: Start, collector: Collector, fast_path: str
) -> None:
    service = start_traced(FAST_PATH=fast_path)
    service.http.get("/no/such/path")
    service.http.request("BREW", "/api/tasks")
    service.raw(b"nonsense\r\n\r\n")

    wait_for(lambda: len(requests_but_live(collector)) == 3)
    assert [described(span) for span in requests_but_live(collector)] == [
        (SERVER, "GET", request_attributes("GET", None, 404), False),
        (SERVER, "HTTP", request_attributes("_OTHER", None, 405), False),
        (SERVER, "HTTP", request_attributes("_OTHER", None, 400), False),
    ]
    [line] = [line for line in service.lines() if line.get("status") == 400]
    assert (line["trace_id"], line["span_id"]) == ids(requests_but_live(collector)[-1])


def ids(span: Span) -> tuple[str, str]:
    return span.trace_id, span.span_id


def requests_but_live(collector: Collector) -> list[Span]:
    """Without those for /health/live, which the tests ask until a service is up."""
    return [span for span in collector.spans() if span.kind == SERVER and not span.name.endswith("/live")]


def test_no_parameter_email_token_or_id_is_in_anything_that_is_sent(
    start_traced: Start, collector: Collector, ann: User, database: psycopg.Connection
) -> None:
    service = start_traced()
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


def test_a_request_whose_client_resets_the_connection_is_cancelled_and_has_not_failed(
    start_traced: Start, collector: Collector, ann: User, database: psycopg.Connection
) -> None:
    service = start_traced(STATEMENT_TIMEOUT=60)
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

    attributes = request_attributes("DELETE", "/api/tasks/{task_id}", None) | {"error.type": "cancelled"}
    assert described(request) == (SERVER, "DELETE /api/tasks/{task_id}", attributes, False)
