"""The measured routes and their requests. Each route has separate users, so that none reads another's writes."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

import httpx

from service.auth.tokens import Tokens
from tests.bench.database import (
    DEEP,
    DESCRIPTION,
    HALF_DONE,
    MANY,
    PASSWORD,
    TASKS_EACH,
    Database,
    Group,
    email,
    task_id,
    user_id,
)
from tests.support import SECRET

TITLE = "Call the plumber about the kitchen"
NEW = {"title": TITLE, "description": DESCRIPTION}
CHANGES = {"title": f"{TITLE}, again", "is_completed": True}
USERS_WITH_ROUTES = 5_100
SEARCH = "PLUMBER, 19"  # in 11 of 200 titles: 19 and 190 to 199
PAGE = 50
LONGEST_PAGE = 1000


def token(number: int) -> str:
    return Tokens(SECRET, None, 24).issue(user_id(number), email(number), 0)


class UserRequests:
    """The requests of one user to one peer."""

    def __init__(self, number: int, base_url: str) -> None:
        self._number = number
        self._base_url = base_url
        self._token = token(number)

    def lists(self, query: str = "") -> bytes:
        return self._request("GET", f"/api/tasks{query}")

    def turns_pages(self) -> Iterator[bytes]:
        """A page behind each thousandth task. Cursors are opaque, so the peer is asked for them."""
        cursor: str | None = None
        with httpx.Client(base_url=self._base_url, timeout=60, trust_env=False) as http:
            while True:
                query: dict[str, str | int] = {"limit": LONGEST_PAGE} | ({"cursor": cursor} if cursor else {})
                answer = http.get("/api/tasks", params=query, headers={"Authorization": f"Bearer {self._token}"})
                cursor = answer.raise_for_status().json()["next_cursor"]
                if cursor is None:
                    return
                yield self.lists(f"?limit={PAGE}&cursor={quote(cursor)}")

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


def _lists_open_tasks(user: UserRequests, _: random.Random) -> Iterator[bytes]:
    yield user.lists("?is_completed=false")


def _turns_pages(user: UserRequests, _: random.Random) -> Iterator[bytes]:
    yield from user.turns_pages()


def _searches(user: UserRequests, _: random.Random) -> Iterator[bytes]:
    yield user.lists(f"?q={quote(SEARCH)}")


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
    asked_by: range | Group  # the numbers of the users
    of_user: Callable[[UserRequests, random.Random], Iterator[bytes]]
    writes: bool = False

    def users(self, database: Database) -> range:
        return database.numbers(self.asked_by) if isinstance(self.asked_by, Group) else self.asked_by

    def requests(self, database: Database, base_url: str) -> list[bytes]:
        """The requests to one peer, in a shuffled order that is the same in each run."""
        chance = random.Random(self.name)  # noqa: S311 - the order needs no secure randomness
        users = [UserRequests(number, base_url) for number in self.users(database)]
        found = [each for user in users for each in self.of_user(user, chance)]
        chance.shuffle(found)
        return found

    def sweep(self, database: Database) -> None:
        if self.writes:
            database.sweep(self.users(database))


LIST_20 = Route("list-20", "list of 20", range(1, 1_001), _lists)
LIST_200 = Route("list-200", "list of 200", MANY, _lists)
FILTERED = Route("filtered", "20 open tasks of 40", HALF_DONE, _lists_open_tasks)
PAGES = Route("page", "page deep in 10 000", DEEP, _turns_pages)
SEARCHES = Route("search", "search in 200", MANY, _searches)
READ = Route("read", "read one", range(1, 1_001), _reads)
CREATE = Route("create", "create", range(1_001, 2_001), _creates, writes=True)
UPDATE = Route("update", "update", range(2_001, 3_001), _updates, writes=True)
DELETE = Route("delete", "delete", range(3_001, 4_001), _deletes, writes=True)
MIX = Route("mix", "mix", range(4_001, 5_001), _mixes, writes=True)
SIGN_IN = Route("sign-in", "sign-in", range(5_001, 5_101), _signs_in)

ROUTES = {
    route.name: route
    for route in (
        LIST_20, LIST_200, FILTERED, PAGES, SEARCHES, READ, CREATE, UPDATE, DELETE, MIX, SIGN_IN,
    )
}  # fmt: skip


def deletions(pile: Sequence[tuple[UUID, UUID]], database: Database) -> list[bytes]:
    users = {user_id(number): UserRequests(number, "") for number in DELETE.users(database)}
    return [users[owner].deletes(task) for owner, task in pile]
