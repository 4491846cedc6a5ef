from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema
from sanic import HTTPResponse

from service import field_rules
from service.api import change_cursor
from service.api.cursor import MAX_CURSOR_CHARACTERS
from service.api.tasks import task_body
from service.domain.change_feed import FeedEntry, Place
from service.domain.tasks import LIST_LIMIT
from service.field_rules import may_be_absent
from service.http import query_rules as rules
from service.http.json_stream import MAX_PAGE_ROWS
from service.http.preconditions import list_tag, not_modified
from service.http.query_string import QueryModel, parse_query
from service.http.request import Request, RequestContext
from service.http.responses import json_response


def _place(value: str, info: ValidationInfo[RequestContext]) -> Place:
    place = change_cursor.read(value, info.context.user_id)
    if place is None:
        raise field_rules.rule_error("cursor does not belong to these changes")
    return place


class ChangesQuery(QueryModel):
    order: ClassVar = ("cursor", "limit")

    cursor: Annotated[
        Place | None,
        PlainValidator(_place),
        WithJsonSchema({"type": "string", "maxLength": MAX_CURSOR_CHARACTERS}),
        Field(description="`cursor` of the answer before. Without it: every task there is"),
        may_be_absent,
    ] = None
    limit: Annotated[
        Annotated[int, Field(ge=1, le=LIST_LIMIT)],
        BeforeValidator(rules.number("limit", 1, LIST_LIMIT)),
        Field(description=f"The most changes of an answer, which never has more than {MAX_PAGE_ROWS}", examples=[50]),
    ] = LIST_LIMIT


async def list_changes(request: Request) -> HTTPResponse:
    wanted, user_id = parse_query(ChangesQuery, request), request.ctx.user_id
    page = await request.app.ctx.change_feed.read(user_id, wanted.cursor, min(wanted.limit, MAX_PAGE_ROWS))
    tag = list_tag(page.newest)
    known = not_modified(request, tag)
    if known is not None and not page.changes:
        return known
    body = {
        "changes": [_change(change) for change in page.changes],
        "cursor": change_cursor.write(page.end, user_id),
        "has_more": page.has_more,
    }
    return json_response(body, 200, tag)


def _change(change: FeedEntry) -> dict[str, Any]:
    task = None if change.task is None else task_body(change.task)
    return {"id": str(change.id), "version": change.version, "task": task}
