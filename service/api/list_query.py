"""The query parameters of GET /api/tasks."""

from datetime import date
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.domain.tasks import LIST_LIMIT
from service.field_rules import may_be_absent
from service.http import query_rules as rules

SORTS = ("-created_at", "created_at", "-updated_at", "due_on", "-priority")
PRIORITIES = ("none", "low", "medium", "high")
MOST_TAGS, TAG_LIMIT = 20, 50
SEARCH_LIMIT = 100
CURSOR_LIMIT = 300  # characters


class ListQuery(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"limit": 50, "is_completed": False}]})

    limit: Annotated[
        int,
        BeforeValidator(rules.number("limit", 1, LIST_LIMIT)),
        Field(ge=1, le=LIST_LIMIT, description="The most tasks of a page"),
    ] = LIST_LIMIT
    cursor: Annotated[
        str | None,
        Field(max_length=CURSOR_LIMIT, description="`next_cursor` of the page before"),
        may_be_absent,
    ] = None
    sort: Annotated[
        str,
        BeforeValidator(rules.choice("sort", SORTS)),
        Field(json_schema_extra={"enum": list(SORTS)}, description="A tie is decided as in the default"),
    ] = "-created_at"
    is_completed: Annotated[bool | None, BeforeValidator(rules.true_or_false("is_completed")), may_be_absent] = None
    priority: Annotated[str | None, BeforeValidator(rules.choice("priority", PRIORITIES)), may_be_absent] = None
    tag: Annotated[
        list[str],
        BeforeValidator(rules.trimmed_texts("tag", MOST_TAGS, TAG_LIMIT)),
        Field(description="In any case; given several times, a task has all of them"),
        may_be_absent,
    ] = []
    due_from: Annotated[date | None, BeforeValidator(rules.calendar_date("due_from")), may_be_absent] = None
    due_to: Annotated[date | None, BeforeValidator(rules.calendar_date("due_to")), may_be_absent] = None
    q: Annotated[
        str | None,
        BeforeValidator(rules.text("q", SEARCH_LIMIT)),
        Field(description="A text somewhere in title or description, in any case"),
        may_be_absent,
    ] = None
