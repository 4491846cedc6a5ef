"""How a value becomes an answer: JSON, and times the way both contracts write them."""

from datetime import datetime
from typing import Any

import orjson
from sanic import HTTPResponse


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> HTTPResponse:
    return HTTPResponse(orjson.dumps(body), status, headers, "application/json")


def no_content() -> HTTPResponse:
    return HTTPResponse(status=204, content_type=None)


def timestamp(moment: datetime) -> str:
    """ISO 8601 with six digits of a second and Z. The driver hands every timestamptz over in UTC."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
