"""What the database knows of a token's user. Asked at first sight of a token, and again after TOKEN_RECHECK seconds."""

from datetime import UTC, datetime
from uuid import UUID

from service import formats
from service.auth.claims import invalid
from service.db.database import Database
from service.db.statements import statement

CHECK_TOKEN = statement("accounts/check_token", "one")
FIND_OUTSIDE_USER = statement("accounts/find_outside_user", "one")
SAVE_OUTSIDE_USER = statement("accounts/save_outside_user", "exec")
UPDATE_OUTSIDE_EMAIL = statement("accounts/update_outside_email", "exec")


async def require_current(database: Database, user_id: UUID, generation: int) -> None:
    if await database.one(CHECK_TOKEN, user_id=user_id, token_generation=generation) is None:
        raise invalid("the user is gone, or has revoked the token")


async def outside_user(database: Database, issuer: str, subject: str, email: str | None, issued_at: float) -> UUID:
    """The user of an outside issuer's subject, made at first sight. An email is kept, and nobody is found by it."""
    user = await database.one(FIND_OUTSIDE_USER, issuer=issuer, subject=subject)
    if user is None:
        moment = formats.time_text(datetime.fromtimestamp(max(issued_at, 0), UTC))
        await database.execute(SAVE_OUTSIDE_USER, issuer=issuer, subject=subject, email=email, issued_at=moment)
        # Looked for again, and not taken from what was saved: a user who was deleted at this very moment shows here.
        user = await database.one(FIND_OUTSIDE_USER, issuer=issuer, subject=subject)
    if user is None:
        raise invalid("the user was deleted after the token was issued")
    revoked_at = user["tokens_revoked_at"]
    if revoked_at is not None and issued_at <= datetime.fromisoformat(revoked_at).timestamp():
        raise invalid("the user has revoked the token")
    if email not in {None, user["email"]}:
        await database.execute(UPDATE_OUTSIDE_EMAIL, user_id=user["id"], email=email)
    user_id: UUID = user["id"]
    return user_id
