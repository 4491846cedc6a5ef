"""The parameters of an operation in the OpenAPI document. Those of its query come from the model that parses them."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from service.errors import FieldError
from service.http.contract import Contract, Operation
from service.http.json_body import errors_of
from service.http.query_string import QueryModel

Json = dict[str, Any]

BROKEN = {"limit": ["0"]}  # on purpose: the example of a refusal

PATH_PARAMETER = "<task_id>"
TASK_ID: Json = {
    "name": "task_id",
    "in": "path",
    "required": True,
    "description": "A UUID in its 36-character form; any other text is no task",
    "schema": {"type": "string", "format": "uuid"},
}
PREFER: Json = {
    "name": "Prefer",
    "in": "header",
    "description": "`handling=strict`: names of fields and query parameters that are not known are VALIDATION_ERROR",
    "schema": {"$ref": "#/components/schemas/Preference"},
}


REQUEST_HEADERS: Json = {
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "The `ETag` of the task as the client knows it: on another version nothing happens, and the "
        "answer is PRECONDITION_FAILED with the task as it is",
        "schema": {"type": "string"},
        "example": '"5"',
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "The `ETag` of the answer that the client has: 304 without a body if it is still the same",
        "schema": {"type": "string"},
        "example": '"5"',
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Chosen by the client, anew for each request that is no repetition. A repetition with the same "
        "path and body has the same answer, and nothing is done again",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    },
    "OnlyNew": {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "`*` creates the task under the id of the path, any UUID of version 4 or 7. The body is then "
        "that of a new task, and the answer 201. GONE for the id of a task that was deleted",
        "schema": {"type": "string", "pattern": r"^\*$"},
    },
}


def parameters(contract: Contract, operation: Operation) -> Iterator[Json]:
    if PATH_PARAMETER in operation.path:
        yield TASK_ID
    if operation.query is not None:
        yield from query_parameters(operation.query)
    for name in operation.request_headers:
        yield {"$ref": f"#/components/parameters/{name}"}
    if contract.has_strict_handling:
        yield {"$ref": "#/components/parameters/Prefer"}


def query_parameters(model: type[QueryModel]) -> Iterator[Json]:
    properties = model.model_json_schema()["properties"]
    for name in model.order:
        found: Json = {"name": name, "in": "query", "required": False}
        schema = _without_null(properties[name])
        examples = schema.pop("examples", None)
        if "description" in schema:
            found["description"] = schema.pop("description")
        if examples:
            found["example"] = examples[0]
        yield found | {"schema": schema}


def refused_parameters(model: type[QueryModel]) -> list[FieldError]:
    try:
        model.model_validate(BROKEN)
    except ValidationError as error:
        return errors_of(error)
    raise ValueError(f"{model} takes {BROKEN}")


def _without_null(schema: Json) -> Json:
    """A parameter is absent or a text. None is a value of the model alone."""
    others = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    merged = {name: value for name, value in schema.items() if name not in {"anyOf", "title"}}
    return merged | (others[0] if others else {})
