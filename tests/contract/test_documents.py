"""The OpenAPI document says what the service does: every route, every field, every status that the tests can reach."""

import re
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from service.app import CONTRACTS
from service.docs.openapi import openapi
from service.operations import Contract as ServedContract
from service.operations import Operation
from tests.support import PASSWORD, User, new_email

DOCUMENT = openapi(CONTRACTS)
OPERATIONS = [(contract, operation) for contract in CONTRACTS for operation in contract.operations]


def test_the_document_is_served_and_valid(http: httpx.Client) -> None:
    answer = http.get("/docs/openapi.json")

    assert (answer.status_code, answer.json()) == (200, DOCUMENT)
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_operation_is_in_the_document_and_nothing_else() -> None:
    documented = {
        (method.upper(), path)
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
        if method != "parameters"
    }
    served = {
        (operation.method, (contract.prefix + operation.path).replace("<task_id>", "{task_id}"))
        for contract, operation in OPERATIONS
    }

    assert documented == served | {("GET", "/health"), ("GET", "/health/live")}


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]

    assert len(set(names)) == len(names) == len(OPERATIONS) + 2


def test_required_fields_limits_and_nullability_are_said() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["api.NewTask"]["required"] == ["title"]
    assert schemas["api.NewTask"]["properties"]["title"]["maxLength"] == 200
    assert schemas["v1.NewTask"]["properties"]["title"]["maxLength"] == 255
    assert "required" not in schemas["api.TaskChanges"]
    assert schemas["api.TaskChanges"]["properties"]["is_completed"]["type"] == "boolean"
    assert {"type": "null"} in schemas["api.TaskChanges"]["properties"]["description"]["anyOf"]
    assert set(schemas["api.Task"]["required"]) == set(schemas["api.Task"]["properties"])


def body_for(operation: Operation) -> dict[str, Any] | None:
    bodies = {
        "sign_up": {"email": new_email(), "password": PASSWORD},
        "create_task": {"title": "x"},
        "update_task": {"title": "y"},
    }
    return bodies.get(operation.handler.__name__)


@pytest.mark.parametrize(
    ("contract", "operation"), OPERATIONS, ids=[f"{c.name}-{o.handler.__name__}" for c, o in OPERATIONS]
)
def test_every_answer_has_the_documented_status_and_exactly_the_documented_fields(
    ann: User, contract: ServedContract, operation: Operation
) -> None:
    task = ann.post("/api/tasks", {"title": "x"}).json()
    path = (contract.prefix + operation.path).replace("<task_id>", task["id"])
    body = body_for(operation)
    if operation.handler.__name__ == "log_in":
        body = {"email": ann.email, "password": PASSWORD}

    answer = ann.request(operation.method, path, json=body)

    assert answer.status_code == operation.status
    if operation.answer is None:
        assert answer.content == b""
    else:
        held_against(operation.answer, answer.json())


def held_against(model: type[BaseModel], body: Any) -> None:
    model.model_validate(body)
    assert list(body) == list(model.model_fields)


def test_the_page_and_its_files_come_from_this_host_alone(http: httpx.Client) -> None:
    page = http.get("/docs")

    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert not re.search(r"https?:|\*", policy)
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) >= 5
    for address in linked:
        assert address.startswith("/docs/")
        assert (address, http.get(address).status_code) == (address, 200)
