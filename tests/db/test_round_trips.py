"""Statements and round trips of each request, counted on the wire: one of each where the row is found."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from service.auth.tokens import Tokens
from service.domain.tasks import LIST_LIMIT
from service.http.json_stream import MAX_PAGE_ROWS
from tests import support
from tests.db.message_counter import MessageCounter
from tests.support import FEBRUARY, PASSWORD, SECRET, Contract, Service, User, new_email


def statements(number: int) -> dict[str, int]:
    """Messages of the protocol: Bind and Execute run a prepared statement, Sync asks for the answer. Parse and Query
    would be a statement that is not prepared, or an unwanted one: BEGIN, RESET, a look-up."""
    return {"Bind": number, "Execute": number, "Sync": number} if number else {}


ONE_STATEMENT, TWO_STATEMENTS = statements(1), statements(2)


@pytest.fixture(scope="module")
def message_counter(database_url: str) -> Iterator[MessageCounter]:
    counter = MessageCounter(database_url)
    yield counter
    counter.close()


@pytest.fixture(scope="module")
def counted_service(message_counter: MessageCounter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("counted_service")
    settings = {"DATABASE_URL": message_counter.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MIN": 1, "POOL_MAX": 1}
    with support.running(directory, TOKEN_RECHECK=300, **settings) as service:
        yield service


@pytest.fixture
def new(counted_service: Service, ann: User) -> User:
    """A user whose token the service has not seen yet."""
    return User(counted_service.http, ann.id, ann.email, ann.token)


@pytest.fixture
def user(new: User) -> User:
    """A user whose token has just been checked."""
    new.get("/api/auth/me")
    return new


def cost(
    message_counter: MessageCounter, user: User, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, int]]:
    before = message_counter.sent.copy()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = user.request(method, path, json=body, headers=named)
    return answer.status_code, dict(message_counter.sent - before)


def test_a_request_that_finds_its_row_costs_one_statement(
    message_counter: MessageCounter, user: User, contract: Contract
) -> None:
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
        cost(message_counter, user, *request)  # prepares the statement, once for each connection

    for request in requests:
        status, sent = cost(message_counter, user, *request)
        assert (request, status // 100, sent) == (request, 2, ONE_STATEMENT)

    gone = f"{tasks}/{user.creates(contract)['id']}"
    for path in (task, gone):
        cost_of_delete = cost(message_counter, user, "DELETE", path)
    assert cost_of_delete[1] == ONE_STATEMENT


def test_two_tags_or_more_cost_a_second_statement(message_counter: MessageCounter, user: User) -> None:
    task = f"/api/tasks/{user.creates(FEBRUARY)['id']}"
    plan = {"title": "x", "due_on": "2026-12-24", "due_time": "09:30", "time_zone": "UTC", "priority": "low"}
    for number, expected in ((0, ONE_STATEMENT), (1, ONE_STATEMENT), (2, TWO_STATEMENTS), (20, TWO_STATEMENTS)):
        sent = plan | {"tags": [f"tag {n}" for n in range(number)]}
        for request in (("POST", "/api/tasks", sent), ("PUT", task, sent)):
            cost(message_counter, user, *request)  # prepares the statements
            status, messages = cost(message_counter, user, *request)
            assert (number, status // 100, messages) == (number, 2, expected)


def transaction(number: int) -> dict[str, int]:
    """BEGIN, COMMIT, and as many statements between them."""
    return statements(number) | {"Query": 2}


@pytest.mark.parametrize("number", [1, 100])
def test_a_batch_costs_two_statements_in_a_transaction_and_a_key_two_more(
    message_counter: MessageCounter, user: User, number: int
) -> None:
    body = {"operations": [{"op": "create", "title": "x", "tags": ["a", "A", "b"]} for _ in range(number)]}
    for path, given in (("/api/tasks/batch", body), ("/api/tasks", {"title": "x"})):
        for _ in range(2):  # the first prepares the statements
            key = {"Idempotency_Key": str(uuid4())}
            with_a_key = cost(message_counter, user, "POST", path, given, **key)
            replayed = cost(message_counter, user, "POST", path, given, **key)
        assert (path, with_a_key[0] // 100, with_a_key[1]) == (path, 2, transaction(4))
        assert (path, replayed[0] // 100, replayed[1]) == (path, 2, transaction(2))
    assert cost(message_counter, user, "POST", "/api/tasks/batch", body) == (200, transaction(2))


WRITES_IN_A_TRANSACTION: list[tuple[str, Callable[[], str], object, dict[str, str], int]] = [
    ("POST", lambda: "/api/tasks/batch", {"operations": [{"op": "create", "title": "x"}]}, {}, 2),
    ("POST", lambda: "/api/tasks", {"title": "x"}, {"Idempotency_Key": "a"}, 4),
    ("PUT", lambda: f"/api/tasks/{uuid4()}", {"title": "x"}, {"If_None_Match": "*"}, 3),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "number"), WRITES_IN_A_TRANSACTION)
def test_the_first_task_of_a_user_costs_two_statements_more_in_the_same_transaction(
    message_counter: MessageCounter,
    counted_service: Service,
    new_user: Callable[[], User],
    method: str,
    path: Callable[[], str],
    body: object,
    headers: dict[str, str],
    number: int,
) -> None:
    """The tasks are counted, and it is tried again."""
    for _ in range(2):  # the first prepares the statements
        user = known_to(counted_service, new_user())
        status, first = cost(message_counter, user, method, path(), body, **headers)

    assert (status // 100, first) == (2, transaction(number + 2))


@pytest.mark.parametrize(("method", "path", "body", "headers", "number"), WRITES_IN_A_TRANSACTION)
def test_a_user_with_too_many_tasks_costs_one_statement_more(
    message_counter: MessageCounter,
    counted_service: Service,
    new_user: Callable[[], User],
    database: psycopg.Connection,
    method: str,
    path: Callable[[], str],
    body: object,
    headers: dict[str, str],
    number: int,
) -> None:
    """They were counted within the last minute. No answer is kept."""
    kept = 1 if "Idempotency_Key" in headers else 0
    user = known_to(counted_service, new_user())
    user.creates(FEBRUARY)
    database.execute("UPDATE task_counters SET task_count = 10000 WHERE user_id = %s", [user.id])
    for _ in range(2):  # the first prepares the statements
        refused = cost(message_counter, user, method, path(), body, **headers)

    assert refused == (409, transaction(number + 1 - kept))


def known_to(service: Service, made: User) -> User:
    """A user whose token the service has just checked."""
    user = User(service.http, made.id, made.email, made.token)
    user.get("/api/auth/me")
    return user


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"op": "update", "title": "x", "version": 0}, 412),
        ({"op": "delete", "version": 0}, 412),
        ({"op": "update", "due_time": "09:30"}, 400),
    ],
)
def test_a_batch_that_is_refused_costs_no_more(
    message_counter: MessageCounter, user: User, operation: dict[str, object], status: int
) -> None:
    task = user.creates(FEBRUARY)
    body = {"operations": [{"id": task["id"]} | operation]}
    for _ in range(2):  # the first prepares the statements
        refused = cost(message_counter, user, "POST", "/api/tasks/batch", body)

    assert refused == (status, transaction(2))


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
        # The password hash, the tasks, the account.
        ("DELETE", "/api/auth/me", lambda: {"password": PASSWORD}, (204, statements(3))),
    ],
)
def test_a_request_about_an_account_costs_the_expected_statements(
    message_counter: MessageCounter,
    counted_service: Service,
    new_user: Callable[[], User],
    method: str,
    path: str,
    body: Callable[[], object],
    expected: tuple[int, dict[str, int]],
) -> None:
    for _ in range(2):  # the first prepares the statements
        made = new_user()
        user = User(counted_service.http, made.id, made.email, made.token)
        user.creates(FEBRUARY)
        found = cost(message_counter, user, method, path, body())

    assert found == expected


def test_a_rate_limit_costs_one_statement_to_count_and_one_to_take_back(
    message_counter: MessageCounter, new_user: Callable[[], User], tmp_path: Path
) -> None:
    names = ("LOGIN_FAILURES", "LOGIN_FAILURES_PER_ADDRESS", "LOGIN_FAILURES_PER_EMAIL", "SIGNUPS_PER_ADDRESS")
    limits = dict.fromkeys(names, 1000)
    settings = {"DATABASE_URL": message_counter.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MIN": 1, "POOL_MAX": 1}
    with support.running(tmp_path, **settings, **limits) as limited:
        for _ in range(2):  # the first prepares the statements
            made = new_user()
            user = User(limited.http, made.id, made.email, made.token)
            login = ("POST", "/api/auth/login", {"email": user.email, "password": PASSWORD})
            cost(message_counter, user, *login)  # makes the address known
            # With one connection, this returns after the last statement of the login.
            cost(message_counter, user, "GET", "/api/auth/me")
            log_in = cost(message_counter, user, *login)
            given = {"email": new_email(), "password": PASSWORD}
            sign_up = cost(message_counter, user, "POST", "/api/auth/signup", given)

    assert (log_in, sign_up) == ((200, statements(3 + 1 + 3)), (201, statements(1 + 1)))


def test_a_failed_login_costs_the_same_with_and_without_a_known_address_or_an_account(
    message_counter: MessageCounter, new_user: Callable[[], User], tmp_path: Path
) -> None:
    """Otherwise the time of the answer would tell them apart."""
    names = ("LOGIN_FAILURES", "LOGIN_FAILURES_PER_ADDRESS", "LOGIN_FAILURES_PER_EMAIL")
    limits = dict.fromkeys(names, 1000)
    settings = {"DATABASE_URL": message_counter.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MIN": 1, "POOL_MAX": 1}
    known, strange = new_user(), new_user()
    with support.running(tmp_path, **settings, **limits) as limited:
        user = User(limited.http, known.id, known.email, known.token)
        for _ in range(2):  # the first prepares the statements, and makes the address known
            cost(message_counter, user, "POST", "/api/auth/login", {"email": known.email, "password": PASSWORD})
            cost(message_counter, user, "GET", "/api/auth/me")
        costs = [
            cost(message_counter, user, "POST", "/api/auth/login", {"email": email, "password": "wrong horse"})
            for email in (known.email, strange.email, new_email())
        ]

    assert costs == [(401, statements(3 + 1))] * 3


def test_the_first_login_from_an_address_costs_one_more_statement(
    message_counter: MessageCounter, counted_service: Service, new_user: Callable[[], User]
) -> None:
    found = []
    for _ in range(2):  # the first user's requests prepare the statements
        made = new_user()
        user = User(counted_service.http, made.id, made.email, made.token)
        user.get("/api/auth/me")
        login = {"email": user.email, "password": PASSWORD}
        before = message_counter.sent.copy()
        for _ in range(3):
            user.post("/api/auth/login", login)
            user.get("/api/auth/me")
        found = [dict(message_counter.sent - before)]

    assert found == [statements(3 * 2 + 1)]


def test_the_first_request_of_a_token_costs_one_more_statement(message_counter: MessageCounter, new: User) -> None:
    for again in (True, False):  # the first prepares the statements
        token = Tokens(SECRET, None, 2 if again else 3).issue(UUID(new.id), new.email, 0)
        user = User(new.http, new.id, new.email, token)
        first, second = (cost(message_counter, user, "GET", "/api/auth/me") for _ in range(2))

    assert (first, second) == ((200, TWO_STATEMENTS), (200, ONE_STATEMENT))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", 1),
        ("?limit=1", 1),
        ("?limit=249&sort=due_on", 1),
        # Nothing is found: the number of the list, and the user, before the page that is sent.
        ("?q=milk&tag=home&sort=-priority", 3),
        ("?limit=2&is_completed=false", 1),
    ],
)
def test_a_page_costs_one_statement(message_counter: MessageCounter, user: User, query: str, expected: int) -> None:
    for _ in range(3):
        user.creates(FEBRUARY)
    for _ in range(2):  # the first prepares the statements
        found = cost(message_counter, user, "GET", f"/api/tasks{query}")

    assert found == (200, statements(expected))


def test_the_head_of_a_long_page_costs_two_statements_and_each_piece_one(
    message_counter: MessageCounter, user: User, database: psycopg.Connection
) -> None:
    """The first tasks, and the positions of the others: then the next cursor is known, before anything is sent."""
    fill = "INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, 1001)"
    database.execute(fill, [user.id])
    for _ in range(2):  # the first prepares the statements
        head = cost(message_counter, user, "HEAD", "/api/tasks?sort=due_on")
        whole = cost(message_counter, user, "GET", "/api/tasks?sort=due_on")

    assert head == (200, statements(2))
    assert whole == (200, statements(2 + (LIST_LIMIT - MAX_PAGE_ROWS) // MAX_PAGE_ROWS))


def test_a_conditional_request_costs_what_it_has_to_find_out(message_counter: MessageCounter, user: User) -> None:
    """A client without news costs one statement. So does a write to the expected version; on another one, the task is
    read for the answer."""
    task = f"/api/tasks/{user.creates(FEBRUARY)['id']}"
    changes = "/api/changes?cursor=" + user.get("/api/changes").json()["cursor"]
    missing = "/api/tasks/00000000-0000-4000-8000-000000000000"
    title = {"title": "x"}
    for method, path, body, headers, expected in (
        ("GET", task, None, {"If_None_Match": '"1"'}, (304, ONE_STATEMENT)),
        ("GET", "/api/tasks", None, {"If_None_Match": 'W/"1"'}, (304, ONE_STATEMENT)),
        ("GET", "/api/tasks?q=water", None, {"If_None_Match": 'W/"1"'}, (304, ONE_STATEMENT)),
        ("GET", "/api/tasks", None, {"If_None_Match": 'W/"0"'}, (200, TWO_STATEMENTS)),
        ("GET", changes, None, {"If_None_Match": 'W/"1"'}, (304, ONE_STATEMENT)),
        ("GET", changes, None, {}, (200, ONE_STATEMENT)),
        ("GET", "/api/changes", None, {}, (200, statements(3))),  # the number, the tasks, the deletions
        ("PUT", task, title, {"If_Match": '"0"'}, (412, TWO_STATEMENTS)),
        ("DELETE", task, None, {"If_Match": '"0"'}, (412, TWO_STATEMENTS)),
        ("PUT", missing, title, {"If_Match": '"0"'}, (404, statements(3))),
        ("PUT", task, title, {"If_Match": '"1", "2", "3"'}, (200, ONE_STATEMENT)),
    ):
        # The first prepares the statements. The last one is a write: both times to an expected version.
        for _ in range(2):
            found = cost(message_counter, user, method, path, body, **headers)
        assert (method, path, headers, found) == (method, path, headers, expected)
    for _ in range(2):
        version = user.get(task).headers["ETag"]
        deleted = cost(message_counter, user, "DELETE", task, None, If_Match=version)
        task = f"/api/tasks/{user.creates(FEBRUARY)['id']}"
    assert deleted == (200, ONE_STATEMENT)


def test_a_create_under_an_own_id_is_a_transaction_of_three_statements(
    message_counter: MessageCounter, user: User
) -> None:
    """The lock, whether the id is used, the task. BEGIN and COMMIT are messages of the other kind, Query."""
    user.creates(FEBRUARY)
    for _ in range(2):  # the first prepares the statements
        path = f"/api/tasks/{uuid4()}"
        created = cost(message_counter, user, "PUT", path, {"title": "x"}, If_None_Match="*")
        again = cost(message_counter, user, "PUT", path, {"title": "x"}, If_None_Match="*")

    # Then the id is used, and the task is read for the answer.
    assert (created, again) == ((201, statements(3) | {"Query": 2}), (412, statements(3) | {"Query": 2}))


def test_health_checks_the_server_and_the_tasks_in_two_statements(message_counter: MessageCounter, user: User) -> None:
    cost(message_counter, user, "GET", "/health")

    assert cost(message_counter, user, "GET", "/health") == (200, TWO_STATEMENTS)


def test_a_request_that_finds_no_row_costs_one_more_statement_to_check_the_user(
    message_counter: MessageCounter, user: User, contract: Contract
) -> None:
    tasks = f"{contract.prefix}/tasks"
    missing = f"{tasks}/00000000-0000-4000-8000-000000000000"
    # February's empty list is read again after that, because its number has to be older than the list.
    empty = statements(3) if contract is FEBRUARY else TWO_STATEMENTS
    for method, path, status, expected in (
        ("GET", tasks, 200, empty),
        ("GET", missing, 404, TWO_STATEMENTS),
        ("DELETE", missing, 404, TWO_STATEMENTS),
        ("GET", f"{tasks}/no-id", 404, ONE_STATEMENT),
    ):
        cost(message_counter, user, method, path)
        assert (path, *cost(message_counter, user, method, path)) == (path, status, expected)


def test_a_request_refused_before_its_statement_sends_nothing_to_the_database(
    message_counter: MessageCounter, user: User, contract: Contract
) -> None:
    stranger = User(user.http, user.id, user.email, "nonsense")

    assert cost(message_counter, stranger, "GET", f"{contract.prefix}/tasks") == (401, {})
    assert cost(message_counter, user, "POST", f"{contract.prefix}/tasks", {"title": ""}) == (400, {})
    signup = {"email": new_email(), "password": "short"}
    assert cost(message_counter, user, "POST", f"{contract.prefix}/auth/signup", signup) == (400, {})
