"""The bodies of January's contract: those it parses, and those its answers are documented and tested by."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from service import field_rules as rules
from service.domain.tasks import LIST_LIMIT, Changes

TITLE_LIMIT = 255
DESCRIPTION_LIMIT = 1000


_Title = Annotated[str, Field(min_length=1, max_length=TITLE_LIMIT, json_schema_extra=rules.NOT_BLANK)]
_Description = Annotated[str, Field(max_length=DESCRIPTION_LIMIT)] | None

# Each is checked by its rule first, whose message is the contract's; what pydantic is told after it is for the
# documentation. `Absent` is the default of a field that need not be sent, and never a value that may be.
_Absent = SkipJsonSchema[None]
_check_description = BeforeValidator(rules.optional_text("Description", DESCRIPTION_LIMIT))


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


class NewTask(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Buy milk", "description": "two litres"}]})

    title: Annotated[_Title, BeforeValidator(rules.text("Title", TITLE_LIMIT, empty="Title is required"))]
    description: Annotated[_Description, _check_description, rules.may_be_absent] = None


class TaskChanges(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"completed": True, "description": ""}]})

    title: Annotated[
        _Title | _Absent,
        BeforeValidator(rules.text("Title", TITLE_LIMIT, empty="Title cannot be empty")),
        rules.may_be_absent,
    ] = None
    description: Annotated[_Description, _check_description, rules.may_be_absent] = None
    completed: Annotated[bool | _Absent, BeforeValidator(rules.flag("completed")), rules.may_be_absent] = None

    def changes(self) -> Changes:
        sent = self.model_dump(exclude_unset=True)
        if "completed" in sent:
            sent["is_completed"] = sent.pop("completed")
        return Changes(sent)


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class User(StrictModel):
    id: UUID
    email: str


class Session(StrictModel):
    token: str
    user: User


class Task(StrictModel):
    id: UUID
    user_id: UUID
    title: str
    description: str | None
    completed: bool
    created_at: datetime
    updated_at: datetime


class OneTask(StrictModel):
    task: Task


class TaskList(StrictModel):
    tasks: Annotated[list[Task], Field(max_length=LIST_LIMIT)]
