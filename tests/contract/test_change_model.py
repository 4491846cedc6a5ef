"""Clients that know a user's tasks by GET /api/changes alone have what the server has, whatever was written by whom."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.replica import Replica
from tests.support import FEBRUARY, JANUARY, User

ONLY_NEW = {"If-None-Match": "*"}
WRITES = (
    "create", "create in january", "create with id", "create twice with a key", "edit", "edit in january",
    "edit that version", "delete", "batch", "batch twice with a key",
)  # fmt: skip


class Client:
    """A device of a user, with its copy of the tasks."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._replica = Replica()

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return self._replica.tasks

    def poll(self, limit: int) -> bool:
        """Reads one page. Whether there is another one."""
        answer = self._user.get("/api/changes", params=self._replica.wanted(limit))
        assert answer.status_code == 200, answer.text
        return self._replica.apply(answer.json())

    def poll_to_the_end(self, limit: int) -> None:
        while self.poll(limit):
            pass


def write(user: User, what: str, choose: Callable[[list[Any]], Any]) -> int:
    """One write of this kind to a task of the user, or to one that is not there. Returns the status."""
    known = [task["id"] for task in user.get("/api/tasks").json()["tasks"]]
    task_id = choose([*known, str(uuid4())])
    path = f"/api/tasks/{task_id}"
    tag = user.get(path).headers.get("ETag", '"1"')
    answer = {
        "create": lambda: user.post("/api/tasks", {"title": "a"}),
        "create in january": lambda: user.post("/v1/api/tasks", {"title": "b"}),
        "create with id": lambda: user.put(path, {"title": "c"}, headers=ONLY_NEW),
        "edit": lambda: user.put(path, {"title": choose(["d", "e"])}),
        "edit in january": lambda: user.put(f"/v1{path}", {"completed": choose([True, False])}),
        "edit that version": lambda: user.put(path, {"title": "f"}, headers={"If-Match": choose([tag, '"1"'])}),
        "delete": lambda: user.delete(choose([path, f"/v1{path}"])),
        "create twice with a key": lambda: repeated(user, "/api/tasks", {"title": "g"}),
        "batch": lambda: user.post("/api/tasks/batch", {"operations": operations(known, choose)}),
        "batch twice with a key": lambda: repeated(user, "/api/tasks/batch", {"operations": operations(known, choose)}),
    }[what]()
    return answer.status_code


def repeated(user: User, path: str, body: object) -> httpx.Response:
    """Sent twice with one key: the second answer is that of the first if it was a success."""
    first, second = (user.post(path, body, headers=key) for key in [{"Idempotency-Key": str(uuid4())}] * 2)
    assert not first.is_success or first.content == second.content
    return second


def operations(known: list[str], choose: Callable[[list[Any]], Any]) -> list[dict[str, Any]]:
    """Up to three operations, the last two on tasks of the user."""
    on_tasks = [
        choose([{"op": "delete", "id": task_id}, {"op": "update", "id": task_id, "title": choose(["h", "i"])}])
        for task_id in known[:2]
    ]
    return [{"op": "create", "title": "j"}, *on_tasks][:: choose([1, -1])]


def assert_equal(user: User, client: Client) -> None:
    assert client.tasks == {task["id"]: task for task in user.get("/api/tasks").json()["tasks"]}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_replicas_equal_the_server_at_every_quiet_point(new_user: Callable[[], User], data: st.DataObject) -> None:
    users = [new_user(), new_user()]
    clients = [Client(user) for user in users for _ in range(2)]
    limits = st.sampled_from([1, 2, 5, 1000])
    for _ in range(data.draw(st.integers(5, 25))):
        if data.draw(st.booleans()):
            data.draw(st.sampled_from(clients)).poll(data.draw(limits))
        else:
            what = data.draw(st.sampled_from(WRITES))
            write(data.draw(st.sampled_from(users)), what, lambda values: data.draw(st.sampled_from(values)))
    for number, client in enumerate(clients):
        client.poll_to_the_end(data.draw(limits))
        assert_equal(users[number // 2], client)


@pytest.mark.parametrize("seed", [1, 2])
def test_replicas_that_poll_while_others_write_equal_the_server_in_the_end(
    new_user: Callable[[], User], seed: int
) -> None:
    users = [new_user(), new_user()]
    clients = [Client(user) for user in users for _ in range(2)]

    def writes(number: int) -> set[int]:
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - picks what a test does
        return {write(users[number % 2], chance.choice(WRITES), chance.choice) for _ in range(40)}

    def polls(number: int) -> None:
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - picks what a test does
        for _ in range(40):
            clients[number].poll(chance.choice([1, 3, 1000]))

    with ThreadPoolExecutor(10) as threads:
        polling = [threads.submit(polls, number) for number in range(len(clients))]
        statuses = set[int]().union(*threads.map(writes, range(6)))
        for each in polling:
            each.result()

    assert statuses <= {200, 201, 204, 404, 410, 412}
    for number, client in enumerate(clients):
        client.poll_to_the_end(3)
        assert_equal(users[number // 2], client)


def test_both_contracts_write_what_a_replica_reads(ann: User) -> None:
    client = Client(ann)
    for contract in (FEBRUARY, JANUARY):
        task = ann.creates(contract)
        ann.put(f"{contract.prefix}/tasks/{task['id']}", {"title": "changed"})
        client.poll(1000)
        assert_equal(ann, client)
        ann.delete(f"{contract.prefix}/tasks/{task['id']}")
        client.poll(1000)
        assert_equal(ann, client)
