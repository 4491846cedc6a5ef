"""A user, as the token of a request names one. The token may outlive its user."""

from uuid import UUID

from service.db.database import Database, Row
from service.db.statements import statement
from service.errors import Code, Problem

GET_USER = statement("accounts/get_user", "one")
USER_EXISTS = statement("accounts/user_exists", "one")


async def get_user(database: Database, user_id: UUID) -> Row:
    user = await database.one(GET_USER, user_id=user_id)
    if user is None:
        raise user_is_gone()
    return user


async def require_user(database: Database, user_id: UUID) -> None:
    """After a miss: a token outlives its user, and then nothing is there for another reason than "not found"."""
    if await database.one(USER_EXISTS, user_id=user_id) is None:
        raise user_is_gone()


def user_is_gone() -> Problem:
    return Problem(Code.INVALID_TOKEN, reason="the user does not exist any more, or has revoked the token")
