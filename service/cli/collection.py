"""Writes todo.http, requests for an editor's HTTP client, from the OpenAPI document: make generated."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

FILE = Path(__file__).resolve().parents[1] / "openapi" / "todo.http"

HEAD = """\
# Made from the OpenAPI document by `make generated`. Set the variables, then send what you like.
@base = http://127.0.0.1:8000
@token = paste the token of a sign-up or a login
@task_id = paste the id of a task
"""


def collection(document: dict[str, Any]) -> str:
    requests = [
        _request(method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return "\n".join([HEAD, *requests])


def _request(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"### {operation['tags'][0]}: {operation['summary']}", f"# @name {operation['operationId']}"]
    lines.append(f"{method} {{{{base}}}}{path.replace('{task_id}', '{{task_id}}')}{_query(operation)}")
    if operation["security"]:
        lines.append("Authorization: Bearer {{token}}")
    if "requestBody" in operation:
        example = operation["requestBody"]["content"]["application/json"]["example"]
        lines += ["Content-Type: application/json", "", json.dumps(example)]
    return "\n".join([*lines, ""])


def _query(operation: dict[str, Any]) -> str:
    """The examples of the query parameters, all of them in one request."""
    examples = {
        each["name"]: _text(each["example"])
        for each in operation.get("parameters", [])
        if each.get("in") == "query" and "example" in each
    }
    return f"?{urlencode(examples, doseq=True)}" if examples else ""


def _text(example: Any) -> Any:
    return json.dumps(example) if isinstance(example, bool) else example
