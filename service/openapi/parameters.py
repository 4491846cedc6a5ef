"""The query parameters of an operation in the OpenAPI document, from the model that parses them."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from service.errors import FieldError
from service.http.json_body import errors_of
from service.http.query_string import QueryModel

Json = dict[str, Any]

BROKEN = {"limit": ["0"]}  # on purpose: the example of a refusal


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
