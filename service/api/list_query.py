"""The query parameters of GET /api/tasks."""

from typing import Annotated, Any, ClassVar

import orjson
from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from service import field_rules
from service.api.cursor import MAX_CURSOR_CHARACTERS, Cursor
from service.domain.task_lists import SORTS, Filters, ListWanted, PageWanted, Position
from service.domain.tasks import LIST_LIMIT, PRIORITIES, Priority
from service.field_rules import may_be_absent
from service.http import query_rules as rules
from service.http.query_string import QueryModel
from service.http.request import RequestContext

MAX_SEARCH_CHARACTERS = 100

_BOUND_TO_CURSOR = {"sort", "is_completed", "priority", "tag", "due_from", "due_to", "q"}

_Limit = Annotated[int, Field(ge=1, le=LIST_LIMIT)]
_Date = Annotated[str, Field(json_schema_extra={"format": "date"})]
_Tag = Annotated[str, Field(max_length=field_rules.MAX_TAG_CHARACTERS, json_schema_extra=field_rules.NOT_BLANK)]
_Tags = Annotated[tuple[_Tag, ...], Field(max_length=field_rules.MAX_TAGS)]
_Search = Annotated[str, Field(min_length=1, max_length=MAX_SEARCH_CHARACTERS)]


def _position(value: str, info: ValidationInfo[RequestContext]) -> Position:
    """`info` has the parameters that keep their rules. If a cursor is bound to one that does not, all that can be said
    of it is whether it is a cursor."""
    cursor, user_id = Cursor.read(value), info.context.user_id
    if cursor is None or (info.data.keys() >= _BOUND_TO_CURSOR and not cursor.belongs_to(user_id, _listed(info.data))):
        raise field_rules.rule_error("cursor does not belong to this list")
    return cursor.position


def _listed(parameters: dict[str, Any]) -> ListWanted:
    priority, tags = parameters["priority"], parameters["tag"]
    filters = Filters(
        is_completed=parameters["is_completed"],
        priority=None if priority is None else PRIORITIES.index(priority),
        due_from=parameters["due_from"],
        due_to=parameters["due_to"],
        tags=orjson.dumps(sorted(tags)).decode() if tags else None,
        search=parameters["q"],
    )
    return ListWanted(SORTS[parameters["sort"]], filters)


class ListQuery(QueryModel):
    """`cursor` is declared last, because its rule needs the other parameters."""

    order: ClassVar = ("limit", "cursor", "sort", "is_completed", "priority", "tag", "due_from", "due_to", "q")

    limit: Annotated[
        _Limit,
        BeforeValidator(rules.number("limit", 1, LIST_LIMIT)),
        Field(description="The most tasks of a page", examples=[50]),
    ] = LIST_LIMIT
    sort: Annotated[
        str,
        BeforeValidator(field_rules.one_of("sort", tuple(SORTS))),
        Field(
            description="`due_on`: then by `due_time`, no date last. `-priority`: then as `due_on`. Ties as by default",
            json_schema_extra={"enum": list(SORTS)},
            examples=["due_on"],
        ),
    ] = "-created_at"
    is_completed: Annotated[
        bool | None, BeforeValidator(rules.true_or_false("is_completed")), Field(examples=[False]), may_be_absent
    ] = None
    priority: Annotated[
        Priority | None,
        BeforeValidator(field_rules.one_of("priority", PRIORITIES)),
        Field(examples=["high"]),
        may_be_absent,
    ] = None
    tag: Annotated[
        _Tags,
        BeforeValidator(rules.trimmed_texts("tag", field_rules.MAX_TAGS, field_rules.MAX_TAG_CHARACTERS)),
        Field(description="In any case. Given several times: tasks with all of them", examples=[["shopping"]]),
        may_be_absent,
    ] = ()
    due_from: Annotated[
        _Date | None,
        BeforeValidator(rules.calendar_date("due_from")),
        Field(description="Included; tasks without a date are left out", examples=["2026-12-01"]),
        may_be_absent,
    ] = None
    due_to: Annotated[
        _Date | None,
        BeforeValidator(rules.calendar_date("due_to")),
        Field(description="Included; tasks without a date are left out", examples=["2026-12-31"]),
        may_be_absent,
    ] = None
    q: Annotated[
        _Search | None,
        BeforeValidator(rules.text("q", MAX_SEARCH_CHARACTERS)),
        Field(description="Somewhere in title or description, in any case", examples=["milk"]),
        may_be_absent,
    ] = None
    cursor: Annotated[
        Position | None,
        PlainValidator(_position),
        WithJsonSchema({"type": "string", "maxLength": MAX_CURSOR_CHARACTERS}),
        Field(description="`next_cursor` of the page before, with the same other parameters"),
        may_be_absent,
    ] = None

    def page(self) -> PageWanted:
        return PageWanted(_listed(dict(self)), self.cursor, self.limit)
