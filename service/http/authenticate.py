"""Authentication: a bearer token becomes request.ctx.user_id, or the request is refused with 401."""

from collections.abc import Awaitable
from uuid import UUID

from service.errors import Code, Problem
from service.http.request import Request


def authenticate(request: Request) -> Awaitable[None] | None:
    """A request middleware of the blueprints whose routes need a token. It waits if the token is not cached."""
    user = request.app.ctx.verifier.user_of(bearer_token(request))
    if isinstance(user, UUID):
        request.ctx.user_id = user
        return None
    return _wait_for(request, user)


async def _wait_for(request: Request, user: Awaitable[UUID]) -> None:
    request.ctx.user_id = await user


def bearer_token(request: Request) -> str:
    given: list[str] = request.headers.getall("authorization", [])
    if len(given) == 1:
        scheme, _, token = given[0].strip(" \t").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.lstrip(" ")
    raise Problem(Code.UNAUTHORIZED)
