"""The bodies of February's contract: those it parses, and those its answers are documented and tested by."""

from datetime import date, datetime
from functools import partial
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from service import field_rules as rules
from service.domain.tasks import LIST_LIMIT, PRIORITIES, Changes, Priority

TITLE_LIMIT = 200
DESCRIPTION_LIMIT = 2000


_Title = Annotated[str, Field(min_length=1, max_length=TITLE_LIMIT, json_schema_extra=rules.NOT_BLANK)]
_Description = Annotated[str, Field(max_length=DESCRIPTION_LIMIT)] | None

# Each is checked by its rule first, whose message is the contract's; what pydantic is told after it is for the
# documentation. An optional field may be left out: with `_Absent` in its type null is refused, `None` clears it.
_Absent = SkipJsonSchema[None]
_check_description = BeforeValidator(rules.optional_text("Description", DESCRIPTION_LIMIT))

# The fields that a task may have, the same at its creation and in a change. A date and a time stay texts: the database
# gets them as they were sent.
_DueTime = Annotated[str, Field(pattern=rules.TIME_PATTERN)] | None
_OptionalDueOn = Annotated[
    Annotated[str, Field(json_schema_extra={"format": "date"})] | None,
    BeforeValidator(rules.due_date),
    rules.may_be_absent,
    Field(description=f"{rules.FIRST_DATE} to {rules.LAST_DATE}; null clears due_time and time_zone too"),
]
_OptionalDueTime = Annotated[
    _DueTime,
    BeforeValidator(rules.due_time),
    rules.may_be_absent,
    Field(description="Needs a due date; null is all day"),
]
_OptionalTimeZone = Annotated[
    str | None,
    BeforeValidator(rules.time_zone),
    rules.may_be_absent,
    Field(description="A name of the IANA database; needs a due time; null is wherever the user is"),
]
_OptionalPriority = Annotated[
    Priority | _Absent, BeforeValidator(rules.one_of("Priority", PRIORITIES)), rules.may_be_absent
]
_Tag = Annotated[str, Field(max_length=rules.MAX_TAG_CHARACTERS, json_schema_extra=rules.NOT_BLANK)]
_OptionalTags = Annotated[
    Annotated[list[_Tag], Field(max_length=rules.MAX_TAGS)] | _Absent,
    BeforeValidator(rules.tags),
    rules.may_be_absent,
]


_ACCOUNT: JsonDict = {"email": "ann@example.com", "password": "correct horse"}


class SignUp(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_ACCOUNT]})

    email: Annotated[
        str,
        BeforeValidator(rules.new_email),
        Field(max_length=rules.MAX_EMAIL_CHARACTERS, json_schema_extra={"format": "email", **rules.NOT_BLANK}),
    ]
    password: Annotated[
        str,
        BeforeValidator(rules.new_password),
        rules.documented_password,
    ]


class LogIn(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_ACCOUNT]})

    email: Annotated[str, BeforeValidator(rules.given_email), Field(json_schema_extra=rules.NOT_BLANK)]
    password: Annotated[str, BeforeValidator(rules.given_password), Field(min_length=1)]


class PasswordChange(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"current_password": "correct horse", "new_password": "battery staple"}]}
    )

    current_password: Annotated[
        str, BeforeValidator(partial(rules.given_password, label="Current password")), Field(min_length=1)
    ]
    new_password: Annotated[
        str,
        BeforeValidator(partial(rules.new_password, label="New password")),
        rules.documented_password,
    ]


class DeleteAccountBody(BaseModel):
    """Sent by a user who has a password. A user of an outside issuer sends no body."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "correct horse"}]})

    password: Annotated[str, BeforeValidator(rules.given_password), Field(min_length=1)]


class NewTask(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "title": "Buy milk",
                    "description": "two litres",
                    "due_on": "2026-12-24",
                    "due_time": "09:30",
                    "time_zone": "Europe/Berlin",
                    "priority": "high",
                    "tags": ["shopping"],
                }
            ]
        }
    )

    title: Annotated[_Title, BeforeValidator(rules.text("Title", TITLE_LIMIT, empty="Title is required"))]
    description: Annotated[_Description, _check_description, rules.may_be_absent] = None
    due_on: _OptionalDueOn = None
    due_time: _OptionalDueTime = None
    time_zone: _OptionalTimeZone = None
    priority: _OptionalPriority = None
    tags: _OptionalTags = None

    # Fields of a model that inherits from this one and that are not the task's, such as `op` of an operation.
    besides: ClassVar[set[str]] = set()

    _fit_together = field_validator(*(rule.field for rule in rules.RULES_BETWEEN_FIELDS))(rules.has_what_it_needs)

    def fields(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True, exclude=self.besides)


class TaskChanges(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"minProperties": 1, "examples": [{"is_completed": True, "description": None}]}
    )

    title: Annotated[
        _Title | _Absent,
        BeforeValidator(rules.text("Title", TITLE_LIMIT, empty="Title cannot be empty")),
        rules.may_be_absent,
    ] = None
    description: Annotated[_Description, _check_description, rules.may_be_absent] = None
    is_completed: Annotated[bool | _Absent, BeforeValidator(rules.flag("is_completed")), rules.may_be_absent] = None
    due_on: _OptionalDueOn = None
    due_time: _OptionalDueTime = None
    time_zone: _OptionalTimeZone = None
    priority: _OptionalPriority = None
    tags: _OptionalTags = None

    besides: ClassVar[set[str]] = set()  # as in NewTask

    @model_validator(mode="after")
    def _has_a_field(self) -> Self:
        if self.model_fields_set <= self.besides:
            raise rules.rule_error("At least one field is required")
        return self

    def changes(self) -> Changes:
        return Changes(self.model_dump(exclude_unset=True, exclude=self.besides))


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AnyUser(StrictModel):
    """A user with a password, or of an outside issuer, whose tokens may contain no email."""

    id: UUID
    email: str | None
    created_at: datetime


class User(AnyUser):
    """A user with a password, who always has an email."""

    email: str


class Session(StrictModel):
    token: str
    user: User


class Me(StrictModel):
    user: AnyUser


class Task(StrictModel):
    id: UUID
    user_id: UUID
    title: str
    description: str | None
    is_completed: bool
    due_on: date | None
    due_time: _DueTime
    time_zone: str | None
    priority: Priority
    tags: list[str]
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    version: Annotated[int, Field(ge=0)]


class Change(StrictModel):
    id: UUID
    version: Annotated[int, Field(ge=0)]
    task: Annotated[Task | None, Field(description="Null: it was deleted")]


class ChangeList(StrictModel):
    changes: Annotated[list[Change], Field(max_length=LIST_LIMIT)]
    cursor: Annotated[str, Field(max_length=300, description="For the changes after these")]
    has_more: bool


class TaskList(StrictModel):
    tasks: Annotated[list[Task], Field(max_length=LIST_LIMIT)]
    next_cursor: Annotated[str | None, Field(description="Null on the last page")]


class Export(StrictModel):
    exported_at: datetime
    user: AnyUser
    tasks: list[Task]


class Deleted(StrictModel):
    message: str
    id: UUID
