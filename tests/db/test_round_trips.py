"""What a request costs the database, seen on the wire: one statement, one round trip, no look-up on a hit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from service.auth.tokens import Tokens
from tests import support
from tests.db.message_counter import Wiretap
from tests.support import FEBRUARY, PASSWORD, SECRET, Contract, Service, User, new_email


def statements(number: int) -> dict[str, int]:
    """Messages of the protocol: Bind and Execute run a prepared statement, Sync asks for the answer. Parse and Query
    would be a statement that is not prepared, or one that nobody meant to send: BEGIN, RESET, a look-up."""
    return {"Bind": number, "Execute": number, "Sync": number} if number else {}


ONE_STATEMENT, TWO_STATEMENTS = statements(1), statements(2)


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


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/api/auth/signup", lambda: {"email": new_email(), "password": PASSWORD}, (201, statements(1))),
        ("GET", "/api/auth/me/export", lambda: None, (200, statements(2))),  # the user, and a page
        (
            "POST",
            "/api/auth/password",
            lambda: {"current_password": PASSWORD, "new_password": PASSWORD[::-1]},
            (200, statements(2)),
        ),
        ("POST", "/api/auth/logout", lambda: None, (204, statements(0))),
        ("POST", "/api/auth/logout-all", lambda: None, (204, statements(1))),
        ("DELETE", "/api/auth/me", lambda: {"password": PASSWORD}, (204, statements(3))),  # hash, pieces, account
    ],
)
def test_what_somebody_does_to_an_account_costs(
    wiretap: Wiretap,
    tapped: Service,
    new_user: Callable[[], User],
    method: str,
    path: str,
    body: Callable[[], object],
    expected: tuple[int, dict[str, int]],
) -> None:
    for _ in range(2):  # the first prepares the statements
        made = new_user()
        user = User(tapped.http, made.id, made.email, made.token)
        user.creates(FEBRUARY)
        found = cost(wiretap, user, method, path, body())

    assert found == expected


def test_a_limit_costs_a_statement_to_count_and_one_to_take_back(
    wiretap: Wiretap, new_user: Callable[[], User], tmp_path: Path
) -> None:
    names = ("LOGIN_FAILURES", "LOGIN_FAILURES_PER_ADDRESS", "LOGIN_FAILURES_PER_EMAIL", "SIGNUPS_PER_ADDRESS")
    limits = dict.fromkeys(names, 1000)
    settings = {"DATABASE_URL": wiretap.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MIN": 1, "POOL_MAX": 1}
    with support.running(tmp_path, **settings, **limits) as limited:
        for _ in range(2):  # the first prepares the statements
            made = new_user()
            user = User(limited.http, made.id, made.email, made.token)
            login = ("POST", "/api/auth/login", {"email": user.email, "password": PASSWORD})
            cost(wiretap, user, *login)  # makes the address known
            cost(wiretap, user, "GET", "/api/auth/me")  # over the one connection, so after that
            log_in = cost(wiretap, user, *login)
            given = {"email": new_email(), "password": PASSWORD}
            sign_up = cost(wiretap, user, "POST", "/api/auth/signup", given)

    assert (log_in, sign_up) == ((200, statements(3 + 1 + 3)), (201, statements(1 + 1)))


def test_a_failed_login_costs_as_much_from_a_known_address_as_from_any_other_and_for_no_account(
    wiretap: Wiretap, new_user: Callable[[], User], tmp_path: Path
) -> None:
    """The time of the answer would tell them apart."""
    names = ("LOGIN_FAILURES", "LOGIN_FAILURES_PER_ADDRESS", "LOGIN_FAILURES_PER_EMAIL")
    limits = dict.fromkeys(names, 1000)
    settings = {"DATABASE_URL": wiretap.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MIN": 1, "POOL_MAX": 1}
    known, strange = new_user(), new_user()
    with support.running(tmp_path, **settings, **limits) as limited:
        user = User(limited.http, known.id, known.email, known.token)
        for _ in range(2):  # the first prepares the statements, and makes the address known
            cost(wiretap, user, "POST", "/api/auth/login", {"email": known.email, "password": PASSWORD})
            cost(wiretap, user, "GET", "/api/auth/me")
        costs = [
            cost(wiretap, user, "POST", "/api/auth/login", {"email": email, "password": "wrong horse"})
            for email in (known.email, strange.email, new_email())
        ]

    assert costs == [(401, statements(3 + 1))] * 3


def test_an_address_is_made_known_by_one_statement_once(
    wiretap: Wiretap, tapped: Service, new_user: Callable[[], User]
) -> None:
    found = []
    for _ in range(2):  # the first user's prepare the statements
        made = new_user()
        user = User(tapped.http, made.id, made.email, made.token)
        user.get("/api/auth/me")
        login = {"email": user.email, "password": PASSWORD}
        before = wiretap.sent.copy()
        for _ in range(3):
            user.post("/api/auth/login", login)
            user.get("/api/auth/me")
        found = [dict(wiretap.sent - before)]

    assert found == [statements(3 * 2 + 1)]


def test_a_token_costs_one_statement_at_first_sight(wiretap: Wiretap, new: User) -> None:
    for again in (True, False):  # the first prepares the statements
        token = Tokens(SECRET, None, 2 if again else 3).issue(UUID(new.id), new.email, 0)
        user = User(new.http, new.id, new.email, token)
        first, second = (cost(wiretap, user, "GET", "/api/auth/me") for _ in range(2))

    assert (first, second) == ((200, TWO_STATEMENTS), (200, ONE_STATEMENT))


def test_health_looks_at_the_server_and_at_the_tasks(wiretap: Wiretap, user: User) -> None:
    cost(wiretap, user, "GET", "/health")

    assert cost(wiretap, user, "GET", "/health") == (200, TWO_STATEMENTS)


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
