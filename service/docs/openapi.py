"""The OpenAPI 3.1 document. Nothing about an operation is written here: it comes from the contract that has it."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service import NAME, VERSION
from service.error_handler import UNREADABLE
from service.errors import TOKEN_CODES, Code
from service.operations import Contract, Operation

Json = dict[str, Any]

PATH_PARAMETER = "<task_id>"
ALWAYS = (Code.INVALID_REQUEST, Code.INTERNAL_ERROR, Code.DATABASE_ERROR, Code.OVERLOADED)
WITH_BODY = (Code.VALIDATION_ERROR, Code.PAYLOAD_TOO_LARGE)

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
    },
}
HEADERS: Json = {
    "X-Request-ID": {
        "description": "Names the request in the log; the client's own when it is 1 to 128 of A-Za-z0-9._-",
        "schema": {"type": "string"},
    },
    "Location": {"description": "The path of the new task", "schema": {"type": "string", "format": "uri-reference"}},
    "WWW-Authenticate": {"description": "On errors about tokens", "schema": {"type": "string", "const": "Bearer"}},
    "Retry-After": {"description": "Seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
}


def openapi(contracts: Sequence[Contract]) -> Json:
    schemas: Json = {"Error": ERROR_SCHEMA}
    paths: Json = {}
    for contract in contracts:
        schemas |= _schemas(contract)
        for operation in contract.operations:
            path = (contract.prefix + operation.path).replace(PATH_PARAMETER, "{task_id}")
            paths.setdefault(path, {})[operation.method.lower()] = _operation(contract, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": NAME, "version": VERSION, "description": "Every user sees their own tasks and nothing else."},
        "servers": [{"url": "/"}],
        "tags": [{"name": contract.title} for contract in contracts] + [{"name": "Service"}],
        "paths": paths | _service_paths(),
        "components": {
            "schemas": schemas,
            "headers": HEADERS,
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
    return {_component(contract, name): schema for name, schema in found["$defs"].items()}


def _component(contract: Contract, model: str) -> str:
    """Two contracts may give two models one name."""
    return f"{contract.name}.{model}"


def _operation(contract: Contract, operation: Operation) -> Json:
    described: Json = {
        "tags": [contract.title],
        "operationId": f"{contract.name}_{operation.handler.__name__}",
        "summary": operation.summary,
        "security": [{"bearer": []}] if operation.needs_token else [],
        "responses": _success(contract, operation) | _refusals(operation),
    }
    if PATH_PARAMETER in operation.path:
        described["parameters"] = [
            {
                "name": "task_id",
                "in": "path",
                "required": True,
                "description": "A UUID in its 36-character form; any other text is no task",
                "schema": {"type": "string", "format": "uuid"},
            }
        ]
    if operation.body is not None:
        schema = {"$ref": f"#/components/schemas/{_component(contract, operation.body.__name__)}"}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _success(contract: Contract, operation: Operation) -> Json:
    described: Json = {"description": operation.summary, "headers": _headers("X-Request-ID", *operation.headers)}
    if operation.answer is not None:
        schema = {"$ref": f"#/components/schemas/{_component(contract, operation.answer.__name__)}"}
        described["content"] = {"application/json": {"schema": schema}}
    return {str(operation.status): described}


def _refusals(operation: Operation) -> Json:
    codes = [*operation.refusals, *ALWAYS]
    if operation.body is not None:
        codes += WITH_BODY
    if operation.needs_token:
        codes += TOKEN_CODES
    if PATH_PARAMETER in operation.path:
        codes.append(Code.NOT_FOUND)
    by_status: dict[int, list[Code]] = {status: [Code.INVALID_REQUEST] for status in UNREADABLE if status != 400}
    for code in Code:
        if code in codes:
            by_status.setdefault(code.status, []).append(code)
    return {str(status): _error(by_status[status]) for status in sorted(by_status)}


def _error(codes: Iterable[Code]) -> Json:
    codes = list(codes)
    headers = _headers("X-Request-ID")
    if TOKEN_CODES.issuperset(codes):
        headers |= _headers("WWW-Authenticate")
    if Code.OVERLOADED in codes:
        headers |= _headers("Retry-After")
    return {
        "description": ", ".join(code.name for code in codes),
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _service_paths() -> Json:
    def answers(word: str) -> Json:
        schema = {
            "type": "object",
            "required": ["status"],
            "additionalProperties": False,
            "properties": {"status": {"type": "string", "const": word}},
        }
        return {
            "description": word,
            "headers": _headers("X-Request-ID"),
            "content": {"application/json": {"schema": schema}},
        }

    def described(name: str, summary: str, responses: Json) -> Json:
        return {
            "get": {
                "tags": ["Service"],
                "operationId": name,
                "summary": summary,
                "security": [],
                "responses": responses,
            }
        }

    return {
        "/health": described(
            "health", "Whether this copy should get requests", {"200": answers("healthy"), "503": answers("unhealthy")}
        ),
        "/health/live": described("live", "Whether the process serves at all", {"200": answers("alive")}),
    }
