"""Every error of the API in one table, and the exception that carries them."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from sanic.exceptions import SanicException


class Code(Enum):
    """An error: its status, its `error` text for people, and when it is answered."""

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
    QUOTA_EXCEEDED = 409, "You have reached the limit of N tasks", "a create beyond `TASKS_PER_USER`, which is the N"
    IDEMPOTENCY_KEY_REUSED = (
        409,
        "The idempotency key was used for another request",
        "the `Idempotency-Key` has an answer already, to another path or body",
    )
    GONE = 410, "The task was deleted", "a create under an id whose task was deleted before"
    CURSOR_EXPIRED = (
        410,
        "Start again without a cursor",
        "a cursor of changes from more than `CHANGES_DAYS` ago, or from before a restore of the database",
    )
    PRECONDITION_FAILED = (
        412,
        "The task has changed",
        "`If-Match` names another version, or `If-None-Match: *` a task that exists; `current` is the task",
    )
    PAYLOAD_TOO_LARGE = 413, "Request body is too large", "a body over 1 MiB"
    RATE_LIMITED = (
        429,
        "Too many attempts, try again later",
        "too many failed logins, sign-ups, or idempotency keys; `Retry-After` says how many seconds to wait",
    )
    INTERNAL_ERROR = 500, "An internal server error occurred", "anything unexpected"
    DATABASE_ERROR = 500, "A database error occurred", "the database is away, timed out, or refused"
    OVERLOADED = (
        503,
        "The service is busy, try again shortly",
        ("no connection or no hashing slot in time, or the keys of the token's issuer are not to be had"),
    )

    def __init__(self, status: int, text: str, when: str) -> None:
        self.status = status
        self.text = text
        self.when = when


TOKEN_CODES = frozenset({Code.UNAUTHORIZED, Code.INVALID_TOKEN, Code.TOKEN_EXPIRED})
RETRY_CODES = frozenset({Code.RATE_LIMITED, Code.OVERLOADED})


class FieldError(NamedTuple):
    field: str
    message: str


class Problem(SanicException):
    """An error to answer with. `reason` is for the log only.

    It is a SanicException so that Sanic and integrations such as Sentry know the status. It is quiet so that they do
    not report it: the access log has it."""

    quiet = True
    retry_after = 1  # seconds; sent with the codes in RETRY_CODES

    def __init__(
        self,
        code: Code,
        text: str | None = None,
        *,
        status: int | None = None,
        details: Sequence[FieldError] = (),
        reason: str | None = None,
    ) -> None:
        super().__init__(code.name, status or code.status, quiet=True)
        self.code = code
        self.text = text or code.text
        self.details = details
        self.reason = reason

    @property
    def status(self) -> int:
        return self.status_code


class LoggableError(Exception):
    """A bug in this code, answered with INTERNAL_ERROR. The log shows its message, which never quotes a request. The
    messages of other exceptions stay out of the log: they may quote a password."""


class RetryLater(Problem):
    """OVERLOADED, with the seconds after which to retry."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(Code.OVERLOADED, reason=reason)
        self.retry_after = retry_after


class LimitReached(Problem):
    """A limit has refused the request. The metrics count it by the limit's name."""

    def __init__(
        self, limit: str, code: Code, text: str | None = None, *, reason: str | None = None, retry_after: int = 1
    ) -> None:
        super().__init__(code, text, reason=reason)
        self.limit = limit
        self.retry_after = retry_after
