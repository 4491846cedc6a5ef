"""Concurrent writes of one user, and the deletion of the account meanwhile: no deadlock, no 500."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import psycopg
import pytest

from service.domain import tasks
from tests.databases import Urls, patient
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
from tests.db.owners import DONE, database_at, gather_all, new_owners, row_locked, wait_for_lock_waiters
from tests.support import PASSWORD, SECRET, Service, User, running

WRITERS = 16


def test_a_write_is_done_while_another_of_the_same_user_waits_for_a_lock(own_database: Urls) -> None:
    """In one transaction they would hold one task and wait for the next: a deadlock with a deletion of both."""

    async def scenario() -> None:
        async with database_at(patient(own_database.runtime)) as database:
            first, owner = await new_owners(database, 2)
            await gather_all(*(tasks.update_task(database, each.id, each.task, DONE) for each in (first, owner)))
            async with row_locked(own_database.admin, owner) as release:
                asked = [
                    asyncio.create_task(tasks.update_task(database, user.id, str(task["id"]), DONE))
                    for user, task in ((first, first.tasks[0]), (owner, owner.tasks[0]), (owner, owner.tasks[1]))
                ]
                free = await asyncio.wait_for(asked[2], LONG_TIMEOUT_SECONDS)
                assert free["id"] == owner.tasks[1]["id"]
                await wait_for_lock_waiters(own_database.admin, 1)
                assert not asked[1].done()
                await release()
                assert [row["user_id"] for row in await gather_all(*asked[:2])] == [first.id, owner.id]

    run_async(scenario())


@pytest.fixture
def deadlocks(own_database: Urls) -> Callable[[], int]:
    def ask() -> int:
        with psycopg.connect(own_database.admin) as connection:
            found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            [number] = found.fetchone() or [0]
        return int(number)

    return ask


@pytest.mark.parametrize("workers", [1, 2])
def test_deleting_an_account_during_its_own_writes_returns_204_and_no_write_returns_500(
    own_database: Urls, tmp_path: Any, password_hash: str, deadlocks: Callable[[], int], workers: int
) -> None:
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "WORKERS": workers}
    with running(tmp_path, **settings) as service, psycopg.connect(own_database.admin, autocommit=True) as database:
        for number in range(3):
            user = new_user(service, database, password_hash, f"{number}-{workers}@example.com")
            statuses = deleted_beside_writers(user)
            assert statuses.keys() <= {200, 201, 204, 401, 404}, statuses
            left = database.execute("SELECT count(*) FROM users WHERE id = %s", [user.id]).fetchone()
            assert (statuses[204], left) == (1, (0,))
    assert deadlocks() == 0


def new_user(service: Service, database: psycopg.Connection, password_hash: str, email: str) -> User:
    insert = "INSERT INTO users (email, password_hash) VALUES (%s, %s)"
    database.execute(insert.encode(), [email, password_hash])
    answer = service.http.post("/api/auth/login", json={"email": email, "password": PASSWORD}).json()
    user = User(service.http, answer["user"]["id"], email, answer["token"])
    many = "INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, 2000)"
    database.execute(many.encode(), [user.id])
    return user


def deleted_beside_writers(user: User) -> "Counter[int]":
    """The statuses of the deletion and of the writes, each writer stopping at its first 401."""
    ids = [task["id"] for task in user.get("/api/tasks").json()["tasks"]]
    seen: Counter[int] = Counter()

    def writes(first: int) -> None:
        for number in count(first, WRITERS):
            path = f"/api/tasks/{ids[number % len(ids)]}"
            method, body = [("PUT", {"is_completed": True}), ("POST", {"title": "x"}), ("DELETE", None)][number % 3]
            status = user.request(method, "/api/tasks" if method == "POST" else path, json=body).status_code
            seen[status] += 1
            if status == 401:
                return

    with ThreadPoolExecutor(WRITERS + 1) as threads:
        writers = [threads.submit(writes, first) for first in range(WRITERS)]
        while sum(seen.values()) < 100:
            assert not any(writer.done() for writer in writers)
        deleted = threads.submit(user.delete, "/api/auth/me", json={"password": PASSWORD})
        seen[deleted.result().status_code] += 1
        for writer in writers:
            writer.result()
    return seen
