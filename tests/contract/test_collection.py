"""Every request of todo.http succeeds. tests/sql/test_generated.py compares the file with the OpenAPI document."""

import json

import pytest

from service.cli.collection import FILE
from tests.support import Service, User, new_email

REQUESTS = FILE.read_text().split("### ")[1:]


@pytest.mark.parametrize("request_text", REQUESTS, ids=[text.split("# @name ")[1].split("\n")[0] for text in REQUESTS])
def test_every_request_of_the_collection_succeeds(service: Service, ann: User, request_text: str) -> None:
    task = ann.post("/api/tasks", {"title": "x"}).json()
    filled = request_text.replace("{{base}}", service.url).replace("{{task_id}}", task["id"])
    filled = filled.replace("{{token}}", ann.token)
    filled = filled.replace("ann@example.com", ann.email if "login" in filled else new_email())
    head, _, body = filled.partition("\n\n")
    _, _, request_line, *headers = head.strip().splitlines()
    method, address = request_line.split(" ")

    answer = service.http.request(
        method, address, headers=dict(line.split(": ", 1) for line in headers), content=body.strip() or None
    )

    assert answer.status_code in {200, 201, 204}, answer.text
    assert not body.strip() or json.loads(body)
