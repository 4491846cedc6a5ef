"""A list as a response: a short one in one piece, a long one streamed in pieces.

A long list is read from the database in pages (the rows of one SELECT) and written to the client in pieces of JSON.
The next page is read when the client has taken in most of the piece before: the response is never in memory as a whole,
and other requests are served between two pieces.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import orjson
from sanic import HTTPResponse

from service.db.database import Row
from service.domain.task_lists import Page
from service.http.error_handler import problem_of
from service.http.list_rows import FollowingRows, ReadAfter, TasksOfPage, UnsentRows
from service.http.request import Request
from service.http.responses import JsonResponse, StreamedResponse, json_response

MAX_PAGE_ROWS = 250  # of a page; a shorter list of small tasks is one statement and one piece
ROWS_AT_ONCE = 25  # serialised in the first call, then as many as so far; 25 of the largest tasks are 335 kB, 0.3 ms
PIECE_BYTES = 128 * 1024  # of JSON; a piece with so many is full

Buffer: TypeAlias = bytes | memoryview
Fields: TypeAlias = dict[str, Any]
Item: TypeAlias = Callable[[Row], Fields]

_log = logging.getLogger("service.http.json_stream")


class Listing(NamedTuple):
    """A whole list of a contract: which rows, and the JSON of each."""

    name: str
    read_after: ReadAfter
    item: Item
    max_rows: int | None


class Envelope(NamedTuple):
    """The object that a list is in: its other fields before and after the list, and the headers of the response."""

    name: str
    before: Fields
    after: Fields
    headers: dict[str, str]

    def whole(self, items: list[Fields]) -> HTTPResponse:
        return json_response(self.before | {self.name: items} | self.after, 200, self.headers)

    @property
    def start(self) -> bytes:
        """The object up to the list's opening bracket, without the `]}` that ends it."""
        return orjson.dumps(self.before | {self.name: []})[:-2]

    @property
    def end(self) -> bytes:
        return b"]," + orjson.dumps(self.after)[1:] if self.after else b"]}"


class Pieces:
    """The rows of a list as pieces of JSON. Rows of a page that do not fit into a piece are read again for the next
    one: a thousand slow clients would otherwise keep theirs in memory."""

    def __init__(self, request: Request, item: Item, unsent: UnsentRows) -> None:
        self._user_id, self._slots = request.ctx.user_id, request.app.ctx.long_lists
        self._item, self._unsent = item, unsent
        self._rows = MAX_PAGE_ROWS

    @property
    def is_over(self) -> bool:
        return self._unsent.is_over

    async def next(self) -> list[Buffer]:
        async with self._slots.slot(self._user_id):
            return self.made_of(await self._unsent.read(self._rows))

    def made_of(self, page: list[Row]) -> list[Buffer]:
        """Parts to be joined, each row with a comma before it."""
        parts: list[Buffer] = []
        items = [self._item(row) for row in page]
        size = taken = 0
        while taken < len(page) and size < PIECE_BYTES:
            some = items[taken : taken + max(taken, ROWS_AT_ONCE)]
            array = orjson.dumps(some)
            parts += (b",", memoryview(array)[1:-1])
            size += len(array)
            taken += len(some)
        self._unsent.take(page, taken)
        if taken:
            self._rows = max(1, min(MAX_PAGE_ROWS, PIECE_BYTES * taken // size))
        return parts


async def answer_list(request: Request, listing: Listing, before: Fields | None = None) -> HTTPResponse | None:
    """Responds with one JSON object: the fields of `before`, and the list. None if the response was streamed."""
    around = Envelope(listing.name, before or {}, {}, {})
    unsent = FollowingRows(request.app.ctx.database, request.ctx.user_id, listing.read_after, listing.max_rows)
    rows = await unsent.read(MAX_PAGE_ROWS)
    if len(rows) <= ROWS_AT_ONCE:
        return around.whole([listing.item(row) for row in rows])
    return await _in_pieces(request, around, rows, Pieces(request, listing.item, unsent))


async def answer_page(
    request: Request, page: Page, item: Item, next_cursor: str | None, headers: dict[str, str]
) -> HTTPResponse | None:
    """Responds with the tasks of a page and the cursor of the next one. None if the response was streamed."""
    around = Envelope("tasks", {}, {"next_cursor": next_cursor}, headers)
    if len(page.tasks) <= ROWS_AT_ONCE:
        return around.whole([item(task) for task in page.tasks])
    unsent = TasksOfPage(request.app.ctx.database, request.ctx.user_id, page)
    return await _in_pieces(request, around, page.tasks, Pieces(request, item, unsent))


async def _in_pieces(request: Request, around: Envelope, rows: list[Row], pieces: Pieces) -> HTTPResponse | None:
    """In one piece if all of it fits. `rows` is emptied: they would stay in memory while a slow client reads."""
    begin = pieces.made_of(rows)
    begin[0] = around.start  # in the place of the first comma
    rows.clear()
    if pieces.is_over:
        begin.append(around.end)
        return JsonResponse(b"".join(begin), 200, around.headers, "application/json")
    await _stream(request, around, begin, pieces)
    return None


async def _stream(request: Request, around: Envelope, begin: list[Buffer], pieces: Pieces) -> None:
    response = StreamedResponse(headers=around.headers, content_type="application/json")
    try:
        await request.respond(response)
        await _send_pieces(request, response, around, begin, pieces)
    finally:
        response.at_end()


async def _send_pieces(
    request: Request, response: StreamedResponse, around: Envelope, begin: list[Buffer], pieces: Pieces
) -> None:
    """An error at a later piece cuts the connection, because half a list must not look like a whole one."""
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
            del piece  # it would stay in memory while a slow client reads
    except Exception as exception:  # noqa: BLE001 - any error: the response has begun
        reason = problem_of(exception).reason
        _log.error("an answer was cut off", extra={"fields": {"request_id": request.id, "reason": reason}})
        request.cut_off()
        return
    await response.send(around.end, end_stream=True)
