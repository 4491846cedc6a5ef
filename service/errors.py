"""Everything that can go wrong, on one page: the table, the one exception, the one handler."""

import traceback
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from typing import Any, NamedTuple

from sanic import HTTPResponse
from sanic.exceptions import SanicException
from sanic_routing.exceptions import NoMethod, NotFound

from service.answers import answer
from service.request import Request


class Code(Enum):
    """Code, status, the `error` text for people, and when it is answered."""

    UNAUTHORIZED = 401, "Invalid or missing authentication token", "no token, or not `Bearer`"
    INVALID_TOKEN = (
        401,
        "Authentication token is invalid",
        "malformed, bad signature, wrong algorithm, missing or odd claims, user gone",
    )
    TOKEN_EXPIRED = 401, "Authentication token has expired", "good, but `exp` has passed"
    INVALID_CREDENTIALS = 401, "Invalid email or password", "login refused"
    VALIDATION_ERROR = 400, "Validation failed", "a field breaks a rule; `details` says which and why"
    INVALID_REQUEST = (
        400,
        "Request body is not valid JSON",
        "the request cannot be read; 408, 414, 417 and 431 keep their own status",
    )
    NOT_FOUND = 404, "Not found", "no such path, or no such task of this user (then `Task not found`)"
    METHOD_NOT_ALLOWED = 405, "Method not allowed", "the path exists, the method does not; see `Allow`"
    EMAIL_EXISTS = 409, "Email already registered", "signup with a taken email"
    PAYLOAD_TOO_LARGE = 413, "Request body is too large", "a body over 1 MiB"
    INTERNAL_ERROR = 500, "An internal server error occurred", "anything unexpected"
    DATABASE_ERROR = 500, "A database error occurred", "the database is away, timed out, or refused"
    OVERLOADED = 503, "The service is busy, try again shortly", "no connection or no hashing slot in time"

    def __init__(self, status: int, text: str, when: str) -> None:
        self.status = status
        self.text = text
        self.when = when


TOKEN_CODES = frozenset({Code.UNAUTHORIZED, Code.INVALID_TOKEN, Code.TOKEN_EXPIRED})

# What HTTP itself refuses, under its own status.
UNREADABLE = {
    400: "The request could not be understood",
    408: "The request did not arrive in time",
    414: "The address is too long",
    417: "The expectation cannot be met",
    431: "The request headers are too large",
}


class FieldError(NamedTuple):
    field: str
    message: str


class Problem(Exception):  # noqa: N818 - half of them are the client's doing and no error of ours
    """An answer that is no success. `reason` is for the log alone."""

    def __init__(
        self,
        code: Code,
        text: str | None = None,
        *,
        status: int | None = None,
        details: Sequence[FieldError] = (),
        reason: str | None = None,
    ) -> None:
        super().__init__(code.name)
        self.code = code
        self.text = text or code.text
        self.status = status or code.status
        self.details = details
        self.reason = reason


ErrorText = Callable[[Request, Problem], str]


def error_handler(error_text: ErrorText) -> Callable[[Request, Exception], Coroutine[Any, Any, HTTPResponse]]:
    """The handler of one contract, which says in `error_text` how an error reads for its clients."""

    async def handle(request: Request, exception: Exception) -> HTTPResponse:
        problem = problem_of(request, exception)
        await request.finish_reading()
        if problem.reason is not None:
            request.ctx.reason = problem.reason
        body: dict[str, object] = {"error": error_text(request, problem), "code": problem.code.name}
        if problem.details:
            body["details"] = [detail._asdict() for detail in problem.details]
        return answer(body, problem.status, headers_of(request, problem))

    return handle


def problem_of(request: Request, exception: Exception) -> Problem:
    """What an exception is to a client. What nobody expected is INTERNAL_ERROR, and its story goes to the log."""
    if isinstance(exception, Problem):
        return exception
    if isinstance(exception, SanicException) and exception.status_code != 500:
        return _problem_of_http(request, exception.status_code)
    return Problem(Code.INTERNAL_ERROR, reason=story_of(exception))


def story_of(exception: BaseException) -> str:
    """Where it happened and what it was, without its message: that may quote a password out of a request."""
    frames = "".join(traceback.format_tb(exception.__traceback__))
    cause = exception.__cause__ or exception.__context__
    return (
        f"{story_of(cause)}then\n{frames}{type(exception).__name__}\n"
        if cause
        else f"{frames}{type(exception).__name__}\n"
    )


def _problem_of_http(request: Request, status: int) -> Problem:
    if request.was_unreadable and status == 413:
        # Sanic says 413 of a head that is too large, whatever part of it was.
        http = request.http
        status = 431 if b"\r\n" in http.recv_buffer[: http.HEADER_MAX_SIZE] else 414
    match status:
        case 404:
            return Problem(Code.NOT_FOUND)
        case 405:
            return Problem(Code.METHOD_NOT_ALLOWED)
        case 413:
            return Problem(Code.PAYLOAD_TOO_LARGE)
        case 503:
            return Problem(Code.OVERLOADED, reason="the handler took longer than RESPONSE_TIMEOUT")
    return Problem(Code.INVALID_REQUEST, UNREADABLE.get(status, UNREADABLE[400]), status=status)


def headers_of(request: Request, problem: Problem) -> dict[str, str]:
    if problem.code in TOKEN_CODES:
        return {"WWW-Authenticate": "Bearer"}
    if problem.code is Code.OVERLOADED:
        return {"Retry-After": "1"}
    if problem.code is Code.METHOD_NOT_ALLOWED:
        return {"Allow": ", ".join(allowed_methods(request))}
    return {}


def allowed_methods(request: Request) -> list[str]:
    """Asked of the router: for a path with a parameter Sanic's own exception does not know."""
    allowed = []
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        try:
            request.app.router.resolve(path=request.path, method=method)
        except (NotFound, NoMethod):
            continue
        allowed.append(method)
    return [*allowed, "OPTIONS"]
