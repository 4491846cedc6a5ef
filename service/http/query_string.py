"""A request's query: from the raw text to a model, or a problem that names every parameter that breaks a rule."""

import re
from typing import TypeVar, get_origin
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ValidationError

from service.errors import Code, FieldError, Problem
from service.http.json_body import errors_of
from service.http.request import Request

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

Query = TypeVar("Query", bound=BaseModel)


def parse_query(model: type[Query], request: Request) -> Query:
    """Every parameter of the model is a text, or a list of texts if it may be given several times. The order of the
    errors is that of the model's fields, which is the order of the contract."""
    given = read_query(request)
    once = {name: values for name, values in given.items() if name in model.model_fields}
    details = []
    sent: dict[str, str | list[str]] = {}
    for name, values in once.items():
        if may_be_repeated(model, name):
            sent[name] = values
        elif len(values) == 1:
            sent[name] = values[0]
        else:
            details.append(FieldError(name, f"{name} must be given once"))
    try:
        found = model.model_validate(sent, context=request.ctx)
    except ValidationError as error:
        details += errors_of(error)
    if details:
        order = list(model.model_fields)
        raise Problem(Code.VALIDATION_ERROR, details=sorted(details, key=lambda detail: order.index(detail.field)))
    return found


def may_be_repeated(model: type[BaseModel], name: str) -> bool:
    return get_origin(model.model_fields[name].annotation) is list


def read_query(request: Request) -> dict[str, list[str]]:
    """The values of each parameter, in order; one without `=` is blank.

    What is not UTF-8 in percent-encoding stays in a value as a lone surrogate, which every rule refuses. In a name it
    becomes U+FFFD: no parameter has such a name, and it may be shown in an answer."""
    found: dict[str, list[str]] = {}
    _, _, query = request.raw_url.partition(b"?")
    for part in query.partition(b"#")[0].split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            found.setdefault(_decoded(name, "replace"), []).append(_decoded(value, "surrogateescape"))
    return found


def _decoded(raw: bytes, errors: str) -> str:
    """A `%` that begins no escape becomes a byte that UTF-8 never has."""
    return unquote_to_bytes(_BROKEN_ESCAPE.sub(b"\xff", raw.replace(b"+", b" "))).decode(errors=errors)
