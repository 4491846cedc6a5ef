"""The fields in the schemas of the OpenAPI document: required, types, limits, forms."""

from typing import Any

from service.app import CONTRACTS
from service.field_rules import NOT_BLANK
from service.openapi.document import openapi
from tests.contract.planning import PLAN

DOCUMENT = openapi(CONTRACTS)


def test_document_states_required_fields_types_and_nullability() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["NewTask"]["required"] == ["title"]
    assert "required" not in schemas["TaskChanges"]
    assert schemas["TaskChanges"]["properties"]["is_completed"]["type"] == "boolean"
    assert {"type": "null"} in schemas["TaskChanges"]["properties"]["description"]["anyOf"]
    assert set(schemas["Task"]["required"]) == set(schemas["Task"]["properties"])


def limits(schema: str) -> dict[str, dict[str, object]]:
    """The limits of each field that has any."""
    found: dict[str, dict[str, object]] = {}
    for name, field in DOCUMENT["components"]["schemas"][schema]["properties"].items():
        for part in (field, *field.get("anyOf", [])):
            for keyword in ("minLength", "maxLength", "maxItems", "pattern"):
                if keyword in part:
                    found.setdefault(name, {})[keyword] = part[keyword]
    return found


def test_field_limits_of_the_document_equal_the_contracts() -> None:
    new_password = {"minLength": 8, "maxLength": 72}
    account = {"email": {"maxLength": 255} | NOT_BLANK, "password": new_password}
    february = {
        "title": {"minLength": 1, "maxLength": 200} | NOT_BLANK,
        "description": {"maxLength": 2000},
        "due_time": {"pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
        "tags": {"maxItems": 20},
    }
    january = {"title": {"minLength": 1, "maxLength": 255} | NOT_BLANK, "description": {"maxLength": 1000}}

    assert [limits(name) for name in ("SignUp", "V1SignUp")] == [account] * 2
    for name in ("SignUp", "V1SignUp"):
        assert DOCUMENT["components"]["schemas"][name]["properties"]["email"]["format"] == "email"
    assert [limits(name) for name in ("LogIn", "V1LogIn")] == [{"email": NOT_BLANK, "password": {"minLength": 1}}] * 2
    assert limits("PasswordChange") == {"current_password": {"minLength": 1}, "new_password": new_password}
    assert limits("DeleteAccountBody") == {"password": {"minLength": 1}}
    assert [limits(name) for name in ("NewTask", "TaskChanges")] == [february] * 2
    assert [limits(name) for name in ("V1NewTask", "V1TaskChanges")] == [january] * 2
    assert [limits(name) for name in ("TaskList", "V1TaskList")] == [{"tasks": {"maxItems": 1000}}] * 2
    assert DOCUMENT["components"]["schemas"]["TaskChanges"]["minProperties"] == 1
    assert "minProperties" not in DOCUMENT["components"]["schemas"]["V1TaskChanges"]


def test_document_states_the_form_of_the_planning_fields() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    time = {"pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "type": "string"}
    priorities = ["none", "low", "medium", "high"]

    def forms(schema: str) -> dict[str, Any]:
        """What the document says of each field beside its title and description."""
        fields = schemas[schema]["properties"]
        said = ("type", "format", "pattern", "enum", "items", "maxItems", "anyOf")
        return {name: {key: fields[name][key] for key in said if key in fields[name]} for name in PLAN}

    sent = {
        "due_on": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "due_time": {"anyOf": [time, {"type": "null"}]},
        "time_zone": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "priority": {"type": "string", "enum": priorities},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 50} | NOT_BLANK, "maxItems": 20},
    }
    assert [forms(name) for name in ("NewTask", "TaskChanges")] == [sent] * 2
    assert forms("Task") == sent | {"tags": {"type": "array", "items": {"type": "string"}}}
    assert schemas["Task"]["properties"]["completed_at"]["anyOf"] == [
        {"type": "string", "format": "date-time"},
        {"type": "null"},
    ]
    for name in ("NewTask", "TaskChanges"):
        assert [field for field in PLAN if "default" in schemas[name]["properties"][field]] == []
        assert not set(PLAN) & set(schemas[name].get("required", []))
    assert not any(field in schemas[name]["properties"] for field in PLAN for name in ("V1NewTask", "V1Task"))
