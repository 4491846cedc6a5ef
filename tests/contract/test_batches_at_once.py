"""Batches of one user at the same time, from several connections."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg

from service.app import BATCHES_AT_ONCE
from tests.contract.batches import batch, create, newest, tasks_of, update
from tests.databases import Urls
from tests.outages import is_waiting_for_a_lock, wait_for
from tests.support import FEBRUARY, User

WAITING_SESSIONS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_batches_that_meet_in_opposite_order_never_deadlock(new_user: Callable[[], User]) -> None:
    user = new_user()
    tasks = [user.creates(FEBRUARY) for _ in range(10)]

    def write(number: int) -> int:
        order = tasks if number % 2 else tasks[::-1]
        return batch(user, *(update(task, title=f"by {number}") for task in order)).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(write, range(40))) == {200}
    now = tasks_of(user)
    assert len({task["title"] for task in now}) == 1  # all tasks are as one batch has left them
    assert newest(user) == 'W/"410"'


def test_batches_and_single_writes_of_one_user_leave_no_gap_and_no_double_number(new_user: Callable[[], User]) -> None:
    user = new_user()
    task = user.creates(FEBRUARY)

    def write(number: int) -> int:
        if number % 2:
            return user.put(f"/api/tasks/{task['id']}", {"title": str(number)}).status_code
        return batch(user, create(str(number)), update(task, title=str(number)), create("x")).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(write, range(40))) == {200}
    versions = [each["version"] for each in user.get("/api/changes").json()["changes"]]

    assert newest(user) == f'W/"{1 + 20 + 3 * 20}"'
    assert len(set(versions)) == 41 == len(versions)


def test_batches_of_a_user_that_wait_hold_up_no_batch_of_another_user(
    ann: User, bob: User, database: psycopg.Connection, urls: Urls
) -> None:
    ann.creates(FEBRUARY)
    with (
        psycopg.connect(urls.admin, autocommit=True) as observer,  # a transaction would see the same sessions each time
        ThreadPoolExecutor(2 * BATCHES_AT_ONCE) as threads,
    ):
        with database.transaction():
            database.execute("SELECT FROM task_counters WHERE user_id = %s FOR UPDATE", [ann.id])
            waiting = [threads.submit(batch, ann, create()) for _ in range(2 * BATCHES_AT_ONCE)]
            wait_for(lambda: is_waiting_for_a_lock(observer))
            sessions = {observer.execute(WAITING_SESSIONS).rowcount for _ in range(500)}
            answer = batch(bob, create())
            assert (answer.status_code, [each.done() for each in waiting]) == (200, [False] * len(waiting))
        assert max(sessions) <= 1
        assert {each.result().status_code for each in waiting} == {200}
