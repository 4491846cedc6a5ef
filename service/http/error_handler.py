"""From an exception to an error response, worded as the contract of the route words it."""

from collections.abc import Callable, Coroutine
from typing import Any

from sanic import HTTPResponse
from sanic.exceptions import RequestCancelled, SanicException
from sanic_routing.exceptions import NoMethod, NotFound

from service.errors import RETRY_CODES, TOKEN_CODES, Code, LimitReached, Problem
from service.http.request import Request
from service.http.responses import json_response
from service.log.lines import traceback_without_messages

REQUEST_TIMEOUT = 408

# Requests that HTTP itself refuses, with a status of their own.
UNREADABLE = {
    400: "The request could not be understood",
    408: "The request did not arrive in time",
    414: "The address is too long",
    417: "The expectation cannot be met",
    431: "The request headers are too large",
}

# From the name of the operation's handler and the problem to the text of `error` in a contract.
ErrorText = Callable[[str | None, Problem], str]
# From a problem to fields that its answer has besides `error`, `code` and `details` in a contract.
MoreFields = Callable[[Problem], dict[str, Any]]


def no_more_fields(_: Problem) -> dict[str, Any]:
    return {}


def error_handler(
    error_text: ErrorText, more_fields: MoreFields = no_more_fields
) -> Callable[[Request, Exception], Coroutine[Any, Any, HTTPResponse]]:
    """The exception handler of one contract. `error_text` gets the name of the operation's handler."""

    async def handle(request: Request, exception: Exception) -> HTTPResponse:
        problem = problem_of(exception)
        # After a timeout the rest of the body is not waited for.
        if problem.status != REQUEST_TIMEOUT and not await request.finish_reading():
            problem = _problem_of_http(400)
        request.ctx.code = problem.code.name
        if problem.reason is not None:
            request.ctx.reason = problem.reason
        if isinstance(problem, LimitReached):
            request.app.ctx.limit_hits[problem.limit] += 1
        operation = request.route.handler.__name__ if request.route else None
        body = error_body(error_text, operation, problem) | more_fields(problem)
        return json_response(body, problem.status, headers_of(request, problem))

    return handle


def error_body(error_text: ErrorText, operation: str | None, problem: Problem) -> dict[str, object]:
    body: dict[str, object] = {"error": error_text(operation, problem), "code": problem.code.name}
    if problem.details:
        body["details"] = [detail._asdict() for detail in problem.details]
    return body


async def client_has_gone(_: Request, __: RequestCancelled) -> HTTPResponse:
    """The client has closed the connection: no response is read. 499 in the log tells it from a failure of ours."""
    return HTTPResponse(status=499)


def problem_of(exception: Exception) -> Problem:
    """The problem that an exception is to a client: INTERNAL_ERROR if unexpected, with its traceback for the log."""
    if isinstance(exception, Problem):
        return exception
    if isinstance(exception, SanicException) and exception.status_code != 500:
        return _problem_of_http(exception.status_code)
    return Problem(Code.INTERNAL_ERROR, reason=traceback_without_messages(exception))


def _problem_of_http(status: int) -> Problem:
    match status:
        case 404:
            return Problem(Code.NOT_FOUND)
        case 405:
            return Problem(Code.METHOD_NOT_ALLOWED)
        case 413:
            return Problem(Code.PAYLOAD_TOO_LARGE)
        case 503:
            return Problem(Code.OVERLOADED, reason="the handler took longer than all its limits together")
    return Problem(Code.INVALID_REQUEST, UNREADABLE.get(status, UNREADABLE[400]), status=status)


def headers_of(request: Request, problem: Problem) -> dict[str, str]:
    if problem.code in TOKEN_CODES:
        return {"WWW-Authenticate": "Bearer"}
    if problem.code in RETRY_CODES:
        return {"Retry-After": str(problem.retry_after)}
    if problem.code is Code.METHOD_NOT_ALLOWED:
        return {"Allow": ", ".join(allowed_methods(request))}
    return {}


def allowed_methods(request: Request) -> list[str]:
    """The methods that the router has for a path. Sanic's exception does not name them for a path with a parameter."""
    allowed = []
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        try:
            request.app.router.resolve(path=request.path, method=method)
        except (NotFound, NoMethod):
            continue
        allowed.append(method)
    return [*allowed, "OPTIONS"]
