"""What a request costs the database, seen on the wire: one statement, one round trip, no look-up on a hit."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from service.auth.tokens import Tokens
from tests import support
from tests.support import PASSWORD, SECRET, Contract, Service, User, free_port, new_email

# Frontend messages of the protocol: Bind and Execute run a prepared statement, Sync asks for the answer. Parse and
# Query would be a statement that is not prepared, or one that nobody meant to send: BEGIN, RESET, a look-up.
ONE_STATEMENT = {"Bind": 1, "Execute": 1, "Sync": 1}
TWO_STATEMENTS = {"Bind": 2, "Execute": 2, "Sync": 2}
NAMES = {b"B": "Bind", b"E": "Execute", b"S": "Sync", b"P": "Parse", b"D": "Describe", b"Q": "Query", b"C": "Close"}


class Wiretap:
    """Stands between the service and the server, and counts what the service sends."""

    def __init__(self, server_url: str) -> None:
        self.server = urlsplit(server_url)
        self.sent: Counter[str] = Counter()
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self) -> str:
        user = self.server.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.port}{self.server.path}?sslmode=disable"

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                service, _ = self.listener.accept()
                server = self.connect()
                for source, target, parse in ((service, server, True), (server, service, False)):
                    threading.Thread(target=self.pass_on, args=[source, target, parse], daemon=True).start()

    def connect(self) -> socket.socket:
        [directory] = parse_qs(self.server.query).get("host", [""])
        if directory:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(f"{directory}/.s.PGSQL.{self.server.port or 5432}")
            return connection
        return socket.create_connection((self.server.hostname or "127.0.0.1", self.server.port or 5432))

    def pass_on(self, source: socket.socket, target: socket.socket, parse: bool) -> None:
        with suppress(OSError), source, target:
            buffer, started = b"", False
            while received := source.recv(65536):
                buffer += received if parse else b""
                while message := self.first_message(buffer, started):
                    if started:
                        self.sent[NAMES.get(message[:1], repr(message[:1]))] += 1
                    buffer, started = buffer[len(message) :], True
                target.sendall(received)  # counted first, or the answer could overtake the count
            for end in (target, source):
                end.shutdown(socket.SHUT_RDWR)  # the other thread is still waiting for it

    @staticmethod
    def first_message(buffer: bytes, started: bool) -> bytes:
        """A message is a type and a length; the first of a connection has no type."""
        skipped = 1 if started else 0
        if len(buffer) < skipped + 4:
            return b""
        length = skipped + int.from_bytes(buffer[skipped : skipped + 4], "big")
        return buffer[:length] if len(buffer) >= length else b""

    def close(self) -> None:
        self.listener.close()


@pytest.fixture(scope="module")
def wiretap(database_url: str) -> Iterator[Wiretap]:
    tap = Wiretap(database_url)
    yield tap
    tap.close()


@pytest.fixture(scope="module")
def tapped(wiretap: Wiretap, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("tapped")
    settings = {"DATABASE_URL": wiretap.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MIN": 1, "POOL_MAX": 1}
    with support.running(directory, TOKEN_RECHECK=300, **settings) as service:
        yield service


@pytest.fixture
def new(tapped: Service, ann: User) -> User:
    """Whose token the service has not seen yet."""
    return User(tapped.http, ann.id, ann.email, ann.token)


@pytest.fixture
def user(new: User) -> User:
    """Whose token was checked a moment ago."""
    new.get("/api/auth/me")
    return new


def cost(wiretap: Wiretap, user: User, method: str, path: str, body: object = None) -> tuple[int, dict[str, int]]:
    before = wiretap.sent.copy()
    answer = user.request(method, path, json=body)
    return answer.status_code, dict(wiretap.sent - before)


def test_a_hit_is_one_statement(wiretap: Wiretap, user: User, contract: Contract) -> None:
    tasks = f"{contract.prefix}/tasks"
    task = f"{tasks}/{user.creates(contract)['id']}"
    given = {"email": user.email, "password": PASSWORD}
    requests: list[tuple[str, str, object]] = [
        ("GET", tasks, None),
        ("POST", tasks, {"title": "x"}),
        ("GET", task, None),
        ("PUT", task, {contract.flag: True}),
        ("POST", f"{contract.prefix}/auth/login", given),
        ("GET", "/api/auth/me", None),
        ("GET", "/health", None),
    ]
    if contract.name == "january":
        requests.append(("PUT", task, {}))
    for request in requests:
        cost(wiretap, user, *request)  # prepares the statement, once for each connection

    for request in requests:
        status, sent = cost(wiretap, user, *request)
        assert (request, status // 100, sent) == (request, 2, ONE_STATEMENT)

    gone = f"{tasks}/{user.creates(contract)['id']}"
    for path in (task, gone):
        cost_of_delete = cost(wiretap, user, "DELETE", path)
    assert cost_of_delete[1] == ONE_STATEMENT


def test_a_token_costs_one_statement_at_first_sight(wiretap: Wiretap, new: User) -> None:
    for again in (True, False):  # the first prepares the statements
        token = Tokens(SECRET, None, 2 if again else 3).issue(UUID(new.id), new.email, 0)
        user = User(new.http, new.id, new.email, token)
        first, second = (cost(wiretap, user, "GET", "/api/auth/me") for _ in range(2))

    assert (first, second) == ((200, TWO_STATEMENTS), (200, ONE_STATEMENT))


def test_a_miss_asks_once_more_whether_the_user_exists(wiretap: Wiretap, user: User, contract: Contract) -> None:
    tasks = f"{contract.prefix}/tasks"
    missing = f"{tasks}/00000000-0000-4000-8000-000000000000"
    for method, path, status, expected in (
        ("GET", tasks, 200, TWO_STATEMENTS),
        ("GET", missing, 404, TWO_STATEMENTS),
        ("DELETE", missing, 404, TWO_STATEMENTS),
        ("GET", f"{tasks}/no-id", 404, ONE_STATEMENT),
    ):
        cost(wiretap, user, method, path)
        assert (path, *cost(wiretap, user, method, path)) == (path, status, expected)


def test_what_is_refused_before_the_statement_costs_the_database_nothing(
    wiretap: Wiretap, user: User, contract: Contract
) -> None:
    stranger = User(user.http, user.id, user.email, "nonsense")

    assert cost(wiretap, stranger, "GET", f"{contract.prefix}/tasks") == (401, {})
    assert cost(wiretap, user, "POST", f"{contract.prefix}/tasks", {"title": ""}) == (400, {})
    signup = {"email": new_email(), "password": "short"}
    assert cost(wiretap, user, "POST", f"{contract.prefix}/auth/signup", signup) == (400, {})
