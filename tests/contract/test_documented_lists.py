"""The parameters of lists in the OpenAPI document: those that the service reads, with working examples."""

from typing import Any

import pytest

from service.api.list_query import ListQuery
from service.app import CONTRACTS
from service.domain.task_lists import SORTS
from service.openapi.document import openapi
from tests.support import FEBRUARY, User

DOCUMENT = openapi(CONTRACTS)
OPERATION = DOCUMENT["paths"]["/api/tasks"]["get"]
PARAMETERS: dict[str, dict[str, Any]] = {each["name"]: each for each in OPERATION["parameters"] if "name" in each}
EXAMPLES = {name: each["example"] for name, each in PARAMETERS.items() if "example" in each}


def as_sent(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def test_the_parameters_of_the_document_are_those_of_the_contract_in_its_order() -> None:
    assert list(PARAMETERS) == [
        "limit", "cursor", "sort", "is_completed", "priority", "tag", "due_from", "due_to", "q",
    ]  # fmt: skip
    assert sorted(PARAMETERS) == sorted(ListQuery.model_fields)
    assert {(each["in"], each["required"]) for each in PARAMETERS.values()} == {("query", False)}
    assert "parameters" not in DOCUMENT["paths"]["/v1/api/tasks"]["get"]


def test_the_schemas_of_the_parameters_are_the_rules_of_the_contract() -> None:
    schemas = {name: each["schema"] for name, each in PARAMETERS.items()}

    assert schemas["limit"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1000}
    assert schemas["cursor"] == {"type": "string", "maxLength": 300}
    assert schemas["sort"] == {"type": "string", "enum": list(SORTS), "default": "-created_at"}
    assert schemas["is_completed"] == {"type": "boolean"}
    assert schemas["priority"] == {"type": "string", "enum": ["none", "low", "medium", "high"]}
    assert (schemas["tag"]["type"], schemas["tag"]["maxItems"], schemas["tag"]["items"]["maxLength"]) == (
        "array",
        20,
        50,
    )
    assert schemas["due_from"] == schemas["due_to"] == {"type": "string", "format": "date"}
    assert schemas["q"] == {"type": "string", "minLength": 1, "maxLength": 100}


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_of_a_parameter_works(ann: User, name: str) -> None:
    task = ann.creates(FEBRUARY, "Buy milk", due_on="2026-12-24", due_time="09:30", priority="high", tags=["Shopping"])

    answer = ann.get("/api/tasks", params={name: as_sent(EXAMPLES[name])})

    assert (answer.status_code, answer.json()) == (200, FEBRUARY.list_of(task))


def test_all_examples_together_find_the_example_of_a_new_task(ann: User) -> None:
    """A reference page fills them all in."""
    body = DOCUMENT["paths"]["/api/tasks"]["post"]["requestBody"]["content"]["application/json"]["example"]
    task = ann.post("/api/tasks", body).json()

    answer = ann.get("/api/tasks", params={name: as_sent(value) for name, value in EXAMPLES.items()})

    assert (answer.status_code, answer.json()) == (200, FEBRUARY.list_of(task))


def test_the_document_has_the_link_and_a_refusal_that_the_service_gives(ann: User) -> None:
    refusal = OPERATION["responses"]["400"]["content"]["application/json"]["examples"]["VALIDATION_ERROR"]["value"]

    assert "Link" in OPERATION["responses"]["200"]["headers"]
    assert ann.get("/api/tasks?limit=0").json() == refusal
