"""A service under load of all kinds, so that every query of the dashboard has values, with its Prometheus."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx

from tests import prometheus, support
from tests.databases import Urls
from tests.issuers import Signer, claims_of, ed_key, publishing
from tests.prometheus import Prometheus
from tests.support import PASSWORD, SECRET, TRUST, User, new_email, sign_up

USERS = 6
HASHING_USERS = 2  # that log in again and again
PAUSE_SECONDS = 0.2  # of a client between two requests, on average
# Few connections and hashing threads, so that some requests wait for them; a login limit that is soon reached.
SETTINGS = {
    "WORKERS": 2, "POOL_MAX": 2, "HASH_THREADS": 1, "STATEMENT_TIMEOUT": 2, "LOGIN_FAILURES": 3, "TOKEN_RECHECK": 1,
    "POOL_TIMEOUT": 5,
}  # fmt: skip


class Issuer(NamedTuple):
    url: str
    key: Signer


@contextmanager
def observed(urls: Urls, directory: Path, rules: str | None = None) -> Iterator[Prometheus]:
    """The load goes on as long as the context lasts. `rules` are alert rules in place of our own."""
    metrics_port, key, has_ended = support.free_port(), ed_key(), threading.Event()
    with ExitStack() as stack:
        url = stack.enter_context(publishing(key.jwk)).url
        given = {"DATABASE_URL": urls.runtime, "BETTER_AUTH_SECRET": SECRET, "METRICS_PORT": metrics_port,
                 "AUTH_ISSUERS": url}  # fmt: skip
        service = stack.enter_context(support.running(directory, **given, **SETTINGS))
        found = stack.enter_context(prometheus.running(directory, metrics_port, rules))
        for number in range(USERS):
            user = sign_up(service.http)
            clients = [write_tasks, read_tasks, come_from(Issuer(url, key))]
            clients += [log_in, make_mistakes] if number < HASHING_USERS else []
            for client in clients:
                thread = threading.Thread(target=_repeat, args=(client, user, has_ended))
                thread.start()
                stack.callback(thread.join)
        stack.callback(has_ended.set)
        yield found


def _repeat(client: Callable[[User], object], user: User, has_ended: threading.Event) -> None:
    def pause(_: httpx.Response) -> None:
        has_ended.wait(random.uniform(0, 2 * PAUSE_SECONDS))  # noqa: S311 - no secret

    hooks = {"response": [pause]}
    with httpx.Client(base_url=user.http.base_url, timeout=60, verify=TRUST, event_hooks=hooks) as http:
        while not has_ended.is_set():
            with suppress(httpx.TransportError, KeyError):  # KeyError: an answer that is an error
                client(User(http, user.id, user.email, user.token))


def write_tasks(user: User) -> None:
    path = f"/api/tasks/{user.post('/api/tasks', {'title': 'Water the plants'}).json()['id']}"
    user.put(path, {"is_completed": True, "priority": "high"})
    user.put(f"/api/tasks/{uuid4()}", {"title": "Buy milk"}, headers={"If-None-Match": "*"})
    batch = [{"op": "create", "title": "Read"}, {"op": "create", "title": "Write"}]
    user.post("/api/tasks/batch", {"operations": batch})
    user.delete(path)


def read_tasks(user: User) -> None:
    for task in user.get("/api/tasks", params={"limit": "20"}).json()["tasks"][:5]:
        user.get(f"/api/tasks/{task['id']}")
    user.get("/api/changes")
    user.get("/v1/api/tasks")


def log_in(user: User) -> None:
    user.http.post("/api/auth/login", json={"email": user.email, "password": PASSWORD})
    user.http.post("/api/auth/signup", json={"email": new_email(), "password": PASSWORD})


def make_mistakes(user: User) -> None:
    """Each is refused: no such task, no title, no token, a taken email, a wrong password too often."""
    user.get(f"/api/tasks/{uuid4()}")
    user.post("/api/tasks", {"title": ""})
    user.http.get("/api/tasks")
    user.http.post("/api/auth/signup", json={"email": user.email, "password": PASSWORD})
    user.http.post("/api/auth/login", json={"email": f"guessed-{user.email}", "password": PASSWORD})


def come_from(issuer: Issuer) -> Callable[[User], None]:
    """Users with tokens of an outside issuer."""

    def read(user: User) -> None:
        headers = {"Authorization": f"Bearer {issuer.key.sign(claims_of(issuer.url))}"}
        for _ in range(5):
            user.http.get("/api/tasks", headers=headers)

    return read
