"""The OpenAPI 3.1 document. Nothing about an operation is written here: it comes from the contract that has it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service import NAME, VERSION
from service.errors import RETRY_CODES, TOKEN_CODES, Code, FieldError, Problem
from service.field_rules import NOT_KNOWN
from service.http.contract import Contract, Operation
from service.http.error_handler import UNREADABLE, error_body
from service.http.json_body import validate
from service.openapi.parameters import PATH_PARAMETER, PREFER, REQUEST_HEADERS, parameters, refused_parameters

Json = dict[str, Any]

DESCRIPTION = """\
A todo backend. Every user sees their own tasks and nothing of anyone else's.

Two contracts are served side by side, and a task that was written through one can be read through the other. Paths
are complete: those that start with `/v1` are January's, whose clients have a base URL that ends in `/v1` and add
`/api/...`. HEAD answers on every GET, without the body; a trailing slash is the same path.
"""
# Every path here is relative to it. January's base URL, which ends in /v1, would repeat a part of January's paths.
SERVERS = [{"url": "/", "description": "The host that serves this document"}]

HTTP_STATUSES = [status for status in UNREADABLE if status != Code.INVALID_REQUEST.status]
ALWAYS = (Code.INVALID_REQUEST, Code.PAYLOAD_TOO_LARGE, Code.INTERNAL_ERROR, Code.DATABASE_ERROR, Code.OVERLOADED)

# Broken on purpose, in the order in which they are tried: the first that a model refuses is the example of its refusal.
BROKEN_BODIES: Sequence[Json] = ({}, {"title": ""})

# Further members of an error, for its example.
BESIDES: dict[Code, Json] = {
    Code.PRECONDITION_FAILED: {
        "current": {
            "id": "7d4f1c1e-5b0a-4b8e-9d3a-2f6f1c0a9b52",
            "user_id": "0b8c7a54-91f3-4f0e-8a57-6d1b6b2f3c11",
            "title": "Buy milk",
            "description": "two litres",
            "is_completed": False,
            "due_on": "2026-12-24",
            "due_time": "09:30",
            "time_zone": "Europe/Berlin",
            "priority": "high",
            "tags": ["shopping"],
            "created_at": "2026-12-01T08:00:00.000000Z",
            "updated_at": "2026-12-02T17:45:00.000000Z",
            "completed_at": None,
            "version": 7,
        }
    }
}

ERROR_SCHEMA: Json = {
    "type": "object",
    "required": ["error", "code"],
    "additionalProperties": False,
    "properties": {
        "error": {"type": "string", "description": "For people"},
        "code": {"type": "string", "enum": [code.name for code in Code], "description": "For programs"},
        "details": {
            "type": "array",
            "description": "The fields at fault, all of them, in the order of the contract",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "additionalProperties": False,
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "current": {"$ref": "#/components/schemas/Task", "description": "The task as it is; PRECONDITION_FAILED alone"},
    },
}
HEADERS: Json = {
    "X-Request-ID": {
        "description": "Names the request in the log; the client's own when it is 1 to 128 of A-Za-z0-9._-",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "ETag": {
        "description": 'The version of the task, `"5"`; of a list `W/"7"`, the newest version of all tasks',
        "required": True,
        "schema": {"type": "string", "pattern": '^(W/)?"[0-9]+"$'},
    },
    "Link": {
        "description": 'The next page, as `</api/tasks?...>; rel="next"`. Absent on the last one',
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "The path of the new task",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Idempotency-Replayed": {
        "description": "The answer is that of an earlier request with this `Idempotency-Key`",
        "schema": {"type": "string", "const": "true"},
    },
    "WWW-Authenticate": {
        "description": "On errors about tokens",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
    },
    "Retry-After": {
        "description": "Seconds",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "Preference-Applied": {
        "description": "On every answer to a request with `Prefer: handling=strict`",
        "schema": {"type": "string", "const": "handling=strict"},
    },
}
PREFERENCE_SCHEMA: Json = {"title": "Preference", "type": "string", "enum": ["handling=strict", "handling=lenient"]}


def openapi(contracts: Sequence[Contract]) -> Json:
    schemas: Json = {"Error": ERROR_SCHEMA, "Preference": PREFERENCE_SCHEMA}
    paths: Json = {}
    for contract in contracts:
        schemas |= _schemas(contract)
        for operation in contract.operations:
            path = (contract.prefix + operation.path).replace(PATH_PARAMETER, "{task_id}")
            paths.setdefault(path, {})[operation.method.lower()] = _operation(contract, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": NAME, "version": VERSION, "description": DESCRIPTION},
        "servers": SERVERS,
        "tags": [
            *({"name": contract.title, "description": contract.description} for contract in contracts),
            {"name": "Service", "description": "For operators and load balancers."},
        ],
        "paths": paths | _service_paths(),
        "components": {
            "schemas": schemas,
            "headers": HEADERS,
            "parameters": {"Prefer": PREFER} | REQUEST_HEADERS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _schemas(contract: Contract) -> Json:
    wanted: list[tuple[Any, JsonSchemaMode]] = []
    for operation in contract.operations:
        if operation.body is not None:
            wanted.append((operation.body, "validation"))
        if operation.answer is not None:
            wanted.append((operation.answer, "serialization"))
    _, found = models_json_schema(wanted, ref_template=f"#/components/schemas/{_component(contract, '{model}')}")
    # Generators name a class by the title, so it is as unique as the component's name.
    named = {_component(contract, name): schema for name, schema in found["$defs"].items()}
    return {name: schema | {"title": name} for name, schema in named.items()}


def _component(contract: Contract, model: str) -> str:
    """Two contracts may give two models one name; the current contract's has no prefix."""
    return model if contract.name == "api" else f"{contract.name.upper()}{model}"


def _operation(contract: Contract, operation: Operation) -> Json:
    described: Json = {
        "tags": [contract.title],
        "operationId": _operation_id(contract, operation),
        "summary": operation.summary,
        "security": [{"bearer": []}] if operation.needs_token else [],
        "responses": _success(contract, operation) | _refusals(contract, operation),
    }
    if found := list(parameters(contract, operation)):
        described["parameters"] = found
    if operation.body is not None:
        schema = {"$ref": f"#/components/schemas/{_component(contract, operation.body.__name__)}"}
        [example] = operation.body.model_json_schema()["examples"]
        content = {"schema": schema, "example": example}
        described["requestBody"] = {"required": operation.needs_body, "content": {"application/json": content}}
    return described


def _operation_id(contract: Contract, operation: Operation) -> str:
    """`createTask`, and `v1CreateTask`: what a generator makes a function of."""
    words = operation.handler.__name__.split("_")
    first, *rest = words if contract.name == "api" else [contract.name, *words]
    return first + "".join(word.title() for word in rest)


def _success(contract: Contract, operation: Operation) -> Json:
    headers = _headers(*_every_header(contract), *operation.headers)
    described: Json = {"description": operation.summary, "headers": headers}
    if operation.answer is not None:
        schema = {"$ref": f"#/components/schemas/{_component(contract, operation.answer.__name__)}"}
        described["content"] = {"application/json": {"schema": schema}}
    found = {str(operation.status): described}
    if operation.body_of_new:
        found["201"] = described | {"description": "Created", "headers": headers | _headers("Location")}
    if operation.may_be_known:
        found["304"] = {"description": "The client has this answer already", "headers": headers}
    return found


def _refusals(contract: Contract, operation: Operation) -> Json:
    by_status: dict[int, list[Problem]] = {}
    for problem in _problems(contract, operation):
        by_status.setdefault(problem.status, []).append(problem)
    return {
        str(status): _error(
            {each.code.name: _example(contract, operation, each) for each in problems},
            {each.code for each in problems},
            _every_header(contract),
        )
        for status, problems in sorted(by_status.items())
    }


def _example(contract: Contract, operation: Operation, problem: Problem) -> Json:
    return error_body(contract.error_text, operation.handler.__name__, problem) | BESIDES.get(problem.code, {})


def _problems(contract: Contract, operation: Operation) -> Iterator[Problem]:
    """Everything that this operation can answer and that is no success."""
    codes = [*operation.refusals, *ALWAYS]
    if operation.needs_token:
        codes += TOKEN_CODES
    for code in Code:
        if code in codes:
            yield Problem(code)
    for status in HTTP_STATUSES:
        yield Problem(Code.INVALID_REQUEST, UNREADABLE[status], status=status)
    if PATH_PARAMETER in operation.path:
        yield Problem(Code.NOT_FOUND, "Task not found")
    if operation.query is not None:
        yield Problem(Code.VALIDATION_ERROR, details=refused_parameters(operation.query))
    if operation.body is not None:
        yield _refusal_of_a_body(operation.body)
    elif operation.query is None and contract.has_strict_handling:
        yield Problem(Code.VALIDATION_ERROR, details=[FieldError("dueDate", NOT_KNOWN)])


def _refusal_of_a_body(model: type[BaseModel]) -> Problem:
    for broken in BROKEN_BODIES:
        try:
            validate(model, broken)
        except Problem as problem:
            return problem
    raise ValueError(f"{model} takes every body of BROKEN_BODIES")


def _error(examples: Json, codes: Iterable[Code], headers_of_all: Iterable[str] = ("X-Request-ID",)) -> Json:
    codes = set(codes)
    headers = _headers(*headers_of_all)
    if codes <= TOKEN_CODES:
        headers |= _headers("WWW-Authenticate")
    if codes & RETRY_CODES:
        headers |= _headers("Retry-After")
    content = {
        "schema": {"$ref": "#/components/schemas/Error"},
        "examples": {name: {"value": body} for name, body in examples.items()},
    }
    return {"description": ", ".join(examples), "headers": headers, "content": {"application/json": content}}


def _every_header(contract: Contract) -> list[str]:
    """The headers of every response of a contract."""
    return ["X-Request-ID", "Preference-Applied"] if contract.has_strict_handling else ["X-Request-ID"]


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _service_paths() -> Json:
    def word(description: str, word: str) -> Json:
        return _object(description, {"status": {"type": "string", "const": word}})

    text: Json = {"type": "string"}
    names = {"name": text, "version": text, "docs": {"type": "string", "format": "uri-reference"}}
    return {
        "/": _get("index", "Name, version and documentation", {"200": _object("The service and its reference", names)}),
        "/health": _get(
            "health",
            "Whether this copy should get requests",
            {
                "200": word("The database answers and its schema is not behind", "healthy"),
                "503": word("The database is away, its schema is behind, or the service is stopping", "unhealthy"),
            },
        ),
        "/health/live": _get("live", "Whether the process serves at all", {"200": word("It does", "alive")}),
    }


def _object(description: str, properties: Json) -> Json:
    schema = {"type": "object", "required": list(properties), "additionalProperties": False, "properties": properties}
    content = {"application/json": {"schema": schema}}
    return {"description": description, "headers": _headers("X-Request-ID"), "content": content}


def _get(name: str, summary: str, responses: Json) -> Json:
    problems = [Problem(Code.INVALID_REQUEST), Problem(Code.PAYLOAD_TOO_LARGE), Problem(Code.INTERNAL_ERROR)]
    problems += [Problem(Code.INVALID_REQUEST, UNREADABLE[status], status=status) for status in HTTP_STATUSES]
    errors = {
        str(each.status): _error({each.code.name: {"error": each.text, "code": each.code.name}}, {each.code})
        for each in problems
    }
    operation = {"tags": ["Service"], "operationId": name, "summary": summary, "security": []}
    return {"get": operation | {"responses": responses | errors}}
