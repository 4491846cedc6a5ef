"""An answer that has no end to be known: sent a page at a time, so that none of it lies in memory longer than that."""

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from sanic import HTTPResponse
from sanic.http import Stage

from service.error_handler import problem_of
from service.request import Request

_log = logging.getLogger("service.streaming")


async def stream(request: Request, before: dict[str, Any], name: str, pages: AsyncIterator[Sequence[Any]]) -> None:
    """One JSON object: the fields of `before`, and a list called `name`. What fails at the first page is an error like
    any other; what fails later cuts the connection, because half a list must not look like a whole one."""
    first: Sequence[Any] = await anext(pages, [])
    head = orjson.dumps(before | {name: []}).removesuffix(b"]}")
    response: HTTPResponse = await request.respond(content_type="application/json")
    await response.send(head + _items(first))
    if request.method == "HEAD":
        # What Sanic would call for the rest of an answer to HEAD is no coroutine, and cannot be awaited.
        _is_over(request)
        return
    try:
        async for page in pages:
            await response.send(b"," + _items(page))
    except Exception as exception:  # noqa: BLE001 - whatever it is, the answer has begun
        reason = problem_of(request, exception).reason
        _log.error("an answer was cut off", extra={"fields": {"request_id": request.id, "reason": reason}})
        http: Any = request.http
        http.protocol.abort()
        http.keep_alive = False
        _is_over(request)
        return
    await response.send(b"]}")
    await response.eof()


def _is_over(request: Request) -> None:
    """Or Sanic would send the rest of it."""
    http: Any = request.http
    http.stage, http.response_func = Stage.IDLE, None


def _items(page: Sequence[Any]) -> bytes:
    return orjson.dumps(page)[1:-1]
