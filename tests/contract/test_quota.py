"""The quota TASKS_PER_USER: exact for any number of simultaneous creates."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.support import FEBRUARY, JANUARY, SECRET, Contract, Service, User, running

INVALID_TOKEN = {"error": "Authentication token is invalid", "code": "INVALID_TOKEN"}


def refusal(limit: int) -> dict[str, str]:
    return {"error": f"You have reached the limit of {limit} tasks", "code": "QUOTA_EXCEEDED"}


def insert_tasks(database: psycopg.Connection, user: User, number: int) -> None:
    """Inserts rows directly, so that the counter does not include them."""
    insert = "INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, %s)"
    database.execute(insert.encode(), [user.id, number])


def set_counter(database: psycopg.Connection, user: User, task_count: int, counted_at: str) -> None:
    insert = "INSERT INTO task_counters (user_id, task_count, counted_at) VALUES (%s, %s, %s::timestamptz)"
    database.execute(insert.encode(), [user.id, task_count, counted_at])


def counter_of(database: psycopg.Connection, user: User) -> int:
    found = database.execute("SELECT task_count FROM task_counters WHERE user_id = %s", [user.id]).fetchone()
    assert found is not None
    count: int = found[0]
    return count


def tasks_of(database: psycopg.Connection, user: User) -> int:
    found = database.execute("SELECT count(*) FROM tasks WHERE user_id = %s", [user.id]).fetchone()
    assert found is not None
    count: int = found[0]
    return count


def create(user: User, contract: Contract = FEBRUARY) -> tuple[int, Any]:
    answer = user.post(f"{contract.prefix}/tasks", {"title": "One more"})
    return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def small(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a limit of three tasks."""
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "TASKS_PER_USER": 3}
    with running(tmp_path_factory.mktemp("small"), **settings) as service:
        yield service


def at(service: Service, user: User) -> User:
    return User(service.http, user.id, user.email, user.token)


def test_create_over_the_limit_returns_409_and_a_delete_makes_room_for_one(
    small: Service, ann: User, bob: User, database: psycopg.Connection, contract: Contract
) -> None:
    user, other = at(small, ann), at(small, bob)
    made = [user.creates(each) for each in (FEBRUARY, JANUARY, FEBRUARY)]

    assert create(user, contract) == (409, refusal(3))
    assert create(other, contract)[0] == 201
    assert user.delete(f"{contract.prefix}/tasks/{made[0]['id']}").status_code in {200, 204}
    assert user.delete(f"{contract.prefix}/tasks/{made[0]['id']}").status_code == 404
    assert create(user, contract)[0] == 201
    assert create(user, contract) == (409, refusal(3))
    assert (tasks_of(database, ann), counter_of(database, ann), counter_of(database, bob)) == (3, 3, 1)


def test_creates_and_deletes_by_another_user_do_not_change_the_counter(
    ann: User, bob: User, database: psycopg.Connection
) -> None:
    task = ann.creates(FEBRUARY)

    assert bob.delete(f"/api/tasks/{task['id']}").status_code == 404
    bob.creates(FEBRUARY)

    assert (counter_of(database, ann), counter_of(database, bob)) == (1, 1)


def test_100_simultaneous_creates_at_9990_tasks_in_two_processes_create_10(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection, contract: Contract
) -> None:
    insert_tasks(database, ann, 9_990)
    services = [start_service(STATEMENT_TIMEOUT=60) for _ in range(2)]  # the creates wait for each other

    def one(number: int) -> tuple[int, str]:
        status, body = create(at(services[number % 2], ann), contract)
        return status, body.get("error", "")

    with ThreadPoolExecutor(100) as threads:
        seen = Counter(threads.map(one, range(100)))

    errors = [line for service in services for line in service.lines() if line["level"] == "error"]
    assert (seen, errors) == ({(201, ""): 10, (409, refusal(10_000)["error"]): 90}, [])
    assert (tasks_of(database, ann), counter_of(database, ann)) == (10_000, 10_000)


def test_simultaneous_creates_and_deletes_are_counted_exactly(ann: User, database: psycopg.Connection) -> None:
    made = [ann.creates(FEBRUARY)["id"] for _ in range(20)]
    twice = [*made[:15], *made[:15]]

    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(ann.delete, f"/api/tasks/{task_id}") for task_id in twice]
        creates = [threads.submit(create, ann) for _ in range(30)]
        deleted = Counter(each.result().status_code for each in asked)

    assert {each.result()[0] for each in creates} == {201}
    assert deleted == {200: 15, 404: 15}
    assert tasks_of(database, ann) == counter_of(database, ann) == 35


def test_create_without_a_limit_succeeds_for_any_counter(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    set_counter(database, ann, 2_000_000, "now")

    assert create(at(start_service(TASKS_PER_USER=0), ann))[0] == 201
    assert counter_of(database, ann) == 2_000_001


def test_account_older_than_the_counters_is_counted_at_its_first_create(
    small: Service, ann: User, database: psycopg.Connection
) -> None:
    user = at(small, ann)
    insert_tasks(database, ann, 4)
    ids = [task["id"] for task in user.get("/api/tasks").json()["tasks"]]

    assert user.delete(f"/api/tasks/{ids.pop()}").status_code == 200
    assert create(user) == (409, refusal(3))
    assert user.delete(f"/api/tasks/{ids.pop()}").status_code == 200
    assert create(user)[0] == 201
    assert create(user) == (409, refusal(3))
    assert tasks_of(database, ann) == counter_of(database, ann) == 3


@pytest.mark.parametrize("wrong", [0, 1, 3, 10_000])
def test_wrong_counter_is_corrected_before_a_create_is_refused(
    small: Service, ann: User, database: psycopg.Connection, wrong: int
) -> None:
    """As if a release without counters had run beside this one."""
    set_counter(database, ann, wrong, "yesterday")
    insert_tasks(database, ann, 2)

    statuses = [create(at(small, ann))[0] for _ in range(5)]

    assert (statuses.count(409), counter_of(database, ann)) == (5 - statuses.count(201), tasks_of(database, ann))
    assert statuses.count(201) == max(1, 3 - wrong)


def test_create_refused_within_a_minute_of_a_recount_does_not_recount(
    small: Service, ann: User, database: psycopg.Connection
) -> None:
    set_counter(database, ann, 3, "now")

    assert create(at(small, ann)) == (409, refusal(3))
    assert counter_of(database, ann) == 3


def test_delete_at_a_counter_of_zero_keeps_it_at_zero(ann: User, database: psycopg.Connection) -> None:
    set_counter(database, ann, 0, "now")
    insert_tasks(database, ann, 1)
    [task] = ann.get("/api/tasks").json()["tasks"]

    assert ann.delete(f"/api/tasks/{task['id']}").status_code == 200
    assert counter_of(database, ann) == 0


@pytest.mark.parametrize("has_counter", [False, True])
def test_create_with_the_token_of_a_deleted_user_returns_401(
    ann: User, database: psycopg.Connection, contract: Contract, has_counter: bool
) -> None:
    if has_counter:
        ann.creates(contract)
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])

    assert create(ann, contract) == (401, contract.token_error("INVALID_TOKEN", INVALID_TOKEN["error"]))
