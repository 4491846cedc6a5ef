"""Every request of todo.http succeeds. tests/sql/test_generated.py compares the file with the OpenAPI document."""

import json

import httpx
import pytest

from service.cli.collection import FILE
from tests.support import FEBRUARY, Service, User, new_email

REQUESTS = FILE.read_text().split("### ")[1:]


NAMES = [text.split("# @name ")[1].split("\n")[0] for text in REQUESTS]


def send(service: Service, user: User, request_text: str, task_id: str = "") -> httpx.Response:
    filled = request_text.replace("{{base}}", service.url).replace("{{task_id}}", task_id)
    filled = filled.replace("{{token}}", user.token)
    filled = filled.replace("ann@example.com", user.email if "login" in filled else new_email())
    head, _, body = filled.partition("\n\n")
    _, _, request_line, *headers = head.strip().splitlines()
    method, address = request_line.split(" ")
    assert not body.strip() or json.loads(body)
    return service.http.request(
        method, address, headers=dict(line.split(": ", 1) for line in headers), content=body.strip() or None
    )


@pytest.mark.parametrize("request_text", REQUESTS, ids=NAMES)
def test_every_request_of_the_collection_succeeds(service: Service, ann: User, request_text: str) -> None:
    task = ann.creates(FEBRUARY)

    answer = send(service, ann, request_text, task["id"])

    assert answer.status_code in {200, 201, 204}, answer.text


def test_list_of_the_collection_finds_the_task_that_the_collection_creates_among_others(
    service: Service, ann: User
) -> None:
    ann.creates(FEBRUARY)
    task = send(service, ann, REQUESTS[NAMES.index("createTask")]).json()

    answer = send(service, ann, REQUESTS[NAMES.index("listTasks")])

    assert answer.json() == {"tasks": [task], "next_cursor": None}
