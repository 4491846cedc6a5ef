"""Equality check before the measurements: every peer must give the same answers as this service."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

PASSWORD = "correct horse battery"  # of all seeded users

# Without these checks, peers that refuse every request would count as equal.
_SUCCESSES = {
    "a list": 200,
    "a page of limit=7": 200,
    "a task": 200,
    "a new task": 201,
    "a deletion": 200,
    "a login": 200,
}
_UNKNOWN_ID = "ffffffff-ffff-4fff-bfff-ffffffffffff"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class User(NamedTuple):
    """A seeded user and one of the user's tasks."""

    id: str
    email: str
    token: str
    task_id: str


class Answer(NamedTuple):
    name: str
    status: int
    content_type: str
    body: Any


class Different(Exception):  # noqa: N818 - the result of the check, not an error of the program
    """A peer answers differently from this service, so its cost cannot be compared."""


def check(peers: Mapping[str, str], users: Sequence[tuple[str, str, str, str]]) -> None:
    """Compares the answers of all peers (name to base URL, this service first) for two users. Deletes the tasks that
    it creates."""
    (name, url), *others = peers.items()
    user, other = (User(*user) for user in users[:2])
    expected = list(_answers(url, user, other))
    for answer in expected:
        if answer.status != _SUCCESSES.get(answer.name, answer.status):
            raise Different(f"{name}, {answer.name}: {_text(answer)}")
    for peer, base_url in others:
        for ours, theirs in zip(expected, _answers(base_url, user, other), strict=True):
            if ours != theirs:
                raise Different(f"{peer}, {ours.name}:\n{_text(theirs)}\nand not as {name} does:\n{_text(ours)}")


def _text(answer: Answer) -> str:
    return f"{answer.status} {answer.content_type} {json.dumps(answer.body)}"


def _answers(base_url: str, user: User, other: User) -> Iterator[Answer]:
    with httpx.Client(base_url=base_url, timeout=60, trust_env=False) as http:

        def ask(name: str, method: str, path: str, token: str | None = user.token, **arguments: Any) -> Answer:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            if "content" in arguments:
                headers["Content-Type"] = "application/json"
            return _read(name, http.request(method, path, headers=headers, **arguments))

        own, foreign, unknown = (f"/api/tasks/{task_id}" for task_id in (user.task_id, other.task_id, _UNKNOWN_ID))
        yield ask("a list", "GET", "/api/tasks")
        yield ask("another user's list", "GET", "/api/tasks", other.token)
        yield ask("a task", "GET", own)
        for query in ("is_completed=false", "is_completed=true", "q=PLUMBER,%201", "is_completed=false&q=th&limit=3"):
            yield from _pages(ask, query)
        yield from _pages(ask, "limit=7")

        for new in (
            {"title": " Water the plants ", "description": "Près du café"},
            {"title": "Ω", "description": " "},
        ):
            created = ask("a new task", "POST", "/api/tasks", json=new)
            task_id = created.body.get("id", "none") if isinstance(created.body, dict) else "none"
            path = f"/api/tasks/{task_id}"
            yield _without(created, "id", "created_at", "updated_at", "version")
            yield _without(ask("the new task", "GET", path), "id", "created_at", "updated_at", "version")
            for changes in (
                {"is_completed": True},
                {"title": 'Buy "milk"\n', "description": "two\nlitres"},
                {"description": None},
                {"is_completed": False},
            ):
                changed = ask(f"a change {changes}", "PUT", path, json=changes)
                yield _without(changed, "id", "created_at", "updated_at", "completed_at", "version")
            yield ask("no change", "PUT", path, json={})
            yield ask("a change to a blank title", "PUT", path, json={"title": ""})
            yield ask("a change of the flag to a text", "PUT", path, json={"is_completed": "yes"})
            yield ask("a change of another user's task", "PUT", path, other.token, json={"is_completed": False})
            yield ask("another user's deletion", "DELETE", path, other.token)
            yield _without(ask("a deletion", "DELETE", path), "id")
            yield ask("a deleted task", "GET", path)
        yield ask("the list as it was", "GET", "/api/tasks")

        for path in (foreign, unknown, "/api/tasks/none"):
            yield ask(f"no task of the user, {path}", "GET", path)
            yield ask(f"a change of no task of the user, {path}", "PUT", path, json={"title": "x"})
            yield ask(f"a deletion of no task of the user, {path}", "DELETE", path)
        for title in ("", "   ", None, 7, "x" * 201):
            yield ask(f"the title {title!r}", "POST", "/api/tasks", json={"title": title})
        yield ask("no title", "POST", "/api/tasks", json={})
        yield ask("two bad fields", "POST", "/api/tasks", json={"title": "", "description": 7})
        yield ask("malformed JSON", "POST", "/api/tasks", content=b"{")

        # Well-formed, so that only the check of the signature can refuse it.
        forged = f"{user.token.rpartition('.')[0]}.{other.token.rpartition('.')[2]}"
        for method, path in (
            ("GET", "/api/tasks"),
            ("POST", "/api/tasks"),
            ("GET", own),
            ("PUT", own),
            ("DELETE", own),
        ):
            yield ask(f"no token, {method} {path}", method, path, None)
            yield ask(f"a forged token, {method} {path}", method, path, forged)
            yield ask(f"a malformed token, {method} {path}", method, path, "none")

        def log_in(name: str, email: object, password: object) -> Answer:
            return ask(name, "POST", "/api/auth/login", None, json={"email": email, "password": password})

        session = log_in("a login", user.email, PASSWORD)
        token = session.body.get("token") if isinstance(session.body, dict) else None
        yield _without(session, "token")
        yield ask("a list by the token of a login", "GET", "/api/tasks", token)
        yield log_in("a wrong password", user.email, "wrong horse battery")
        yield log_in("an unknown email", "nobody@example.com", PASSWORD)
        yield log_in("a login without an email", "", PASSWORD)


def _pages(ask: Callable[..., Answer], query: str) -> Iterator[Answer]:
    """Every page of a list. A cursor is opaque, so each peer gets its own ones back."""
    cursor = ""
    while True:
        page = ask(f"a page of {query}", "GET", f"/api/tasks?{query}{cursor}")
        following = page.body.get("next_cursor") if isinstance(page.body, dict) else None
        if not isinstance(following, str):
            yield page
            return
        yield page._replace(body=page.body | {"next_cursor": "another page"})
        cursor = f"&cursor={quote(following)}"


def _read(name: str, answer: httpx.Response) -> Answer:
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    body = answer.json() if media_type == "application/json" else answer.text
    return Answer(name, answer.status_code, media_type, body)


def _without(answer: Answer, *names: str) -> Answer:
    """The answer with values that differ each time, such as ids, replaced if they have the expected form."""
    forms = {"id": _ID, "token": re.compile(r"[\w-]+\.[\w-]+\.[\w-]+"), "version": re.compile(r"\d+")}
    forms |= dict.fromkeys(("created_at", "updated_at", "completed_at"), _TIME)
    if not isinstance(answer.body, dict):
        return answer
    known = {
        name: value for name, value in answer.body.items() if name not in names or not forms[name].fullmatch(str(value))
    }
    return answer._replace(body=known | {"new": sorted(set(answer.body) - set(known))})
