"""A list as a response: a short one in one piece, a long one streamed in pieces.

A long list is read from the database in pages (the rows of one SELECT) and written to the client in pieces of JSON.
The next page is read when the client has taken in most of the piece before: the response is never in memory as a whole,
and other requests are served between two pieces. The pages are no snapshot. Their order never changes, so a task that
does not change meanwhile is in the response exactly once; a task that is created or deleted meanwhile may be in it or
not.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import orjson
from sanic import HTTPResponse

from service.db.database import Database, Row
from service.http.error_handler import problem_of
from service.http.request import Request
from service.http.responses import JsonResponse, StreamedResponse, json_response

MAX_PAGE_ROWS = 250  # of a page; a shorter list of small tasks is one statement and one piece
ROWS_AT_ONCE = 25  # serialised in the first call, then as many as so far; of the largest tasks 335 kB and 0.3 ms
PIECE_BYTES = 128 * 1024  # of JSON; a piece with so many is full

Buffer: TypeAlias = bytes | memoryview

# Reads a user's rows that follow the given one (None: from the start), at most so many.
Read: TypeAlias = Callable[[Database, UUID, Row | None, int], Awaitable[list[Row]]]

_log = logging.getLogger("service.http.json_stream")


class Listing(NamedTuple):
    """A list of a contract: which rows, and the JSON of each."""

    name: str
    read: Read
    item: Callable[[Row], dict[str, Any]]
    max_rows: int | None


class Pieces:
    """The rows of a list as pieces of JSON. Rows of a page that do not fit into a piece are read again for the next
    one: a thousand slow clients would otherwise keep theirs in memory."""

    def __init__(self, request: Request, listing: Listing) -> None:
        self._database, self._user_id = request.app.ctx.database, request.ctx.user_id
        self._slots = request.app.ctx.long_lists
        self._listing = listing
        self._rows_left = listing.max_rows
        self._last: Row | None = None
        self._rows = MAX_PAGE_ROWS
        self.is_over = False

    async def next(self) -> list[Buffer]:
        wanted = self._rows if self._rows_left is None else min(self._rows, self._rows_left)
        async with self._slots.slot(self._user_id):
            page = await self._listing.read(self._database, self._user_id, self._last, wanted)
            return self.made_of(page, wanted)

    def made_of(self, page: list[Row], wanted: int) -> list[Buffer]:
        """Parts to be joined, each row with a comma before it."""
        parts: list[Buffer] = []
        items = [self._listing.item(row) for row in page]
        size = taken = 0
        while taken < len(page) and size < PIECE_BYTES:
            some = items[taken : taken + max(taken, ROWS_AT_ONCE)]
            array = orjson.dumps(some)
            parts += (b",", memoryview(array)[1:-1])
            size += len(array)
            taken += len(some)
        if self._rows_left is not None:
            self._rows_left -= taken
        self.is_over = self._rows_left == 0 or taken == len(page) < wanted
        if taken:
            self._last = page[taken - 1]
            self._rows = max(1, min(MAX_PAGE_ROWS, PIECE_BYTES * taken // size))
        return parts


async def answer_list(request: Request, listing: Listing, before: dict[str, Any] | None = None) -> HTTPResponse | None:
    """Responds with one JSON object: the fields of `before`, and the list. None if the response was streamed."""
    page = await listing.read(request.app.ctx.database, request.ctx.user_id, None, MAX_PAGE_ROWS)
    if len(page) <= ROWS_AT_ONCE:
        body = {listing.name: [listing.item(row) for row in page]}
        return json_response(before | body if before else body)
    pieces = Pieces(request, listing)
    begin = pieces.made_of(page, MAX_PAGE_ROWS)
    # In place of the first comma: the object up to the list's opening bracket, without the `]}` that ends it.
    begin[0] = orjson.dumps((before or {}) | {listing.name: []})[:-2]
    if pieces.is_over:
        begin.append(b"]}")
        return JsonResponse(b"".join(begin), 200, None, "application/json")
    del page  # it would stay in memory while a slow client reads
    await _stream(request, begin, pieces)
    return None


async def _stream(request: Request, begin: list[Buffer], pieces: Pieces) -> None:
    """An error at a later piece cuts the connection, because half a list must not look like a whole one."""
    response = StreamedResponse(content_type="application/json")
    await request.respond(response)
    if request.version == "1.0" or request.method == "HEAD":
        await response.send(b"")  # the head alone: Sanic would make a chunk of data sent with it
    if request.method == "HEAD":
        request.end_without_body()
        return
    await response.send(b"".join(begin))
    begin.clear()
    try:
        while not pieces.is_over:
            await request.until_read()
            if piece := b"".join(await pieces.next()):
                await response.send(piece)
            del piece  # as above
    except Exception as exception:  # noqa: BLE001 - any error: the response has begun
        reason = problem_of(exception).reason
        _log.error("an answer was cut off", extra={"fields": {"request_id": request.id, "reason": reason}})
        request.cut_off()
        return
    await response.send(b"]}", end_stream=True)
