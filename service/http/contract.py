"""Operation and Contract: the table from which both the routes and the documentation of a contract are built."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sanic import Blueprint, HTTPResponse

from service.errors import Code
from service.http.authenticate import authenticate
from service.http.error_handler import ErrorText, MoreFields, error_handler, no_more_fields
from service.http.query_string import QueryModel

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]  # None: it has streamed its response


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str  # below the contract's prefix
    handler: Handler
    summary: str
    status: int
    answer: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    refusals: Sequence[Code] = ()  # beyond those that follow from a body, a token, a path parameter and the database
    needs_token: bool = True
    needs_body: bool = True  # if `body` is set
    query: type[QueryModel] | None = None  # the parameters of its query string
    headers: Sequence[str] = ()  # of its response, beyond those of every response
    request_headers: Sequence[str] = ()  # by their names in the OpenAPI document
    body_of_new: type[BaseModel] | None = None  # with `If-None-Match: *`, answered 201 with `Location`
    may_be_known: bool = False  # it can answer 304 as well, without a body

    @property
    def methods(self) -> list[str]:
        return ["GET", "HEAD"] if self.method == "GET" else [self.method]


@dataclass(frozen=True, slots=True)
class Contract:
    name: str
    title: str
    description: str
    prefix: str
    error_text: ErrorText
    operations: Sequence[Operation]
    has_strict_handling: bool = False  # http/strict_handling.py
    more_fields: MoreFields = no_more_fields  # of its errors

    def blueprints(self) -> Iterator[Blueprint]:
        """One for the routes that need a token, and one for those that do not."""
        for needs_token in (False, True):
            name = f"{self.name}_private" if needs_token else self.name
            blueprint = Blueprint(name, url_prefix=self.prefix)
            for operation in self.operations:
                if operation.needs_token is needs_token:
                    blueprint.add_route(operation.handler, operation.path, operation.methods)
            blueprint.exception(Exception)(error_handler(self.error_text, self.more_fields))
            if needs_token:
                blueprint.on_request(authenticate)
            yield blueprint
