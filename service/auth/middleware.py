"""Who is asking: a bearer token becomes request.ctx.user_id, or the request ends here."""

from service.errors import Code, Problem
from service.request import Request


def authenticate(request: Request) -> None:
    """A request middleware of the blueprints whose routes need a token."""
    request.ctx.user_id = request.app.ctx.tokens.verify(bearer_token(request))


def bearer_token(request: Request) -> str:
    given: list[str] = request.headers.getall("authorization", [])
    if len(given) == 1:
        scheme, _, token = given[0].strip(" \t").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.lstrip(" ")
    raise Problem(Code.UNAUTHORIZED)
