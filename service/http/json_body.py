"""A request's body: from bytes to a model, or a problem that names every field that breaks a rule."""

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from sanic.headers import parse_content_header

from service.errors import Code, FieldError, Problem
from service.http.request import Request

JSON = "application/json"
MAX_BODY = 1024 * 1024  # bytes
WHOLE_BODY = "body"  # the name of what is no single field

Model = TypeVar("Model", bound=BaseModel)


class NestedModel(BaseModel):
    """A model with a field that holds models of their own."""

    @classmethod
    def unknown_names(cls, sent: dict[str, Any]) -> Iterator[str]:
        """The names in those that they do not know, as `details` calls them."""
        raise NotImplementedError  # only a model that says what it holds can be checked strictly


def parse(model: type[Model], request: Request) -> Model:
    return validate(model, read_object(request))


def validate(model: type[Model], sent: dict[str, Any]) -> Model:
    # A required field that is absent reaches its rule as null: the rule's message is the contract's, pydantic's is not.
    try:
        return model.model_validate(_required_as_null(model) | sent)
    except ValidationError as error:
        raise Problem(Code.VALIDATION_ERROR, details=errors_of(error)) from None


def errors_of(error: ValidationError) -> list[FieldError]:
    """The error of each field. One without a field is of the body as a whole."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [FieldError(str(detail["loc"][0]) if detail["loc"] else WHOLE_BODY, detail["msg"]) for detail in found]


@cache
def _required_as_null(model: type[BaseModel]) -> dict[str, None]:
    return {name: None for name, field in model.model_fields.items() if field.is_required()}


def read_object(request: Request) -> dict[str, Any]:
    if not _is_json(request):
        raise Problem(Code.INVALID_REQUEST, "Content-Type must be application/json")
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise Problem(Code.INVALID_REQUEST) from None
    if not isinstance(body, dict):
        raise Problem(Code.INVALID_REQUEST, "Request body must be a JSON object")
    return body


def _is_json(request: Request) -> bool:
    given = request.headers.getall("content-type", [])
    return given == [JSON] or (len(given) == 1 and parse_content_header(given[0])[0] == JSON)
