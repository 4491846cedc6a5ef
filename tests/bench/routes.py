"""The measured routes and their requests. Each route has separate users, so that none reads another's writes."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from service.auth.tokens import Tokens
from tests.bench.database import DESCRIPTION, PASSWORD, TASKS_EACH, USERS_OF_MANY, Database, email, task_id, user_id
from tests.support import SECRET

TITLE = "Call the plumber about the kitchen"
NEW = {"title": TITLE, "description": DESCRIPTION}
CHANGES = {"title": f"{TITLE}, again", "is_completed": True}
USERS_WITH_ROUTES = 5_100


def token(number: int) -> str:
    return Tokens(SECRET, None, 24).issue(user_id(number), email(number), 0)


class UserRequests:
    """The requests of one user."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._token = token(number)

    def lists(self) -> bytes:
        return self._request("GET", "/api/tasks")

    def reads(self, task: int) -> bytes:
        return self._request("GET", f"/api/tasks/{task_id(self._number, task)}")

    def creates(self) -> bytes:
        return self._request("POST", "/api/tasks", NEW)

    def updates(self, task: int) -> bytes:
        return self._request("PUT", f"/api/tasks/{task_id(self._number, task)}", CHANGES)

    def deletes(self, task: UUID) -> bytes:
        return self._request("DELETE", f"/api/tasks/{task}")

    def signs_in(self) -> bytes:
        return _request("POST", "/api/auth/login", {"email": email(self._number), "password": PASSWORD})

    def _request(self, method: str, path: str, body: object = None) -> bytes:
        return _request(method, path, body, f"Authorization: Bearer {self._token}\r\n")


def _request(method: str, path: str, body: object = None, headers: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}"
    if body is None:
        return f"{head}\r\n".encode()
    text = json.dumps(body)
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


def _lists(user: UserRequests, _: random.Random) -> Iterator[bytes]:
    yield user.lists()


def _reads(user: UserRequests, chance: random.Random) -> Iterator[bytes]:
    yield from (user.reads(task) for task in chance.sample(range(1, TASKS_EACH + 1), 5))


def _creates(user: UserRequests, _: random.Random) -> Iterator[bytes]:
    yield user.creates()


def _updates(user: UserRequests, chance: random.Random) -> Iterator[bytes]:
    yield from (user.updates(task) for task in chance.sample(range(1, TASKS_EACH + 1), 5))


def _mixes(user: UserRequests, chance: random.Random) -> Iterator[bytes]:
    task = chance.randint(1, TASKS_EACH)
    yield from (*[user.lists()] * 7, user.reads(task), user.updates(task), user.creates())


def _signs_in(user: UserRequests, _: random.Random) -> Iterator[bytes]:
    yield user.signs_in()


def _deletes(_user: UserRequests, _: random.Random) -> Iterator[bytes]:
    raise NotImplementedError("the tasks to delete have to be created first: `deletions`")


def known(number: int) -> tuple[str, str, str, str]:
    """A user's id, email and token, and a task of theirs."""
    return str(user_id(number)), email(number), token(number), str(task_id(number, 1))


@dataclass(frozen=True)
class Route:
    name: str
    title: str
    first: int  # number of the first user; negative: the users with 200 tasks, which follow the others
    count: int
    of_user: Callable[[UserRequests, random.Random], Iterator[bytes]]
    writes: bool = False

    def users(self, database: Database) -> range:
        first = database.users + 1 if self.first < 0 else self.first
        return range(first, first + self.count)

    def requests(self, database: Database) -> list[bytes]:
        """The requests in a shuffled order that is the same in each run."""
        chance = random.Random(self.name)  # noqa: S311 - the order needs no secure randomness
        found = [each for number in self.users(database) for each in self.of_user(UserRequests(number), chance)]
        chance.shuffle(found)
        return found

    def sweep(self, database: Database) -> None:
        if self.writes:
            database.sweep(self.users(database))


LIST_20 = Route("list-20", "list of 20", 1, 1_000, _lists)
LIST_200 = Route("list-200", "list of 200", -1, USERS_OF_MANY, _lists)
READ = Route("read", "read one", 1, 1_000, _reads)
CREATE = Route("create", "create", 1_001, 1_000, _creates, writes=True)
UPDATE = Route("update", "update", 2_001, 1_000, _updates, writes=True)
DELETE = Route("delete", "delete", 3_001, 1_000, _deletes, writes=True)
MIX = Route("mix", "mix", 4_001, 1_000, _mixes, writes=True)
SIGN_IN = Route("sign-in", "sign-in", 5_001, 100, _signs_in)

ROUTES = {route.name: route for route in (LIST_20, LIST_200, READ, CREATE, UPDATE, DELETE, MIX, SIGN_IN)}


def deletions(pile: Sequence[tuple[UUID, UUID]], database: Database) -> list[bytes]:
    users = {user_id(number): UserRequests(number) for number in DELETE.users(database)}
    return [users[owner].deletes(task) for owner, task in pile]
