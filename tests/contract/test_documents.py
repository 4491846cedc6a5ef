"""The OpenAPI document says what the service does: every route, every field, every status that the tests can reach."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from service.app import CONTRACTS
from service.errors import Code
from service.http.contract import Contract as ServedContract
from service.http.contract import Operation
from service.openapi.document import BROKEN_BODIES, openapi
from service.server.sanic_app import ServerApp
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

    assert documented == served | {("GET", "/"), ("GET", "/health"), ("GET", "/health/live")}


def test_every_route_that_is_served_is_an_operation_or_belongs_to_the_reference(
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


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]

    assert len(set(names)) == len(names) == len(OPERATIONS) + 3


def test_required_fields_limits_and_nullability_are_said() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["NewTask"]["required"] == ["title"]
    assert "required" not in schemas["TaskChanges"]
    assert schemas["TaskChanges"]["properties"]["is_completed"]["type"] == "boolean"
    assert {"type": "null"} in schemas["TaskChanges"]["properties"]["description"]["anyOf"]
    assert set(schemas["Task"]["required"]) == set(schemas["Task"]["properties"])


def limits(schema: str) -> dict[str, dict[str, object]]:
    """Of each field that has one."""
    found: dict[str, dict[str, object]] = {}
    for name, field in DOCUMENT["components"]["schemas"][schema]["properties"].items():
        for part in (field, *field.get("anyOf", [])):
            for keyword in ("minLength", "maxLength", "maxItems"):
                if keyword in part:
                    found.setdefault(name, {})[keyword] = part[keyword]
    return found


def test_the_limits_of_the_document_are_those_of_the_contract() -> None:
    account = {"email": {"maxLength": 255}, "password": {"minLength": 8}}
    february = {"title": {"minLength": 1, "maxLength": 200}, "description": {"maxLength": 2000}}
    january = {"title": {"minLength": 1, "maxLength": 255}, "description": {"maxLength": 1000}}

    assert [limits(name) for name in ("SignUp", "V1SignUp")] == [account] * 2
    for name in ("SignUp", "V1SignUp"):
        assert DOCUMENT["components"]["schemas"][name]["properties"]["email"]["format"] == "email"
    assert [limits(name) for name in ("LogIn", "V1LogIn")] == [{}] * 2
    assert limits("PasswordChange") == {"new_password": {"minLength": 8}}
    assert [limits(name) for name in ("NewTask", "TaskChanges")] == [february] * 2
    assert [limits(name) for name in ("V1NewTask", "V1TaskChanges")] == [january] * 2
    assert [limits(name) for name in ("TaskList", "V1TaskList")] == [{"tasks": {"maxItems": 1000}}] * 2
    assert DOCUMENT["components"]["schemas"]["TaskChanges"]["minProperties"] == 1
    assert "minProperties" not in DOCUMENT["components"]["schemas"]["V1TaskChanges"]


def test_the_words_of_januarys_part_are_frozen() -> None:
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
def test_every_refusal_has_a_schema_its_headers_and_an_example_for_each_code(
    contract: ServedContract, operation: Operation
) -> None:
    responses = documented(contract, operation)["responses"]

    statuses = {"400", "408", "413", "414", "417", "431", "500", "503"}
    statuses |= {"401", "404"} if "<task_id>" in operation.path else {"401"} if operation.needs_token else set()
    statuses |= {str(code.status) for code in operation.refusals}
    assert set(responses) == statuses | {str(operation.status)}
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
def test_the_example_of_a_refused_body_is_what_the_service_answers(
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
def test_the_example_of_a_request_is_accepted(ann: User, contract: ServedContract, operation: Operation) -> None:
    if operation.body is None:
        return
    example = documented(contract, operation)["requestBody"]["content"]["application/json"]["example"]
    task = ann.post("/api/tasks", {"title": "x"}).json()
    path = (contract.prefix + operation.path).replace("<task_id>", task["id"])
    if "email" in example:
        example = example | {"email": ann.email if operation.handler.__name__ == "log_in" else new_email()}

    answer = ann.request(operation.method, path, json=example)

    assert answer.status_code == operation.status, answer.text


def test_names_read_like_functions_and_tags_in_the_order_of_interest() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]

    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]*", name) for name in names)
    assert {"signUp", "listTasks", "createTask", "v1CreateTask", "health"} <= set(names)
    assert [tag["name"] for tag in DOCUMENT["tags"]] == ["February", "January", "Service"]
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/", "/v1"]


def body_for(operation: Operation) -> dict[str, Any] | None:
    bodies = {
        "sign_up": {"email": new_email(), "password": PASSWORD},
        "create_task": {"title": "x"},
        "update_task": {"title": "y"},
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
