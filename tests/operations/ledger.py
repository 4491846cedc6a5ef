"""What clients were told, written down outside the service, and what the database says of it afterwards."""

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

from tests.support import TRUST, User

CLIENTS = 4
PAUSE = 0.01  # seconds, so that the load is steady and not all that a machine can do
PATIENCE = 30.0  # seconds: more than any sum of the service's own timeouts. Who waits longer hangs

DATABASE_ERROR = (500, {"error": "A database error occurred", "code": "DATABASE_ERROR"}, None)
OVERLOADED = (503, {"error": "The service is busy, try again shortly", "code": "OVERLOADED"}, "1")


@dataclass
class Written:
    """One task: the titles it may have now, where None is that it is not there."""

    title: str
    may_be: set[str | None] = field(default_factory=lambda: {None})
    id: str | None = None


class Client(threading.Thread):
    """Creates, reads, changes and deletes, one request after the other, and believes what it is told."""

    def __init__(self, ledger: "Ledger", user: User) -> None:
        super().__init__(daemon=True)
        self.ledger = ledger
        http = httpx.Client(base_url=user.http.base_url, timeout=PATIENCE, verify=TRUST)
        self.user = User(http, user.id, user.email, user.token)
        self.tasks: list[Written] = []
        self.served_in_a_row = 0
        self.turned_away = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            self.live_of_a_task(Written(uuid4().hex))
        self.user.http.close()

    def live_of_a_task(self, task: Written) -> None:
        self.tasks.append(task)
        created = self.write(task, task.title, "POST", "/api/tasks", {"title": task.title})
        if created is None or self.stopped.is_set():
            return
        task.id = created["id"]
        path = f"/api/tasks/{task.id}"
        self.read(path, task)
        self.write(task, f"{task.title} changed", "PUT", path, {"title": f"{task.title} changed"})
        self.read(path, task)
        if len(self.tasks) % 3 == 0:
            self.write(task, None, "DELETE", path)

    def write(self, task: Written, becomes: str | None, method: str, path: str, body: object = None) -> Any:
        """The answer, where there is one. Refused: it has not happened. Unknown: it may have."""
        outcome, answer = self.ask(method, path, body)
        self.ledger.writes[outcome] += 1
        if outcome == "acknowledged":
            task.may_be = {becomes}
        elif outcome == "unknown":
            task.may_be = task.may_be | {becomes}
        return answer

    def read(self, path: str, task: Written) -> None:
        outcome, answer = self.ask("GET", path)
        self.ledger.reads[outcome] += 1
        if outcome == "acknowledged" and answer["title"] not in task.may_be:
            self.ledger.odd.append(f"{answer['title']} is none of {task.may_be}")

    def ask(self, method: str, path: str, body: object = None) -> tuple[str, Any]:
        time.sleep(PAUSE)
        try:
            answer = self.user.request(method, path, json=body)
        except httpx.TransportError as error:
            self.served_in_a_row = 0
            self.ledger.odd.append(f"{method} {path}: {error!r}")
            return "unknown", None
        if answer.is_success:
            self.served_in_a_row += 1
            return "acknowledged", answer.json()
        self.served_in_a_row = 0
        self.turned_away += 1
        said = (answer.status_code, answer.json(), answer.headers.get("Retry-After"))
        if said not in (DATABASE_ERROR, OVERLOADED):
            self.ledger.odd.append(f"{method} {path}: {said}")
        return ("refused" if said == OVERLOADED else "unknown"), None


class Ledger:
    def __init__(self, users: list[User]) -> None:
        self.writes: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.odd: list[str] = []  # answers that no client can make sense of
        self.clients = [Client(self, user) for user in users]

    def wait_until_all_are_served(self) -> None:
        """Every client, several times in a row, from now on."""
        for client in self.clients:
            client.served_in_a_row = 0
        deadline = time.monotonic() + 60
        while min(client.served_in_a_row for client in self.clients) < 20:
            assert time.monotonic() < deadline, (self.writes, self.reads, self.odd)
            time.sleep(0.01)

    def wait_until_nobody_is_spared(self) -> None:
        """Every client has been turned away, and came back, and again."""
        deadline = time.monotonic() + 60
        while min(client.turned_away for client in self.clients) < 3:
            assert time.monotonic() < deadline, (self.writes, self.reads, self.odd)
            time.sleep(0.01)

    def compare(self, database_url: str) -> dict[str, int]:
        """How many writes were lost and how many done twice, after every client has ended."""
        there: dict[str, Counter[str]] = {client.user.id: Counter() for client in self.clients}
        with psycopg.connect(database_url) as connection:
            for user_id, title in connection.execute("SELECT user_id, title FROM tasks"):
                there.get(str(user_id), Counter())[title] += 1
        counts = dict(self.writes) | {"lost": 0, "doubled": 0, "out of nothing": 0}
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
    """A steady one of reads and writes, each user with a client."""
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
            client.join(timeout=2 * PATIENCE)
