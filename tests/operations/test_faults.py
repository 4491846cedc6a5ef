"""Answers while a lower layer fails: the contract's error, the reason in the log, and recovery."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from sanic import HTTPResponse
from sanic_testing.reusable import ReusableClient

from service.db import migrations
from service.domain.users import GET_USER
from service.http.request import Request
from service.server.sanic_app import ServerApp
from tests import databases, support
from tests.databases import Urls
from tests.outages import DATABASE_ERROR, UNHEALTHY, check_every_answer_is_an_error, is_waiting_for_a_lock, wait_for
from tests.support import FEBRUARY, PASSWORD, ROOT, SECRET, Contract, Service, User, new_email, sign_up

OVERLOADED = {"error": "The service is busy, try again shortly", "code": "OVERLOADED"}


def as_user_of(service: Service, user: User) -> User:
    return User(service.http, user.id, user.email, user.token)


def test_an_unexpected_exception_is_an_internal_error_with_its_trace_only_in_the_log(
    capfd: pytest.CaptureFixture[str], make_app: Callable[[], ServerApp]
) -> None:
    app = make_app()
    message = b"the password was " + b"hunter" + b"22"

    async def broken(_: Request) -> HTTPResponse:
        raise UnicodeDecodeError("utf-8", message, 0, 1, "")

    app.add_route(broken, "/api/broken")
    with ReusableClient(app, port=support.free_port()) as client:
        _, answer = client.get("/api/broken", headers={"X-Request-ID": "broken-1", "Origin": "http://localhost:3000"})

    assert answer is not None
    assert (answer.status, answer.json) == (
        500,
        {"error": "An internal server error occurred", "code": "INTERNAL_ERROR"},
    )
    assert answer.headers["X-Request-ID"] == "broken-1"
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    logged = capfd.readouterr().out
    assert logged.count('"request_id":"broken-1"') == logged.count("in broken") == 1
    assert "UnicodeDecodeError" in logged
    assert "test_faults.py" in logged
    assert "hunter22" not in logged


def test_a_call_with_a_wrong_parameter_is_an_internal_error_and_the_log_names_file_and_parameters(
    capfd: pytest.CaptureFixture[str], make_app: Callable[[], ServerApp]
) -> None:
    app = make_app()

    async def wrong(request: Request) -> HTTPResponse:
        await request.app.ctx.database.one(GET_USER, email=f"{'hunter'}22")
        raise AssertionError

    app.add_route(wrong, "/api/wrong")
    with ReusableClient(app, port=support.free_port()) as client:
        _, answer = client.get("/api/wrong")

    assert answer is not None
    assert (answer.status, answer.json) == (
        500,
        {"error": "An internal server error occurred", "code": "INTERNAL_ERROR"},
    )
    logged = capfd.readouterr().out
    assert logged.count("StatementCallError: sql/accounts/get_user.sql takes user_id, not email") == 1
    assert "hunter22" not in logged


def test_a_handler_that_returns_none_is_an_internal_error(make_app: Callable[[], ServerApp]) -> None:
    app = make_app()

    async def returns_none(_: Request) -> None:
        pass

    app.add_route(returns_none, "/api/returns_none")
    with ReusableClient(app, port=support.free_port()) as client:
        _, answer = client.get("/api/returns_none")

    assert answer is not None
    assert (answer.status, answer.json) == (
        500,
        {"error": "An internal server error occurred", "code": "INTERNAL_ERROR"},
    )


def test_a_failing_response_middleware_does_not_change_the_answer(
    capfd: pytest.CaptureFixture[str], make_app: Callable[[], ServerApp]
) -> None:
    app = make_app()

    async def created(_: Request) -> HTTPResponse:
        return HTTPResponse("it has happened", 201)

    def broken(_: Request, __: HTTPResponse) -> None:
        raise OverflowError

    app.add_route(created, "/api/created")
    app.on_response(broken)
    with ReusableClient(app, port=support.free_port()) as client:
        _, answer = client.get("/api/created")

    assert answer is not None
    assert (answer.status, answer.text) == (201, "it has happened")
    logged = capfd.readouterr().out
    assert logged.count("Exception occurred in one of response middleware handlers") == logged.count("in broken") == 1


@pytest.fixture
def locked_tasks(urls: Urls) -> Iterator[psycopg.Connection]:
    """Holds a lock on all tasks while this connection is open."""
    with psycopg.connect(urls.admin) as connection:
        connection.execute("LOCK TABLE tasks")
        yield connection


def test_a_statement_beyond_statement_timeout_is_a_database_error(
    start_service: Callable[..., Service],
    ann: User,
    contract: Contract,
    locked_tasks: psycopg.Connection,
    urls: Urls,
) -> None:
    service = start_service(DATABASE_URL=databases.patient(urls.runtime), STATEMENT_TIMEOUT=2)
    user = as_user_of(service, ann)

    answer = user.get(f"{contract.prefix}/tasks", headers={"X-Request-ID": "late"})

    assert (answer.status_code, answer.json()) == (500, DATABASE_ERROR)
    assert [line["reason"] for line in service.lines_of("late")] == ["TimeoutError"]
    locked_tasks.rollback()
    assert user.get(f"{contract.prefix}/tasks").json() == contract.list_of()


def test_a_request_without_a_connection_in_time_returns_503_with_retry_after(
    start_service: Callable[..., Service],
    ann: User,
    contract: Contract,
    locked_tasks: psycopg.Connection,
    urls: Urls,
    database: psycopg.Connection,
) -> None:
    service = start_service(
        DATABASE_URL=databases.patient(urls.runtime), POOL_MAX=1, POOL_TIMEOUT=1.5, STATEMENT_TIMEOUT=60
    )
    user = as_user_of(service, ann)

    with ThreadPoolExecutor(4) as threads:
        holds_it = threads.submit(user.get, f"{contract.prefix}/tasks")
        wait_for(lambda: is_waiting_for_a_lock(database))
        refused = list(threads.map(lambda _: user.get(f"{contract.prefix}/tasks"), range(3)))
        locked_tasks.rollback()

        for answer in refused:
            assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (503, OVERLOADED, "1")
        assert holds_it.result().json() == contract.list_of()
    assert user.get(f"{contract.prefix}/tasks").json() == contract.list_of()


def test_a_login_that_waits_too_long_for_hashing_returns_503_and_later_ones_succeed(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service(POOL_TIMEOUT=1, HASH_THREADS=1)
    slow_email = new_email()  # two hashes of cost 15 exceed POOL_TIMEOUT on any machine
    database.execute("INSERT INTO users (email, password_hash) VALUES (%s, %s)", [slow_email, "$2b$15$" + "." * 53])

    def log_in(email: str) -> httpx.Response:
        return service.http.post("/api/auth/login", json={"email": email, "password": PASSWORD})

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(log_in, [slow_email] * 4))
    assert {answer.status_code for answer in answers} - {401} == {503}
    for refused in (answer for answer in answers if answer.status_code == 503):
        assert (refused.json(), refused.headers["Retry-After"]) == (OVERLOADED, "1")
    deadline = time.monotonic() + 60
    while (answer := log_in(ann.email)).status_code == 503:  # until the only hashing thread is free
        assert time.monotonic() < deadline
    assert answer.status_code == 200


ENDLESS_HASH = """
import time
from pathlib import Path
import bcrypt
hashpw = bcrypt.hashpw
def wait_and_hash(password, salt):
    if password != b"nobody":  # hashed once at the start
        Path("hashing").touch()
        while not Path("go on").exists():
            time.sleep(0.05)
    return hashpw(password, salt)
bcrypt.hashpw = wait_and_hash
"""


def test_other_requests_are_served_while_a_password_is_hashed(
    start_service: Callable[..., Service], ann: User, tmp_path: Path
) -> None:
    (tmp_path / "endless").mkdir()
    (tmp_path / "endless" / "sitecustomize.py").write_text(ENDLESS_HASH)
    service = start_service(PYTHONPATH=f"{tmp_path / 'endless'}:{ROOT}")
    given = {"email": new_email(), "password": PASSWORD}

    with ThreadPoolExecutor(1) as threads:
        signs_up = threads.submit(httpx.post, f"{service.url}/api/auth/signup", json=given, timeout=60)
        try:
            wait_for((tmp_path / "hashing").exists)
            read = as_user_of(service, ann).get("/api/tasks", timeout=20)  # less than the timeout of the sign-up
        finally:
            (tmp_path / "go on").touch()

    assert (read.status_code, signs_up.result().status_code) == (200, 201)


def test_terminated_database_connections_are_replaced(own_database: Urls, tmp_path: Path) -> None:
    with support.running(tmp_path, DATABASE_URL=own_database.runtime, BETTER_AUTH_SECRET=SECRET) as service:
        user = sign_up(service.http)
        with psycopg.connect(own_database.admin, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        statuses = [user.get("/api/tasks").status_code for _ in range(5)]

    assert set(statuses) <= {200, 500}
    assert statuses[1:] == [200] * 4


def test_every_answer_is_an_error_while_the_database_is_away_and_the_service_recovers(
    server_url: str, own_database: Urls, tmp_path: Path
) -> None:
    name = databases.name_of(own_database.admin)
    with support.running(tmp_path, DATABASE_URL=own_database.runtime, BETTER_AUTH_SECRET=SECRET) as service:
        user = sign_up(service.http)
        task = user.post("/api/tasks", {"title": "x"}).json()
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        check_every_answer_is_an_error(service, user, task)
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        assert service.http.get("/health").json() == {"status": "healthy"}
        assert user.get("/api/tasks").json() == FEBRUARY.list_of(task)


def test_health_returns_503_when_the_schema_falls_behind(own_database: Urls, tmp_path: Path) -> None:
    with support.running(tmp_path, DATABASE_URL=own_database.runtime, BETTER_AUTH_SECRET=SECRET) as service:
        assert service.http.get("/health").json() == {"status": "healthy"}

        migrations.roll_back(own_database.owner)

        answer = service.http.get("/health", headers={"X-Request-ID": "behind"})
        assert (answer.status_code, answer.json()) == (503, UNHEALTHY)
        assert [line["reason"] for line in service.lines_of("behind")] == ["the schema is behind"]
