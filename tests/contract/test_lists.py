"""Pages of February's list: their sizes, their ends, their links, and what is no list."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from service.domain.tasks import LIST_LIMIT
from service.http.json_stream import MAX_PAGE_ROWS, ROWS_AT_ONCE
from tests.contract.list_model import SORTS, Task, link_to_next, listed
from tests.support import FEBRUARY, JANUARY, User

# Every fourth task shares its times with three others, and every third its date.
FILL = """
INSERT INTO tasks (user_id, title, description, is_completed, due_on, priority, created_at, updated_at)
SELECT
    %s, 'Task ' || n, {description}, n %% 3 = 0, date '2026-01-01' + n %% 97, n %% 4,
    now() - n / 4 * interval '1 second', now() - n %% 50 * interval '1 minute'
FROM generate_series(1, %s) AS n
"""
LARGE = "repeat(CASE WHEN n %% 10 = 0 THEN '🙂' ELSE chr(1) END, 1999) || '.'"


@pytest.fixture
def fill(database: psycopg.Connection) -> Callable[..., None]:
    def fill(user: User, count: int, description: str = "NULL") -> None:
        database.execute(FILL.format(description=description).encode(), [user.id, count])

    return fill


def pages(user: User, **query: Any) -> list[list[Task]]:
    """All pages, by their links."""
    answer = user.get("/api/tasks", params=query)
    found = [answer.json()["tasks"]]
    while link := link_to_next(answer.headers.get("Link")):
        answer = user.get(link)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["tasks"])
    return found


def sizes(found: list[list[Task]]) -> list[int]:
    return [len(page) for page in found]


def test_an_empty_list_is_one_page(ann: User) -> None:
    for query in ({}, {"sort": "due_on"}, {"q": "x", "limit": 1}):
        answer = ann.get("/api/tasks", params=query)
        assert (answer.status_code, answer.json()) == (200, {"tasks": [], "next_cursor": None})
        assert "Link" not in answer.headers


@pytest.mark.parametrize("sort", SORTS)
def test_a_page_that_ends_at_the_end_of_the_list_is_the_last_one(
    ann: User, fill: Callable[..., None], sort: str
) -> None:
    fill(ann, 12)

    for limit, expected in ((12, [12]), (13, [12]), (11, [11, 1]), (6, [6, 6]), (4, [4, 4, 4]), (5, [5, 5, 2])):
        assert sizes(pages(ann, sort=sort, limit=limit)) == expected


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [ROWS_AT_ONCE, MAX_PAGE_ROWS - 1, MAX_PAGE_ROWS, MAX_PAGE_ROWS + 1, LIST_LIMIT])
def test_pages_of_any_size_are_the_list_of_the_model(
    ann: User, fill: Callable[..., None], database: psycopg.Connection, sort: str, limit: int
) -> None:
    """Sizes around those at which a page is read and sent in pieces."""
    count = 2 * limit + 1
    fill(ann, count)

    found = pages(ann, sort=sort, limit=limit)

    assert sizes(found) == [limit, limit, 1]
    everything = [task for page in found for task in page]
    assert everything == listed(everything, {"sort": sort})
    assert len({task["id"] for task in everything}) == count


def test_the_1001st_task_is_on_the_next_page_without_any_parameter(
    ann: User, bob: User, fill: Callable[..., None]
) -> None:
    fill(ann, LIST_LIMIT + 1)
    fill(bob, LIST_LIMIT)

    assert sizes(pages(ann)) == [LIST_LIMIT, 1]
    assert sizes(pages(bob)) == [LIST_LIMIT]


@pytest.mark.parametrize("sort", SORTS)
def test_long_pages_of_the_largest_tasks_are_sent_in_pieces_with_their_cursor(
    ann: User, fill: Callable[..., None], sort: str
) -> None:
    fill(ann, 320, LARGE)

    long = ann.get("/api/tasks", params={"sort": sort, "limit": 300})

    assert long.headers["Transfer-Encoding"] == "chunked"
    body = long.json()
    assert list(body) == ["tasks", "next_cursor"]
    assert (len(body["tasks"]), body["tasks"]) == (300, listed(body["tasks"], {"sort": sort}))
    assert link_to_next(long.headers["Link"]) == f"/api/tasks?sort={sort}&limit=300&cursor={body['next_cursor']}"
    rest = ann.get(link_to_next(long.headers["Link"]) or "").json()
    assert (len(rest["tasks"]), rest["next_cursor"]) == (20, None)
    assert len({task["id"] for task in body["tasks"] + rest["tasks"]}) == 320


def test_a_page_of_few_large_tasks_is_sent_in_pieces_with_its_cursor(ann: User, fill: Callable[..., None]) -> None:
    fill(ann, 60, LARGE)

    page = ann.get("/api/tasks", params={"limit": 50})

    assert page.headers["Transfer-Encoding"] == "chunked"
    assert len(page.json()["tasks"]) == 50
    assert len(ann.get(link_to_next(page.headers["Link"]) or "").json()["tasks"]) == 10


@pytest.mark.parametrize(("count", "description"), [(3, "NULL"), (60, "NULL"), (60, LARGE), (LIST_LIMIT + 1, "NULL")])
def test_head_of_a_page_has_the_headers_of_get_and_no_body(
    ann: User, fill: Callable[..., None], count: int, description: str
) -> None:
    fill(ann, count, description)

    for query in ({"limit": min(count - 1, LIST_LIMIT)}, {"sort": "due_on"}):
        got, head = (ann.request(method, "/api/tasks", params=query) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers.get("Link") == got.headers.get("Link")
        assert head.headers.get("Content-Length") == got.headers.get("Content-Length")


def test_the_link_has_the_parameters_of_the_request_percent_encoded(ann: User, fill: Callable[..., None]) -> None:
    fill(ann, 2)
    for n in range(3):
        ann.creates(FEBRUARY, f'{n} a+b & <ü>" ä', tags=["x y", 'ü"&>'])
    query = {"q": 'A+B & <Ü>" Ä', "tag": ["x y", 'Ü"&>'], "limit": "1", "sort": "-priority", "other": "1 2"}

    answer = ann.get("/api/tasks", params=query)

    cursor = answer.json()["next_cursor"]
    assert answer.headers["Link"] == (
        "</api/tasks?q=A%2BB%20%26%20%3C%C3%9C%3E%22%20%C3%84&tag=x%20y&tag=%C3%9C%22%26%3E&limit=1&sort=-priority"
        f'&other=1%202&cursor={cursor}>; rel="next"'
    )
    assert sizes(pages(ann, **query)) == [1, 1, 1]


def test_tasks_of_one_created_at_are_in_the_order_of_the_default_in_every_list(
    ann: User, database: psycopg.Connection
) -> None:
    database.execute("INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, 30)", [ann.id])
    expected = sorted((task["id"] for task in ann.get("/api/tasks").json()["tasks"]), reverse=True)

    for sort in SORTS:
        for limit in (1, 7, 29, 30):
            found = [task["id"] for page in pages(ann, sort=sort, limit=limit) for task in page]
            assert found == expected


def test_a_deleted_account_gets_401_from_any_list(ann: User, database: psycopg.Connection) -> None:
    ann.get("/api/tasks")  # the token is known to be good for a moment
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])

    for query in ({}, {"limit": 1}, {"sort": "due_on"}, {"q": "x"}, {"is_completed": "true"}):
        answer = ann.get("/api/tasks", params=query)
        assert (answer.status_code, answer.json()) == (
            401,
            FEBRUARY.token_error("INVALID_TOKEN", "Authentication token is invalid"),
        )


def test_without_a_token_a_wrong_parameter_is_not_looked_at(ann: User) -> None:
    assert ann.http.get("/api/tasks?limit=0").status_code == 401


def test_januarys_list_ignores_every_parameter_and_has_no_cursor(ann: User, fill: Callable[..., None]) -> None:
    fill(ann, 3)
    whole = ann.get("/v1/api/tasks")

    for query in ("limit=1", "limit=x", "sort=due_on&is_completed=true&cursor=x", "limit=1&limit=2", "q=%ff"):
        answer = ann.get(f"/v1/api/tasks?{query}")
        assert (answer.status_code, answer.content) == (200, whole.content)
        assert "Link" not in answer.headers
    assert list(whole.json()) == ["tasks"]
    assert JANUARY.prefix == "/v1/api"
