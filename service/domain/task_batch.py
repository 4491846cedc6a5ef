"""A batch: several creates, changes and deletions of one user's tasks, all of them or none."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson

from service.db.database import Row, Transaction
from service.db.statements import statement
from service.domain.idempotency import Answer, AnswerOnce
from service.domain.services import Services
from service.domain.tasks import (
    PRIORITIES,
    SPARE_DAYS,
    TASK_NOT_FOUND,
    TaskChanged,
    over_quota,
    write_counted,
)
from service.errors import Code, FieldError, Problem
from service.field_rules import RULES_BETWEEN_FIELDS

WRITE_BATCH = statement("tasks/write_batch", "many")

FIELD_REFUSALS = {rule.field: rule.message for rule in RULES_BETWEEN_FIELDS}


class BatchOperation(NamedTuple):
    op: Literal["create", "update", "delete"]
    task_id: UUID
    fields: dict[str, Any]  # by column; None clears one
    version: int | None = None  # that the task must have; None: any


async def write_batch(
    services: Services, user_id: UUID, operations: Sequence[BatchOperation], once: AnswerOnce[list[Row]]
) -> Answer:
    """The answer is made of a row for each operation, in their order. Raises the problem of all operations whose fields
    do not fit together, else that of the first operation that is refused."""
    beyond_quota: list[FieldError] = []

    async def work(transaction: Transaction) -> Answer | None:
        async def write() -> list[Row] | None:
            rows = await _write(transaction, services, user_id, operations)
            refused = [row for row in rows if row["refusal"] is not None]
            if not refused:
                return rows
            if (problem := _problem(refused)) is not None:
                raise problem
            beyond_quota[:] = [FieldError(name_of(refused[0]["place"] - 1), over_quota(services.max_tasks).text)]
            return None

        return await once.answer(transaction, user_id, partial(write_counted, transaction, user_id, write))

    answer = await services.database.in_locked_transaction(user_id, work)
    if answer is None:
        raise over_quota(services.max_tasks, beyond_quota)
    return answer


def name_of(place: int, field: str = "") -> str:
    """What `details` calls an operation, or a field of it."""
    return f"operations[{place}].{field}" if field else f"operations[{place}]"


def _as_json(operations: Sequence[BatchOperation]) -> str:
    return orjson.dumps(
        [
            {
                "place": place,
                "op": each.op,
                "task_id": str(each.task_id),
                "version": each.version,
                "fields": _stored(each.fields),
            }
            for place, each in enumerate(operations, 1)
        ]
    ).decode()


def _stored(fields: dict[str, Any]) -> dict[str, Any]:
    """The database has the position of a priority. It drops tags that differ in case alone itself."""
    return fields | {"priority": PRIORITIES.index(fields["priority"])} if "priority" in fields else fields


async def _write(
    transaction: Transaction, services: Services, user_id: UUID, operations: Sequence[BatchOperation]
) -> list[Row]:
    try:
        return await transaction.many(
            WRITE_BATCH,
            user_id=user_id,
            operations=_as_json(operations),
            time_zone=sorted({each.fields["time_zone"] for each in operations if each.fields.get("time_zone")}),
            max_tasks=services.max_tasks,
            kept_days=services.changes_days + SPARE_DAYS,
        )
    except Problem as problem:
        # A time zone that the server does not know: the statement does not say which operation has it.
        details = [
            FieldError(name_of(place, field), message)
            for field, message in problem.details
            for place, each in enumerate(operations)
            if each.fields.get(field) is not None
        ]
        raise Problem(problem.code, details=details, reason=problem.reason) from None


def _problem(refused: Sequence[Row]) -> Problem | None:
    """None if the first operation that is refused is one beyond the quota."""
    unfit = [
        FieldError(name_of(row["place"] - 1, row["refusal"]), FIELD_REFUSALS[row["refusal"]])
        for row in refused
        if row["refusal"] in FIELD_REFUSALS
    ]
    if unfit:
        return Problem(Code.VALIDATION_ERROR, details=unfit)
    first, name = refused[0], name_of(refused[0]["place"] - 1)
    match first["refusal"]:
        case "quota":
            return None
        case "changed":
            return TaskChanged(first, [FieldError(name, Code.PRECONDITION_FAILED.text)])
        case "deleted":
            return Problem(Code.GONE, details=[FieldError(name, Code.GONE.text)])
    return Problem(Code.NOT_FOUND, TASK_NOT_FOUND, details=[FieldError(name, TASK_NOT_FOUND)])
