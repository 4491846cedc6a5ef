"""The metrics of real services: requests, several workers, the port, the table, and nothing when they are off."""

import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml

from service import VERSION
from service.app import CONTRACTS
from service.metrics.definitions import METRICS, REQUEST_DURATION
from service.openapi.document import openapi
from tests import support
from tests.documents import block, rows, section
from tests.metrics import Metered, Scrape
from tests.operations.test_docs import OPERATING
from tests.operations.test_workers import workers_of
from tests.outages import wait_for
from tests.server.plain_clients import FILL, as_user_of, connected, read_to_end
from tests.support import TRUST, Service, User

Start = Callable[..., Metered]

NO_ROUTE = ""
SERVICE_ROUTES = ("/", "/health", "/health/live", "/docs", "/docs/openapi.json")


@pytest.fixture
def start(start_service: Callable[..., Service]) -> Start:
    def start(**settings: object) -> Metered:
        port = support.free_port()
        return Metered(start_service(METRICS_PORT=port, **settings), port)

    return start


def test_each_request_is_counted_by_method_route_and_status(start: Start, ann: User) -> None:
    metered = start()
    user = as_user_of(metered.service, ann)

    task = user.post("/api/tasks", {"title": "x"}).json()
    for _ in range(3):
        user.get("/api/tasks")
    user.get(f"/api/tasks/{task['id']}")
    user.get(f"/v1/api/tasks/{task['id']}")
    user.put(f"/api/tasks/{task['id']}", {"title": ""})
    user.delete(f"/api/tasks/{task['id']}")
    user.delete(f"/api/tasks/{task['id']}")
    metered.service.http.get("/api/tasks")
    metered.service.http.options("/api/tasks")

    assert metered.scrape().requests() == {
        ("POST", "/api/tasks", "201"): 1,
        ("GET", "/api/tasks", "200"): 3,
        ("GET", "/api/tasks/{task_id}", "200"): 1,
        ("GET", "/v1/api/tasks/{task_id}", "200"): 1,
        ("PUT", "/api/tasks/{task_id}", "400"): 1,
        ("DELETE", "/api/tasks/{task_id}", "200"): 1,
        ("DELETE", "/api/tasks/{task_id}", "404"): 1,
        ("GET", "/api/tasks", "401"): 1,
        ("OPTIONS", NO_ROUTE, "204"): 1,
    }


def test_the_durations_have_the_buckets_of_opentelemetry_and_a_sum(start: Start) -> None:
    metered = start()
    metered.service.http.get("/")

    scrape = metered.scrape()
    buckets = scrape.by(f"{REQUEST_DURATION.name}_bucket", http_route="/")
    assert [le for _, _, le in buckets] == [
        "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0", "7.5", "10.0",
        "+Inf",
    ]  # fmt: skip
    assert sorted(buckets.values()) == list(buckets.values())
    assert list(buckets.values())[-1] == scrape.value(f"{REQUEST_DURATION.name}_count", http_route="/") == 1
    assert scrape.value(f"{REQUEST_DURATION.name}_sum", http_route="/") > 0


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_requests_that_no_route_has_are_counted_without_their_paths_and_methods(start: Start, fast_path: str) -> None:
    """And so no client can make the metrics grow."""
    metered = start(FAST_PATH=fast_path)
    service = metered.service
    service.http.get("/no/such/path/8b9a0c2e-5f0e-4b57-9d0a-3c1d2e4f5a6b?email=ann@example.com")
    service.http.get("/api/tasks/8b9a0c2e-5f0e-4b57-9d0a-3c1d2e4f5a6b")
    service.http.request("BREW", "/api/tasks")
    service.http.request("NONE", "/nowhere")
    service.http.request("PATCH", "/api/tasks")
    for head in (b"nonsense\r\n\r\n", b"GET /secret HTTP/1.1\r\n\r\n", b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n"):
        service.raw(head)

    scrape = metered.scrape()

    assert scrape.requests() == {
        ("GET", NO_ROUTE, "404"): 1,
        ("GET", "/api/tasks/{task_id}", "401"): 1,
        ("_OTHER", NO_ROUTE, "405"): 1,
        ("_OTHER", NO_ROUTE, "404"): 1,
        ("PATCH", NO_ROUTE, "405"): 1,
        ("_OTHER", NO_ROUTE, "400"): 2,
        ("_OTHER", NO_ROUTE, "414"): 1,
    }
    assert has_known_labels_only(scrape)


def has_known_labels_only(scrape: Scrape) -> bool:
    """No id, no address and no path of a request: each route is one of the service's own."""
    routes = {*openapi(CONTRACTS)["paths"], *SERVICE_ROUTES, NO_ROUTE}
    for sample in scrape.samples:
        for label, value in sample.labels.items():
            assert label != "http_route" or value in routes, sample
            assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}|[0-9a-f]{32}|\d+\.\d+\.\d+\.\d+|@|://|nowhere", value)
    return True


def test_a_streamed_list_is_counted_at_its_end_and_is_active_until_then(
    start: Start, ann: User, database: psycopg.Connection
) -> None:
    metered = start(WRITE_TIMEOUT=600)
    database.execute(FILL, [ann.id])
    listed = {"http_route": "/v1/api/tasks", "http_response_status_code": "200"}
    with connected(metered.service) as [connection]:
        head = (
            f"GET /v1/api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        wait_for(lambda: metered.value("http_server_active_requests") == 1)
        assert metered.value(f"{REQUEST_DURATION.name}_count", **listed) == 0

        assert b"0\r\n\r\n" in read_to_end(connection)

    wait_for(lambda: metered.value("http_server_active_requests") == 0)
    assert metered.value(f"{REQUEST_DURATION.name}_count", **listed) == 1


def test_a_streamed_list_is_counted_once_when_its_client_leaves(
    start: Start, ann: User, database: psycopg.Connection
) -> None:
    metered = start()
    database.execute(FILL, [ann.id])
    with connected(metered.service) as [connection]:
        head = f"GET /v1/api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 200"

    wait_for(lambda: metered.scrape().requests())
    assert metered.scrape().requests() == {("GET", "/v1/api/tasks", "200"): 1}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_counters_outlive_a_killed_worker_and_its_gauges_do_not(start: Start, ann: User) -> None:
    metered = start(WORKERS=2, POOL_MAX=7)
    service = metered.service
    wait_for(lambda: metered.value("todo_pool_max_connections") == 14)
    for _ in range(20):  # each on a new connection, which the system gives to one of the workers
        answer = httpx.get(f"{service.url}/api/tasks", headers={"Authorization": f"Bearer {ann.token}"}, verify=TRUST)
        assert answer.status_code == 200
    before = metered.scrape()
    assert before.requests() == {("GET", "/api/tasks", "200"): 20}
    assert before.value("todo_statement_rows_total") > 0
    seen = before

    with connected(service, 20) as connections:
        wait_for(lambda: metered.value("todo_connections") >= 20)
        for starts, place in ((3, 0), (4, -1), (5, -1)):
            os.kill(workers_of(service)[place], signal.SIGKILL)
            if starts == 5:  # after a pause of two seconds
                wait_for(partial(metered.shows, todo_pool_max_connections=7, todo_worker_starts_total=4))
            wait_for(partial(metered.shows, todo_pool_max_connections=14, todo_worker_starts_total=starts))
            scrape = metered.scrape()
            assert went_down(seen, scrape) == []
            seen = scrape
        for connection in connections:
            connection.close()
    service.http.close()

    wait_for(lambda: metered.value("todo_connections") == 0)
    assert metered.scrape().requests() == before.requests()


def went_down(before: Scrape, after: Scrape) -> list[str]:
    def counts(scrape: Scrape) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        counted = [each for each in scrape.samples if each.name.endswith(("_total", "_bucket", "_count", "_sum"))]
        return {(each.name, tuple(each.labels.items())): each.value for each in counted}

    now = counts(after)
    return [str(key) for key, value in counts(before).items() if now.get(key, -1) < value]


def test_without_metrics_port_the_library_is_not_loaded(start_service: Callable[..., Service]) -> None:
    service = start_service(PYTHONPROFILEIMPORTTIME=1)

    log = service.log.read_text()
    assert "| asyncpg" in log.replace("  ", "")
    assert "prometheus_client" not in log


def test_metrics_are_on_another_port_and_only_there(start: Start) -> None:
    metered = start()
    of_metrics = f"http://127.0.0.1:{metered.port}"

    assert metered.service.http.get("/metrics").status_code == 404
    assert httpx.get(f"{of_metrics}/metrics?x=1", verify=TRUST).status_code == 200
    assert httpx.get(f"{of_metrics}/api/tasks", verify=TRUST).status_code == 404
    refused = httpx.post(f"{of_metrics}/metrics", verify=TRUST)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")
    with socket.create_connection(("127.0.0.1", metered.port)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert read_to_end(connection).startswith(b"HTTP/1.1 400 ")
    assert listeners_of(metered.port) == {"0100007F"}


def listeners_of(port: int) -> set[str]:
    """The addresses that are listened on, as the system writes them."""
    if sys.platform != "linux":
        return {"0100007F"}
    found = set()
    for table in ("tcp", "tcp6"):
        for _, own, _, state, *_ in (line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]):
            address, _, number = own.partition(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


def test_the_text_has_the_media_type_that_a_scraper_asks_for(start: Start) -> None:
    metered = start()

    def media_type(accept: str) -> tuple[str, bool]:
        answer = httpx.get(f"http://127.0.0.1:{metered.port}/metrics", headers={"Accept": accept}, verify=TRUST)
        return answer.headers["Content-Type"].partition(";")[0], answer.text.endswith("# EOF\n")

    assert media_type("*/*") == ("text/plain", False)
    assert media_type("application/openmetrics-text;version=1.0.0") == ("application/openmetrics-text", True)


def test_clients_that_say_nothing_do_not_pile_up_on_the_port_of_metrics(start: Start) -> None:
    metered = start()
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", metered.port), 30)) for _ in range(10)]
        with socket.create_connection(("127.0.0.1", metered.port), 30) as one_too_many:
            assert read_to_end(one_too_many) == b""
        silent[0].settimeout(0)
        with pytest.raises(BlockingIOError):  # it is still open
            silent[0].recv(1)
        silent[0].close()

        wait_for(partial(metered.shows, todo_build_info=1))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_of_the_metrics_that_says_nothing_does_not_hold_up_the_stop(start: Start, workers: int) -> None:
    metered = start(WORKERS=workers)
    wait_for(partial(metered.shows, todo_worker_starts_total=workers))
    with socket.create_connection(("127.0.0.1", metered.port), 30) as silent:
        wait_for(partial(metered.shows, todo_build_info=1))
        assert metered.service.stop() == 0
        assert read_to_end(silent) == b""

    assert [line["message"] for line in metered.service.lines() if line["level"] != "info"] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PORT": 9100, "METRICS_PORT": 9100}, "METRICS_PORT: should be another port than PORT\n"),
        ({"METRICS_PORT": 0}, "METRICS_PORT: should be greater than or equal to 1\n"),
        (
            {"METRICS_PORT": 9100, "METRICS_HOST": "nowhere.invalid"},
            "METRICS_HOST: should be an address of this machine",
        ),
    ],
    ids=["the port of the API", "no port", "no address"],
)
def test_a_start_with_a_bad_setting_is_refused_with_one_line(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    given = {"PORT": support.free_port(), "DATABASE_URL": "postgresql://127.0.0.1:1/x"} | settings
    done = support.command(tmp_path, BETTER_AUTH_SECRET=support.SECRET, **given)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(said)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_start_on_a_taken_port_of_metrics_is_refused_with_one_line(tmp_path: Path, workers: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = support.command(tmp_path, PORT=support.free_port(), METRICS_PORT=port, WORKERS=workers)

    said = f"METRICS_PORT: should be a free port; {port} on 127.0.0.1: Address already in use\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_the_table_of_metrics_equals_the_code() -> None:
    assert rows(section(OPERATING, "Metrics")) == [
        f"| `{each.name}` | {each.type} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in METRICS
    ]


def test_the_shown_scrape_configuration_reads_the_port_that_the_text_sets() -> None:
    text = section(OPERATING, "Metrics")
    [job] = yaml.safe_load(block(text, "yaml"))["scrape_configs"]

    [port] = re.findall(r"METRICS_PORT=(\d+)", text)
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{port}"]}]


def test_every_metric_has_its_type_and_help_in_the_text_and_there_are_no_others(start: Start) -> None:
    scrape = start().scrape()

    assert scrape.types == {each.name: each.type for each in METRICS}
    assert all(f"# HELP {each.name} {each.help}\n" in scrape.text for each in METRICS)
    assert scrape.by("todo_build_info") == {
        (f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}", VERSION): 1
    }
    assert scrape.value("todo_worker_starts_total") == 1


def test_a_start_by_sanics_own_manager_says_that_there_are_no_metrics(database_url: str, tmp_path: Path) -> None:
    port = support.free_port()
    given = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": support.SECRET, "METRICS_PORT": port}
    service = support.start(tmp_path, "serve", "--reload", **given)
    service.wait_until_ready()

    assert "METRICS_PORT: there are no metrics with --reload" in service.log.read_text()
    assert listeners_of(port) == set()
    assert service.stop() == 0
