"""Whether this copy should get requests (/health), and whether it serves at all (/health/live)."""

from sanic import HTTPResponse

from service import migrations
from service.answers import answer
from service.context import Context
from service.errors import Problem
from service.request import Request
from service.statements import statement

COUNT_APPLIED = statement("health/count_applied_migrations", "one")
KNOWN = migrations.known()


async def health(request: Request) -> HTTPResponse:
    unhealthy = await why_unhealthy(request.app.ctx)
    if unhealthy is None:
        return answer({"status": "healthy"})
    request.ctx.reason = unhealthy
    return answer({"status": "unhealthy"}, 503)


async def live(_: Request) -> HTTPResponse:
    return answer({"status": "alive"})


async def why_unhealthy(context: Context) -> str | None:
    if context.draining:
        return "draining"
    try:
        row = await context.database.must(COUNT_APPLIED, migration_ids=KNOWN)
    except Problem as problem:
        return problem.reason or problem.text
    return None if row["applied"] == len(KNOWN) else "the schema is behind"
