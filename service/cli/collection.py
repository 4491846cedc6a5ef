"""The operations as a file of requests for an editor's HTTP client, made from the OpenAPI document: make collection."""

import json
from pathlib import Path
from typing import Any

from service.app import CONTRACTS
from service.openapi.document import openapi

FILE = Path(__file__).resolve().parents[1] / "openapi" / "todo.http"

HEAD = """\
# Made from the OpenAPI document by `make collection`. Set the variables, then send what you like.
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
    lines.append(f"{method} {{{{base}}}}{path.replace('{task_id}', '{{task_id}}')}")
    if operation["security"]:
        lines.append("Authorization: Bearer {{token}}")
    if "requestBody" in operation:
        example = operation["requestBody"]["content"]["application/json"]["example"]
        lines += ["Content-Type: application/json", "", json.dumps(example)]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    FILE.write_text(collection(openapi(CONTRACTS)), encoding="utf-8")
