"""Traces that cannot be sent, or are off: no request, start or stop depends on them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import support
from tests.otlp import Collector, collecting
from tests.outages import wait_for
from tests.server.plain_clients import as_user_of
from tests.support import FEBRUARY, ROOT, SECRET, Service, User

SMALL_QUEUE = {"OTEL_BSP_SCHEDULE_DELAY": 50, "OTEL_BSP_MAX_QUEUE_SIZE": 20, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 10}
REQUESTS = 100


def said_of_traces(service: Service) -> list[tuple[str, str]]:
    """Level and beginning of each line about traces."""
    lines = [line for line in service.lines() if "trace" in line["message"].lower()]
    return [(line["level"], line["message"].partition(";")[0]) for line in lines]


def test_a_collector_that_hangs_delays_no_request_and_no_stop(
    start_service: Callable[..., Service], collector: Collector, ann: User
) -> None:
    """The supervisor kills a worker that takes longer to stop than it should, and says so."""
    collector.may_answer.clear()
    settings = {"OTEL_EXPORTER_OTLP_TIMEOUT": 600, "STATEMENT_TIMEOUT": 0.5, "WORKERS": 2}
    service = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **SMALL_QUEUE, **settings)
    user = as_user_of(service, ann)
    task = user.creates(FEBRUARY)
    wait_for(lambda: collector.received)

    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda _: user.get(f"/api/tasks/{task['id']}").status_code, range(REQUESTS))
        assert set(answers) == {200}

    assert service.stop() == 0
    assert not collector.may_answer.is_set()
    assert {line["level"] for line in service.lines()} == {"info"}


def test_a_collector_that_is_away_is_named_in_one_line_and_once_it_is_back_in_another(
    start_service: Callable[..., Service], ann: User
) -> None:
    port = support.free_port()
    url = f"http://127.0.0.1:{port}"
    service = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_TIMEOUT=2, **SMALL_QUEUE)
    user = as_user_of(service, ann)
    away = ("warning", f"traces: {url}/v1/traces takes no spans, they are dropped")
    back = ("info", f"traces: {url}/v1/traces takes spans again")
    for _ in range(REQUESTS):
        assert user.get("/api/tasks").status_code == 200
    wait_for(lambda: said_of_traces(service))
    with collecting(port, status=400) as collector:
        wait_for(lambda: user.get("/api/tasks").status_code == 200 and collector.attempts >= 3)
        assert said_of_traces(service) == [away]
        collector.status = 200
        wait_for(lambda: user.get("/api/tasks").status_code == 200 and len(said_of_traces(service)) > 1)
        assert collector.received

    assert said_of_traces(service) == [away, back]
    [line] = [line["message"] for line in service.lines() if line["level"] == "warning"]
    assert "Connection refused" in line
    assert service.stop() == 0


def test_the_last_spans_are_sent_at_a_stop(start_service: Callable[..., Service], collector: Collector) -> None:
    service = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY=600_000)
    service.http.get("/")

    assert service.stop() == 0

    assert [span.name for span in collector.spans() if span.name == "GET /"] == ["GET /"]


def test_without_an_endpoint_opentelemetry_is_not_loaded(start_service: Callable[..., Service]) -> None:
    service = start_service(PYTHONPROFILEIMPORTTIME=1)

    log = service.log.read_text()
    assert "| asyncpg" in log.replace("  ", "")
    assert "service.traces.tracer" in log
    assert "opentelemetry" not in log


@pytest.mark.parametrize("workers", [1, 2])
def test_an_endpoint_without_the_extra_is_one_warning_and_the_service_serves(
    start_service: Callable[..., Service], tmp_path: Path, ann: User, workers: int
) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError")
    service = start_service(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318", WORKERS=workers, PYTHONPATH=f"{tmp_path}:{ROOT}"
    )

    assert as_user_of(service, ann).get("/api/tasks").status_code == 200
    [line] = [line for line in service.lines() if line["level"] != "info"]
    assert line["message"] == (
        "OTEL_EXPORTER_OTLP_ENDPOINT: there are no traces without OpenTelemetry; "
        "python -m pip install --require-hashes -r requirements-otel.txt"
    )
    assert "trace_id" not in service.log.read_text()


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http://x/?key=hunter22"])
def test_a_start_with_an_endpoint_that_is_no_url_is_refused_with_one_line(tmp_path: Path, endpoint: str) -> None:
    given = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    done = support.command(tmp_path, BETTER_AUTH_SECRET=SECRET, **given)

    said = "OTEL_EXPORTER_OTLP_ENDPOINT: should be a URL like http://127.0.0.1:4318\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
