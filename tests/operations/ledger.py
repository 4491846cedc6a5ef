"""Records every acknowledged, refused and unknown write of several clients, and compares them with the database.

Every second create has an idempotency key, and is repeated until it is answered. Each client keeps a copy of its tasks
by GET /api/changes.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from tests.replica import Replica
from tests.support import TRUST, User

CLIENTS = 4
PAUSE_SECONDS = 0.01  # so that the load is steady, below what the machine can do
REQUEST_TIMEOUT_SECONDS = 30.0  # more than any sum of the service's own timeouts: beyond it a request hangs

DATABASE_ERROR = (500, {"error": "A database error occurred", "code": "DATABASE_ERROR"}, None)
OVERLOADED = (503, {"error": "The service is busy, try again shortly", "code": "OVERLOADED"}, "1")


@dataclass
class WrittenTask:
    """One task and the titles that it may have now; None: it may be absent."""

    title: str
    may_be: set[str | None] = field(default_factory=lambda: {None})
    id: str | None = None


def with_own_connection(user: User) -> User:
    http = httpx.Client(base_url=user.http.base_url, timeout=REQUEST_TIMEOUT_SECONDS, verify=TRUST)
    return User(http, user.id, user.email, user.token)


class Client(threading.Thread):
    """Creates, reads, changes and deletes tasks, one request after the other, and records each outcome."""

    def __init__(self, ledger: "Ledger", user: User) -> None:
        super().__init__(daemon=True)
        self.ledger = ledger
        self.user = with_own_connection(user)
        self.tasks: list[WrittenTask] = []
        self.served_in_a_row = 0
        self.turned_away = 0
        self.replica = Replica()
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            self.run_task_lifecycle(WrittenTask(uuid4().hex))
        self.user.http.close()

    def run_task_lifecycle(self, task: WrittenTask) -> None:
        self.tasks.append(task)
        created = self.create(task)
        if created is None or self.stopped.is_set():
            return
        task.id = created["id"]
        path = f"/api/tasks/{task.id}"
        self.read(path, task)
        self.write(task, f"{task.title} changed", "PUT", path, {"title": f"{task.title} changed"})
        self.read(path, task)
        if len(self.tasks) % 3 == 0:
            self.write(task, None, "DELETE", path)
        self.poll()

    def create(self, task: WrittenTask) -> Any:
        body = {"title": task.title}
        if len(self.tasks) % 2:
            return self.write(task, task.title, "POST", "/api/tasks", body)
        key = {"Idempotency-Key": task.title}
        while (created := self.write(task, task.title, "POST", "/api/tasks", body, key)) is None:
            if self.stopped.is_set():
                break
        return created

    def poll(self) -> bool:
        """Whether there is more to read."""
        outcome, answer = self.send("GET", "/api/changes", params=self.replica.wanted(50))
        self.ledger.reads[outcome] += 1
        return self.replica.apply(answer) if outcome == "acknowledged" else False

    def has_what_the_server_has(self) -> bool:
        """To be asked after the load, of a service that answers."""
        self.user = with_own_connection(self.user)
        while self.poll():
            pass
        export = self.user.get("/api/auth/me/export").json()
        self.user.http.close()
        return self.replica.tasks == {task["id"]: task for task in export["tasks"]}

    def write(
        self,
        task: WrittenTask,
        becomes: str | None,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The answer to a write, if any. Refused: it was not executed. Unknown: it may have been."""
        outcome, answer = self.send(method, path, json=body, headers=headers or {})
        self.ledger.writes[outcome] += 1
        if outcome == "acknowledged":
            task.may_be = {becomes}
        elif outcome == "unknown":
            task.may_be = task.may_be | {becomes}
        return answer

    def read(self, path: str, task: WrittenTask) -> None:
        outcome, answer = self.send("GET", path)
        self.ledger.reads[outcome] += 1
        if outcome == "acknowledged" and answer["title"] not in task.may_be:
            self.ledger.unexpected.append(f"{answer['title']} is none of {task.may_be}")

    def send(self, method: str, path: str, **arguments: Any) -> tuple[str, Any]:
        time.sleep(PAUSE_SECONDS)
        try:
            answer = self.user.request(method, path, **arguments)
        except httpx.TransportError as error:
            self.served_in_a_row = 0
            self.ledger.unexpected.append(f"{method} {path}: {error!r}")
            return "unknown", None
        if answer.is_success:
            self.served_in_a_row += 1
            self.ledger.replayed += "Idempotency-Replayed" in answer.headers
            return "acknowledged", answer.json()
        self.served_in_a_row = 0
        self.turned_away += 1
        said = (answer.status_code, answer.json(), answer.headers.get("Retry-After"))
        if said not in (DATABASE_ERROR, OVERLOADED):
            self.ledger.unexpected.append(f"{method} {path}: {said}")
        return ("refused" if said == OVERLOADED else "unknown"), None


class Ledger:
    def __init__(self, users: list[User]) -> None:
        self.writes: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.replayed = 0  # writes whose answer was lost the first time
        self.unexpected: list[str] = []  # answers outside the contract, and broken connections
        self.clients = [Client(self, user) for user in users]

    def wait_until_all_are_served(self) -> None:
        """Returns when every client has been served 20 times in a row from now on."""
        for client in self.clients:
            client.served_in_a_row = 0
        deadline = time.monotonic() + 60
        while min(client.served_in_a_row for client in self.clients) < 20:
            assert time.monotonic() < deadline, (self.writes, self.reads, self.unexpected)
            time.sleep(0.01)

    def wait_until_all_were_refused(self) -> None:
        """Returns when every client has been refused at least three times."""
        deadline = time.monotonic() + 60
        while min(client.turned_away for client in self.clients) < 3:
            assert time.monotonic() < deadline, (self.writes, self.reads, self.unexpected)
            time.sleep(0.01)

    def wrong_replicas(self) -> list[str]:
        """The users whose copy is not what the server has, after every client has ended."""
        return [client.user.id for client in self.clients if not client.has_what_the_server_has()]

    def compare(self, database_url: str) -> dict[str, int]:
        """Counts of writes that were lost, done twice or never asked for, after every client has ended."""
        there: dict[str, Counter[str]] = {client.user.id: Counter() for client in self.clients}
        with psycopg.connect(database_url) as connection:
            for user_id, title in connection.execute("SELECT user_id, title FROM tasks"):
                there.get(str(user_id), Counter())[title] += 1
        counts = dict(self.writes) | {"lost": 0, "doubled": 0, "out of nothing": 0, "replayed": self.replayed}
        for client in self.clients:
            found = there[client.user.id]
            for task in client.tasks:
                titles = [title for title in (task.title, f"{task.title} changed") for _ in range(found[title])]
                counts["doubled"] += len(titles) > 1
                is_now = titles[0] if titles else None
                if is_now not in task.may_be:
                    counts["lost" if None not in task.may_be else "out of nothing"] += 1
        return counts


@contextmanager
def load(users: list[User]) -> Iterator[Ledger]:
    """A steady load of reads and writes, one client for each user."""
    ledger = Ledger(users)
    for client in ledger.clients:
        client.start()
    try:
        ledger.wait_until_all_are_served()
        yield ledger
    finally:
        for client in ledger.clients:
            client.stopped.set()
        for client in ledger.clients:
            client.join(timeout=2 * REQUEST_TIMEOUT_SECONDS)
