"""The body of a batch and its answer. Each operation is checked by the rules of its request alone, and says which it is
in `op`."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, TypeAlias
from uuid import UUID, uuid4

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic.json_schema import SkipJsonSchema

from service import field_rules as rules
from service import formats
from service.api.models import NewTask, StrictModel, Task, TaskChanges
from service.domain.task_batch import BatchOperation, name_of
from service.domain.tasks import NOT_AN_OWN_ID, OWN_ID_VERSIONS
from service.errors import Code, FieldError, Problem
from service.field_rules import may_be_absent
from service.http.json_body import WHOLE_BODY, NestedModel, validate

MAX_OPERATIONS = 100
MAX_VERSION = 2**63 - 1  # the largest bigint
OF_EVERY_OPERATION = ("op", "id", "version")


def _task_id(value: object) -> UUID:
    found = formats.parse_uuid(value) if isinstance(value, str) else None
    if found is None:
        raise rules.rule_error("id must be a UUID")
    return found


def _own_id(value: object) -> UUID:
    found = formats.parse_uuid(value) if isinstance(value, str) else None
    if found is None or found.version not in OWN_ID_VERSIONS:
        raise rules.rule_error(NOT_AN_OWN_ID)
    return found


def _version(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_VERSION:
        raise rules.rule_error("version must be that of a task, such as 5")
    return value


_Absent = SkipJsonSchema[None]
_TaskId = Annotated[UUID, BeforeValidator(_task_id)]
_OptionalVersion = Annotated[
    Annotated[int, Field(ge=0)] | _Absent,
    BeforeValidator(_version),
    may_be_absent,
    Field(description="That the task must have. Without it any will do"),
]


class CreateOperation(NewTask):
    besides: ClassVar = {"op", "id"}

    op: Literal["create"]
    id: Annotated[
        UUID | _Absent,
        BeforeValidator(_own_id),
        may_be_absent,
        Field(description="Any UUID of version 4 or 7 that the client chooses. Without it the service does"),
    ] = None

    def operation(self) -> BatchOperation:
        return BatchOperation("create", self.id or uuid4(), self.fields())


class UpdateOperation(TaskChanges):
    besides: ClassVar = {"op", "id", "version"}

    op: Literal["update"]
    id: _TaskId
    version: _OptionalVersion = None

    def operation(self) -> BatchOperation:
        return BatchOperation("update", self.id, self.changes().values(), self.version)


class DeleteOperation(BaseModel):
    op: Literal["delete"]
    id: _TaskId
    version: _OptionalVersion = None

    def operation(self) -> BatchOperation:
        return BatchOperation("delete", self.id, {}, self.version)


AnyOperation: TypeAlias = CreateOperation | UpdateOperation | DeleteOperation
MODELS: dict[str, type[AnyOperation]] = {
    "create": CreateOperation,
    "update": UpdateOperation,
    "delete": DeleteOperation,
}


def _operations(value: object) -> list[BatchOperation]:
    """Raises the errors of all operations together: pydantic would name them by other rules."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_OPERATIONS:
        raise rules.rule_error(f"Operations must be a list of 1 to {MAX_OPERATIONS}")
    found: list[BatchOperation] = []
    errors: list[FieldError] = []
    used: set[UUID] = set()
    for place, sent in enumerate(value):
        of_operation: list[FieldError] = []
        try:
            found.append(_operation(sent))
        except Problem as problem:
            of_operation += problem.details
        own_id = _id_of(sent)
        if own_id in used and all(each.field != "id" for each in of_operation):
            of_operation.append(FieldError("id", "id must not be used twice in a batch"))
        elif own_id is not None:
            used.add(own_id)
        errors += [FieldError(_name(place, each.field), each.message) for each in sorted(of_operation, key=_order)]
    if errors:
        raise Problem(Code.VALIDATION_ERROR, details=errors)
    return found


def _order(error: FieldError) -> int:
    """That of the contract: the fields of every operation come before those of a task, which stay in their order."""
    return OF_EVERY_OPERATION.index(error.field) if error.field in OF_EVERY_OPERATION else len(OF_EVERY_OPERATION)


def _operation(sent: object) -> BatchOperation:
    if not isinstance(sent, dict):
        raise _problem(WHOLE_BODY, "An operation must be an object")
    model = _model_of(sent)
    if model is None:
        raise _problem("op", f"op must be one of {', '.join(MODELS)}")
    return validate(model, sent).operation()


def _id_of(sent: object) -> UUID | None:
    """The id of an operation, whether the operation is valid or not; None: it has none."""
    sent_id = sent.get("id") if isinstance(sent, dict) else None
    return formats.parse_uuid(sent_id) if isinstance(sent_id, str) else None


def _model_of(sent: dict[str, Any]) -> type[AnyOperation] | None:
    op = sent.get("op")
    return MODELS.get(op) if isinstance(op, str) else None


def _problem(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, details=[FieldError(field, message)])


def _name(place: int, field: str) -> str:
    return name_of(place, "" if field == WHOLE_BODY else field)


class Batch(NestedModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "operations": [
                        {"op": "create", "title": "Buy milk", "due_on": "2026-12-24"},
                        {"op": "create", "id": "018f2f3c-6a4e-7c1d-9b43-5a6f0d2e8c71", "title": "Buy bread"},
                    ]
                }
            ]
        }
    )

    operations: Annotated[
        list[BatchOperation],
        PlainValidator(
            _operations,
            json_schema_input_type=Annotated[
                list[Annotated[AnyOperation, Field(discriminator="op")]],
                Field(min_length=1, max_length=MAX_OPERATIONS),
            ],
        ),
    ]

    @classmethod
    def unknown_names(cls, sent: dict[str, Any]) -> Iterator[str]:
        operations = sent.get("operations")
        for place, each in enumerate(operations[:MAX_OPERATIONS] if isinstance(operations, list) else []):
            model = _model_of(each) if isinstance(each, dict) else None
            if model is not None:
                yield from (name_of(place, name) for name in each if name not in model.model_fields)


class BatchResult(StrictModel):
    op: Literal["create", "update", "delete"]
    id: UUID
    version: Annotated[int, Field(ge=0)]
    task: Annotated[Task | None, Field(description="Null: it is deleted")]


class BatchAnswer(StrictModel):
    results: Annotated[list[BatchResult], Field(max_length=MAX_OPERATIONS)]
