"""What Sanic itself costs: a body of the size of a list of 20, with no token read and no database asked."""

import orjson
from sanic import HTTPResponse, Request, Sanic, json

_ID = "00000000-0000-4000-8000-000000000000"
_TASK = {
    "id": _ID,
    "user_id": _ID,
    "title": "Call the plumber about the kitchen",
    "description": "Before Friday, the number is on the fridge. Ask for the price.",
    "is_completed": False,
    "due_on": None,
    "due_time": None,
    "time_zone": None,
    "priority": "none",
    "tags": [],
    "created_at": "2026-01-01T00:00:00.000000Z",
    "updated_at": "2026-01-01T00:00:00.000000Z",
    "completed_at": None,
    "version": 1,
}
_BODY = orjson.dumps({"tasks": [_TASK] * 20, "next_cursor": None})

app = Sanic("constant")


@app.get("/api/tasks")
async def list_tasks(_: Request) -> HTTPResponse:
    return HTTPResponse(_BODY, content_type="application/json")


@app.get("/health/live")
async def live(_: Request) -> HTTPResponse:
    return json({"status": "alive"})
