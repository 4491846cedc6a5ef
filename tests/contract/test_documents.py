"""The OpenAPI document agrees with the service: every route, every field, every status that the tests can reach."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from service import field_rules
from service.api import models as february
from service.app import CONTRACTS
from service.errors import Code
from service.field_rules import NOT_BLANK
from service.http.contract import Contract as ServedContract
from service.http.contract import Operation
from service.openapi.document import BROKEN_BODIES, openapi
from service.server.sanic_app import ServerApp
from tests.support import PASSWORD, User, new_email

DOCUMENT = openapi(CONTRACTS)
PREFER = {"$ref": "#/components/parameters/Prefer"}
OPERATIONS = [(contract, operation) for contract in CONTRACTS for operation in contract.operations]


def test_openapi_document_is_served_and_valid(http: httpx.Client) -> None:
    answer = http.get("/docs/openapi.json")

    assert (answer.status_code, answer.json()) == (200, DOCUMENT)
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_document_lists_exactly_the_operations_and_the_service_endpoints() -> None:
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

    assert documented == served | {("GET", "/"), ("GET", "/health"), ("GET", "/health/live")}


def test_every_served_route_is_in_the_document_or_belongs_to_the_reference(
    make_app: Callable[[], ServerApp],
) -> None:
    routed = {
        (method, f"/{route.path}".replace("<task_id:str>", "{task_id}"))
        for route in make_app().router.routes
        for method in route.methods - {"HEAD"}
    }

    reference = {(method, path) for method, path in routed if path.startswith("/docs")}
    assert routed - reference == {
        (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    assert {("GET", "/docs"), ("GET", "/docs/openapi.json")} <= reference


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]

    assert len(set(names)) == len(names) == len(OPERATIONS) + 3


def test_schema_titles_are_unique() -> None:
    """Generators name classes after titles, and skip every operation that needs a second class of the same name."""
    titles = {name: schema.get("title", name) for name, schema in DOCUMENT["components"]["schemas"].items()}

    assert titles == {name: name for name in DOCUMENT["components"]["schemas"]}


@pytest.mark.parametrize("blank", ["", *(chr(code) * 3 for code in range(0x10000) if chr(code).isspace())], ids=ascii)
def test_blank_text_that_a_rule_refuses_does_not_match_the_pattern(blank: str) -> None:
    for check in (field_rules.text("Title", 200, empty="Title is required"), field_rules.given_email):
        with pytest.raises(PydanticCustomError, match="is required"):
            check(blank)
    assert not re.search(str(NOT_BLANK["pattern"]), blank)


def test_text_with_any_other_character_matches_the_pattern() -> None:
    others = [chr(code) for code in range(0x110000) if chr(code).strip()]

    assert [character for character in others if not re.search(str(NOT_BLANK["pattern"]), f" {character} ")] == []


def test_summaries_examples_and_tag_of_january_are_unchanged() -> None:
    account = {"email": "ann@example.com", "password": "correct horse"}
    schemas = DOCUMENT["components"]["schemas"]

    assert {
        f"{method.upper()} {path}": operation["summary"]
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
        if method != "parameters" and operation["tags"] == ["January"]
    } == {
        "POST /v1/api/auth/signup": "Sign up",
        "POST /v1/api/auth/login": "Log in",
        "GET /v1/api/tasks": "List tasks, newest first",
        "POST /v1/api/tasks": "Create a task",
        "GET /v1/api/tasks/{task_id}": "Read a task",
        "PUT /v1/api/tasks/{task_id}": "Change a task",
        "DELETE /v1/api/tasks/{task_id}": "Delete a task",
    }
    examples = {name: schema["examples"] for name, schema in schemas.items() if "examples" in schema}
    assert {name: example for name, example in examples.items() if name.startswith("V1")} == {
        "V1SignUp": [account],
        "V1LogIn": [account],
        "V1NewTask": [{"title": "Buy milk", "description": "two litres"}],
        "V1TaskChanges": [{"completed": True, "description": ""}],
    }
    assert DOCUMENT["tags"][1] == {
        "name": "January",
        "description": "The first contract, frozen: base URL with /v1.",
    }


def documented(contract: ServedContract, operation: Operation) -> Any:
    path = (contract.prefix + operation.path).replace("<task_id>", "{task_id}")
    return DOCUMENT["paths"][path][operation.method.lower()]


EACH_OPERATION = pytest.mark.parametrize(
    ("contract", "operation"), OPERATIONS, ids=[f"{c.name}-{o.handler.__name__}" for c, o in OPERATIONS]
)


@EACH_OPERATION
def test_every_error_status_has_a_schema_its_headers_and_an_example_for_each_code(
    contract: ServedContract, operation: Operation
) -> None:
    responses = documented(contract, operation)["responses"]

    statuses = {"400", "408", "413", "414", "417", "431", "500", "503"}
    statuses |= {"401", "404"} if "<task_id>" in operation.path else {"401"} if operation.needs_token else set()
    statuses |= {str(code.status) for code in operation.refusals}
    others = {"201"} if operation.body_of_new else {"304"} if operation.may_be_known else set()
    assert set(responses) == statuses | others | {str(operation.status)}
    for status in others:
        is_new = status == "201"
        assert ("content" in responses[status]) is ("Location" in responses[status]["headers"]) is is_new
        assert "ETag" in responses[status]["headers"]
    for status in statuses:
        content = responses[status]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Error"}
        for name, example in content["examples"].items():
            assert example["value"]["code"] == name
            assert Code[name].status == int(status) or name == "INVALID_REQUEST"
        assert "X-Request-ID" in responses[status]["headers"]
    assert ("WWW-Authenticate" in responses.get("401", {"headers": {}})["headers"]) is operation.needs_token
    assert "Retry-After" in responses["503"]["headers"]


@EACH_OPERATION
def test_documented_validation_error_equals_an_answer_of_the_service(
    ann: User, contract: ServedContract, operation: Operation
) -> None:
    if operation.body is None:
        return
    example = documented(contract, operation)["responses"]["400"]["content"]["application/json"]["examples"]
    task = ann.post("/api/tasks", {"title": "x"}).json()
    path = (contract.prefix + operation.path).replace("<task_id>", task["id"])

    answers = [ann.request(operation.method, path, json=broken).json() for broken in BROKEN_BODIES]

    assert example["VALIDATION_ERROR"]["value"] in answers


@EACH_OPERATION
def test_prefer_and_its_errors_are_documented_for_february_alone(
    ann: User, contract: ServedContract, operation: Operation
) -> None:
    described = documented(contract, operation)
    is_february = contract.name == "api"

    assert (PREFER in described.get("parameters", [])) is is_february
    for response in described["responses"].values():
        assert ("Preference-Applied" in response["headers"]) is is_february
    examples = described["responses"]["400"]["content"]["application/json"]["examples"]
    if operation.body is None and operation.query is None and is_february:
        path = (contract.prefix + operation.path).replace("<task_id>", "1")
        answer = ann.request(operation.method, f"{path}?dueDate=1", headers={"Prefer": "handling=strict"})
        assert answer.json() == examples["VALIDATION_ERROR"]["value"]


@EACH_OPERATION
def test_documented_request_example_is_accepted(ann: User, contract: ServedContract, operation: Operation) -> None:
    if operation.body is None:
        return
    example = documented(contract, operation)["requestBody"]["content"]["application/json"]["example"]
    task = ann.post("/api/tasks", {"title": "x"}).json()
    path = (contract.prefix + operation.path).replace("<task_id>", task["id"])
    if "email" in example:
        example = example | {"email": ann.email if operation.handler.__name__ == "log_in" else new_email()}

    answer = ann.request(operation.method, path, json=example)

    assert answer.status_code == operation.status, answer.text


def test_operation_ids_are_camel_case_and_february_is_the_first_tag() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]

    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]*", name) for name in names)
    assert {"signUp", "listTasks", "createTask", "v1CreateTask", "health"} <= set(names)
    assert [tag["name"] for tag in DOCUMENT["tags"]] == ["February", "January", "Service"]


def test_every_path_is_served_below_every_server_url(http: httpx.Client) -> None:
    """ "Try it" requests the chosen server's URL followed by the path."""
    addresses = [
        (method, server["url"].rstrip("/") + path)
        for server in DOCUMENT["servers"]
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
    ]

    statuses = {(method, address): http.request(method, address).status_code for method, address in addresses}

    assert [each for each, status in statuses.items() if status in (404, 405)] == []


def body_for(operation: Operation) -> dict[str, Any] | None:
    bodies: dict[str, dict[str, Any]] = {
        "sign_up": {"email": new_email(), "password": PASSWORD},
        "create_task": {"title": "x"},
        "update_task": {"title": "y"},
        "change_tasks": {"operations": [{"op": "create", "title": "z"}]},
        "change_password": {"current_password": PASSWORD, "new_password": "battery staple"},
        "delete_me": {"password": PASSWORD},
    }
    return bodies.get(operation.handler.__name__)


@EACH_OPERATION
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


def test_the_example_of_a_failed_precondition_has_the_task_as_it_is() -> None:
    answers = DOCUMENT["paths"]["/api/tasks/{task_id}"]["put"]["responses"]["412"]["content"]["application/json"]
    example = answers["examples"]["PRECONDITION_FAILED"]["value"]

    assert list(example) == ["error", "code", "current"]
    held_against(february.Task, example["current"])


def test_reference_page_and_its_files_are_served_from_this_host_alone(http: httpx.Client) -> None:
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
