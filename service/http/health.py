"""Whether this copy should get requests (/health), and whether it serves at all (/health/live)."""

from typing import Any
from uuid import UUID

from sanic import HTTPResponse
from sanic_ext import Extension

from service.db import migrations
from service.db.statements import statement
from service.errors import Problem
from service.http.context import Context
from service.http.request import Request
from service.http.responses import json_response

CHECK_SERVER = statement("health/check_server", "one")
REACH_TASKS = statement("health/reach_tasks", "one")
KNOWN = migrations.known()
NOBODY = UUID(int=0)
PATHS = ("/health", "/health/live")
DRAINING = "draining"


class Health(Extension):
    name = "readiness"  # sanic-ext has its own "health"

    def startup(self, _: Any) -> None:
        for handler, path in zip((health, live), PATHS, strict=True):
            self.app.add_route(handler, path, ["GET", "HEAD"])


async def health(request: Request) -> HTTPResponse:
    unhealthy = await why_unhealthy(request.app.ctx)
    if unhealthy is None:
        return json_response({"status": "healthy"})
    request.ctx.reason = unhealthy
    if unhealthy == DRAINING:
        request.ctx.is_expected = True
    return json_response({"status": "unhealthy"}, 503)


async def live(_: Request) -> HTTPResponse:
    return json_response({"status": "alive"})


async def why_unhealthy(context: Context) -> str | None:
    if context.is_draining:
        return DRAINING
    try:
        server = await context.database.require_one(CHECK_SERVER, migration_ids=KNOWN)
        await context.database.require_one(REACH_TASKS, user_id=NOBODY)
    except Problem as problem:
        return problem.reason or problem.text
    if server["applied"] < len(KNOWN):
        return "the schema is behind"
    if server["is_read_only"]:
        return "the database is read-only"
    return context.database.trouble
