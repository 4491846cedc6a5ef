from collections.abc import Sequence

import orjson
from sanic import HTTPResponse

from service.api.batch_models import Batch
from service.api.tasks import task_body
from service.db.database import Row
from service.domain.idempotency import AnswerOnce
from service.domain.task_batch import BatchOperation, write_batch
from service.http.idempotency import idempotency_key, replayed
from service.http.json_body import parse
from service.http.request import Request
from service.http.responses import json_text_response


async def change_tasks(request: Request) -> HTTPResponse:
    """Several operations on tasks, all of them or none. One at a time for each user of this process."""
    async with request.app.ctx.batches.slot(request.ctx.user_id):
        return await _change_tasks(request)


async def _change_tasks(request: Request) -> HTTPResponse:
    operations, key = parse(Batch, request).operations, idempotency_key(request)

    def render(rows: Sequence[Row]) -> str:
        results = [_result(operation, row) for operation, row in zip(operations, rows, strict=True)]
        return orjson.dumps({"results": results}).decode()

    answer = await write_batch(request.app.ctx, request.ctx.user_id, operations, AnswerOnce(key, render))
    return json_text_response(answer.body, 200, replayed(answer))


def _result(operation: BatchOperation, row: Row) -> dict[str, object]:
    task = None if operation.op == "delete" else task_body(row)
    return {"op": operation.op, "id": str(operation.task_id), "version": row["new_version"], "task": task}
