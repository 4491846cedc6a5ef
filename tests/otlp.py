"""A collector of traces: it takes OTLP over HTTP, as a real one does, and keeps what it gets."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.outages import wait_for
from tests.support import Service

PATH = "/v1/traces"
INTERNAL, SERVER, CLIENT = (
    trace_pb2.Span.SPAN_KIND_INTERNAL,
    trace_pb2.Span.SPAN_KIND_SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT,
)

# Attributes of the spans of tasks/get_task.
QUERY = {"db.query.summary": "tasks/get_task"}
STATEMENT = QUERY | {"db.system.name": "postgresql", "db.operation.name": "SELECT"}

Attributes = Mapping[str, str | int]
Start = Callable[..., Service]


@dataclass(frozen=True)
class Span:
    trace_id: str
    span_id: str
    parent_id: str  # "" for the first of a trace
    kind: int
    name: str
    attributes: Attributes
    events: list[tuple[str, Attributes]]
    links: list[tuple[str, str]]  # trace and span
    has_failed: bool
    resource: Attributes


@dataclass
class Collector:
    url: str = ""
    attempts: int = 0
    received: list[bytes] = field(default_factory=list)  # what was taken
    status: int = 200
    may_answer: threading.Event = field(default_factory=threading.Event)

    def spans(self) -> list[Span]:
        """In the order of their ends."""
        return [span for body in list(self.received) for span in spans_of(body)]

    def trace(self, trace_id: str) -> list[Span]:
        """Once its server span has arrived, which ends after its children: that one first, then the children."""
        wait_for(lambda: any(span.trace_id == trace_id and span.kind == SERVER for span in self.spans()))
        found = [span for span in self.spans() if span.trace_id == trace_id]
        return sorted(found, key=lambda span: span.kind != SERVER)


def spans_of(body: bytes) -> Iterator[Span]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = values(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.name,
                    values(span.attributes),
                    [(event.name, values(event.attributes)) for event in span.events],
                    [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    resource,
                )


def values(attributes: Any) -> Attributes:
    def value(each: KeyValue) -> str | int:
        return each.value.string_value if each.value.HasField("string_value") else each.value.int_value

    return {each.key: value(each) for each in attributes}


def described(span: Span) -> tuple[int, str, object, bool]:
    return span.kind, span.name, span.attributes, span.has_failed


def request_attributes(method: str, route: str | None, status: int | None) -> dict[str, str | int]:
    """The attributes of a request's span."""
    found: dict[str, str | int] = {"http.request.method": method, "url.scheme": "http"}
    found |= {} if status is None else {"http.response.status_code": status}
    return found | ({} if route is None else {"http.route": route, "url.path": route})


@contextmanager
def collecting(port: int = 0, *, status: int = 200) -> Iterator[Collector]:
    collector = Collector(status=status)
    collector.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.attempts += 1
            status = collector.status if self.path == PATH else 404
            if status == 200:
                collector.received.append(body)
            collector.may_answer.wait()
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield collector
        finally:
            collector.may_answer.set()
            server.shutdown()
            thread.join()


def new_trace(*, is_sampled: bool = True) -> tuple[str, dict[str, str]]:
    """The id of a trace that a client has begun, and the header that names it."""
    trace_id = uuid4().hex
    return trace_id, {"traceparent": f"00-{trace_id}-{'c1' * 8}-0{int(is_sampled)}"}


CLIENT_SPAN = "c1" * 8
