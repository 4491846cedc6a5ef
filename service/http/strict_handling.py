"""Strict handling: with `Prefer: handling=strict`, body fields and query parameters that are not known are errors.

Without it they are ignored, so that a client of a newer version can talk to an older one.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from pydantic import BaseModel
from sanic import HTTPResponse
from sanic_ext import Extension

from service.errors import Code, FieldError, Problem
from service.field_rules import NOT_KNOWN
from service.http.contract import Contract, Operation
from service.http.json_body import WHOLE_BODY, NestedModel, read_object, validate
from service.http.preconditions import creates
from service.http.prefer import preference
from service.http.query_string import parse_query, read_query
from service.http.request import Request

APPLIED = {"Preference-Applied": "handling=strict"}
MAX_UNKNOWN_NAMES = 1000  # in an answer: a body of 1 MiB has room for 150 000, whose answer would be 8 MiB
AFTER_AUTHENTICATION = -1  # Sanic's priority of a middleware; the others have 0


class StrictHandling(Extension):
    name = "strict"

    def __init__(self, contracts: Sequence[Contract]) -> None:
        self._operations = {
            operation.handler: operation
            for contract in contracts
            if contract.has_strict_handling
            for operation in contract.operations
        }

    def startup(self, _: Any) -> None:
        self.app.on_request(self.refuse_unknown_names, priority=AFTER_AUTHENTICATION)
        self.app.on_response(self.say_applied)

    def refuse_unknown_names(self, request: Request) -> None:
        """A request middleware. A request without unknown names, or with a body that cannot be read, is left to its
        handler. So is one whose body was refused, for which Sanic runs the middleware once more."""
        if "prefer" not in request.headers:  # as most requests: nothing else is called for them
            return
        operation = self._operation_of(request)
        if operation is None:
            return
        sent = _body_of(request, operation)
        if sent is None:
            return
        model = operation.body_of_new if operation.body_of_new and creates(request) else operation.body
        of_body, of_query = _unknown_names(model, sent), _unknown_names(operation.query, read_query(request))
        nested: list[str] = []
        if model is not None and issubclass(model, NestedModel):
            nested += islice(model.unknown_names(sent), MAX_UNKNOWN_NAMES)
        if of_body or nested or of_query:
            # An object with an unknown field is not called empty as well.
            wholes = {WHOLE_BODY} if of_body else set()
            wholes |= {name.partition(".")[0] for name in nested}
            errors = [error for error in _errors(request, operation, model, sent) if error.field not in wholes]
            not_known = _not_known([*of_body, *nested, *of_query], errors)
            raise Problem(Code.VALIDATION_ERROR, details=[*errors, *not_known])

    def say_applied(self, request: Request, response: HTTPResponse) -> None:
        """A response middleware."""
        if "prefer" in request.headers and self._operation_of(request) is not None:
            response.headers.update(APPLIED)

    def _operation_of(self, request: Request) -> Operation | None:
        """The operation that a strict request is for."""
        if request.route is None or preference(request.headers.getall("prefer"), "handling") != "strict":
            return None
        return self._operations.get(request.route.handler)


def _body_of(request: Request, operation: Operation) -> dict[str, Any] | None:
    """The fields of a body; none for an operation that does without a body. None if they cannot be read."""
    try:
        return read_object(request)
    except Problem:
        return None if operation.body and operation.needs_body else {}


def _unknown_names(model: type[BaseModel] | None, names: Iterable[str]) -> list[str]:
    """At most MAX_UNKNOWN_NAMES: looking at all names of a large body would hold up other requests."""
    not_known = (name for name in names if model is None or name not in model.model_fields)
    return list(islice(not_known, MAX_UNKNOWN_NAMES))


def _errors(
    request: Request, operation: Operation, model: type[BaseModel] | None, sent: dict[str, Any]
) -> list[FieldError]:
    """The fields that break a rule. An optional body that is absent breaks none."""
    found: list[FieldError] = []
    try:
        if model is not None and (sent or operation.needs_body):
            validate(model, sent)
    except Problem as problem:
        found += problem.details
    try:
        if operation.query:
            parse_query(operation.query, request)
    except Problem as problem:
        found += problem.details
    return found


def _not_known(names: Iterable[str], errors: Sequence[FieldError]) -> Iterator[FieldError]:
    """One error for each name that has none yet."""
    have_one = {error.field for error in errors}
    fresh = (name for name in dict.fromkeys(names) if name not in have_one)
    yield from (FieldError(name, NOT_KNOWN) for name in islice(fresh, MAX_UNKNOWN_NAMES))
