"""What both FastAPI peers share: the bodies they take, the tokens they trust, the errors they answer."""

import json
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, StrictBool, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

LIST_LIMIT = 1000
PRIORITIES = ("none", "low", "medium", "high")
ALGORITHM = "HS256"
LIFETIME = 24 * 3600
SECRET = os.environ["BETTER_AUTH_SECRET"]
DATABASE_URL = os.environ["DATABASE_URL"]
POOL_MAX = int(os.environ["POOL_MAX"])

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] | None
Given = Annotated[str, StringConstraints(min_length=1)]


class LogIn(BaseModel):
    email: Given
    password: Given


class NewTask(BaseModel):
    title: Title
    description: Description = None


class TaskChanges(BaseModel):
    # The defaults stand for "not sent"; a null that was sent is refused where the type is.
    title: Title = ""
    description: Description = None
    is_completed: StrictBool = False

    @model_validator(mode="after")
    def has_a_field(self) -> "TaskChanges":
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "At least one field is required")
        return self

    def sent(self) -> dict[str, Any]:
        changes = self.model_dump(exclude_unset=True)
        if "description" in changes:
            changes["description"] = changes["description"] or None
        return changes


class ListQuery(BaseModel):
    limit: int = Field(LIST_LIMIT, ge=1, le=LIST_LIMIT)
    cursor: str | None = None
    is_completed: bool | None = None
    q: str | None = Field(None, min_length=1, max_length=100)

    def after(self) -> tuple[datetime, UUID] | None:
        """The last task of the page before."""
        if self.cursor is None:
            return None
        created_at, task_id = json.loads(urlsafe_b64decode(self.cursor))
        return datetime.fromisoformat(created_at), UUID(task_id)


def cursor_behind(created_at: datetime, task_id: UUID) -> str:
    return urlsafe_b64encode(json.dumps([created_at.isoformat(), str(task_id)]).encode()).decode()


class Problem(Exception):  # noqa: N818 - an answer, and no fault of the program
    def __init__(self, status: int, code: str, error: str, details: list[dict[str, str]] | None = None) -> None:
        self.status = status
        self.body: dict[str, Any] = {"error": error, "code": code}
        if details is not None:
            self.body["details"] = details


def task_not_found() -> Problem:
    return Problem(404, "NOT_FOUND", "Task not found")


def login_refused() -> Problem:
    return Problem(401, "INVALID_CREDENTIALS", "Invalid email or password")


def issue_token(user_id: UUID, email: str, generation: int) -> str:
    now = int(time.time())
    claims = {"sub": str(user_id), "user_id": str(user_id), "email": email, "gen": generation}
    return jwt.encode(claims | {"iat": now, "exp": now + LIFETIME}, SECRET, ALGORITHM)


_bearer = HTTPBearer(auto_error=False)


async def current_user(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> UUID:
    if given is None:
        raise Problem(401, "UNAUTHORIZED", "Invalid or missing authentication token")
    try:
        return UUID(jwt.decode(given.credentials, SECRET, [ALGORITHM], {"require": ["exp", "sub"]})["sub"])
    except jwt.ExpiredSignatureError:
        raise Problem(401, "TOKEN_EXPIRED", "Authentication token has expired") from None
    except (jwt.PyJWTError, ValueError):
        raise Problem(401, "INVALID_TOKEN", "Authentication token is invalid") from None


UserId = Annotated[UUID, Depends(current_user)]


def new_app(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    return app


async def _answer_problem(_: Request, problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body, problem.status)


async def _answer_invalid(request: Request, invalid: RequestValidationError) -> JSONResponse:
    errors = invalid.errors()
    if any(error["loc"][0] == "path" for error in errors):  # an id that is none belongs to no task
        return await _answer_problem(request, task_not_found())
    if any(error["type"] == "json_invalid" for error in errors):
        return await _answer_problem(request, Problem(400, "INVALID_REQUEST", "Request body is not valid JSON"))
    details = [_detail(error, is_change=request.method == "PUT") for error in errors]
    return await _answer_problem(request, Problem(400, "VALIDATION_ERROR", "Validation failed", details))


def _detail(error: dict[str, Any], *, is_change: bool) -> dict[str, str]:
    field = str(error["loc"][-1])
    label = field.capitalize()
    if error["type"] == "empty":
        message = error["msg"]
    elif error["type"] in ("missing", "string_too_short") or (error["type"] == "string_type" and not error["input"]):
        message = f"{label} cannot be empty" if is_change else f"{label} is required"
    elif error["type"] == "string_type":
        message = f"{label} must be a string"
    elif error["type"] == "string_too_long":
        message = f"{label} must not exceed {error['ctx']['max_length']} characters"
    else:
        message = f"{field} must be true or false"
    return {"field": field, "message": message}
