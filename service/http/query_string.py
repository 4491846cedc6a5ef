"""A request's query: from the raw text to a model, or a problem that names every parameter that breaks a rule."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, get_origin
from urllib.parse import quote, unquote_to_bytes, urlencode

from pydantic import BaseModel, ValidationError, ValidationInfo, field_validator

from service.errors import Code, Problem
from service.field_rules import rule_error
from service.http.json_body import errors_of
from service.http.request import Request

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

Parameters = dict[str, list[str]]


class QueryModel(BaseModel):
    """The query parameters of an operation. The rule of a parameter gets a text. That of a tuple gets a list of texts:
    such a parameter may be given several times."""

    order: ClassVar[Sequence[str]]  # of the contract, in which errors are listed

    @field_validator("*", mode="before")
    @classmethod
    def _is_given_once(cls, values: list[str], info: ValidationInfo) -> Any:
        if cls.may_be_repeated(info.field_name or ""):
            return values
        if len(values) > 1:
            raise rule_error(f"{info.field_name} must be given once")
        return values[0]

    @classmethod
    def may_be_repeated(cls, name: str) -> bool:
        return get_origin(cls.model_fields[name].annotation) is tuple


Query = TypeVar("Query", bound=QueryModel)


def parse_query(model: type[Query], request: Request) -> Query:
    """The rules find request.ctx in their context. Unknown parameters are ignored."""
    try:
        return model.model_validate(read_query(request), context=request.ctx)
    except ValidationError as error:
        found = sorted(errors_of(error), key=lambda detail: model.order.index(detail.field))
        raise Problem(Code.VALIDATION_ERROR, details=found) from None


def has_query(request: Request) -> bool:
    return b"?" in request.raw_url


def read_query(request: Request) -> Parameters:
    """The values of each parameter, in order; one without `=` is blank.

    What is not UTF-8 in percent-encoding stays in a value as a lone surrogate, which every rule refuses. In a name it
    becomes U+FFFD: no parameter has such a name, and it may be shown in an answer."""
    found: Parameters = {}
    _, _, query = request.raw_url.partition(b"?")
    for part in query.partition(b"#")[0].split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            found.setdefault(_decoded(name, "replace"), []).append(_decoded(value, "surrogateescape"))
    return found


def next_link(path: str, request: Request, cursor: str) -> dict[str, str]:
    """The header that leads to the next page, with the parameters of the request."""
    parameters = {name: values for name, values in read_query(request).items() if name != "cursor"}
    query = urlencode(parameters | {"cursor": cursor}, doseq=True, errors="surrogateescape", quote_via=quote)
    return {"Link": f'<{path}?{query}>; rel="next"'}


def _decoded(raw: bytes, errors: str) -> str:
    """A `%` that begins no escape becomes a byte that UTF-8 never has."""
    return unquote_to_bytes(_BROKEN_ESCAPE.sub(b"\xff", raw.replace(b"+", b" "))).decode(errors=errors)
