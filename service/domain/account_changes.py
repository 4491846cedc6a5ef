"""What somebody may do to their own account: change the password, log out everywhere, delete it. No HTTP in here.

Each goes on when the client has gone: it is done, or it is not, and this copy knows at once which tokens are void.
"""

from collections.abc import Callable
from uuid import UUID

from service.db.database import Database, Row
from service.db.statements import Statement, statement
from service.domain.accounts import SignedIn, signed_in
from service.domain.services import Services
from service.domain.users import user_is_gone
from service.errors import Code, FieldError, Problem

GET_PASSWORD = statement("accounts/get_password", "one")
CHANGE_PASSWORD = statement("accounts/change_password", "one")
REVOKE_TOKENS = statement("accounts/revoke_tokens", "one")
DELETE_TASKS = statement("accounts/delete_tasks", "one")
DELETE_USER = statement("accounts/delete_user", "one")

# Tasks of a piece. An account with fewer, as each one within the default quota, goes whole, in one statement.
TASKS_AT_ONCE = 10_001
BEFORE_ALL_IDS = UUID(int=0)


async def change_password(services: Services, user_id: UUID, current: str, new: str, network: str) -> SignedIn:
    """VALIDATION_ERROR where the current one is wrong. Every other token of the user is void."""
    return await services.background.finish(_change_password(services, user_id, current, new, network))


async def log_out_everywhere(services: Services, user_id: UUID) -> None:
    """Every token issued until now is void, those of an outside issuer too."""
    await services.background.finish(_log_out_everywhere(services, user_id))


async def delete_account(services: Services, user_id: UUID, read_password: Callable[[], str], network: str) -> None:
    """VALIDATION_ERROR where the password is wrong. Who has none, a user of an outside issuer, is asked for none."""
    await services.background.finish(_delete_account(services, user_id, read_password, network))


async def _change_password(services: Services, user_id: UUID, current: str, new: str, network: str) -> SignedIn:
    account = await _account(services, user_id)
    wrong = _refusal("current_password", "Current password is wrong")
    await _prove(services, account, current, network, wrong)
    new_hash = await services.passwords.hash(new)
    user = await _revoking(
        services, CHANGE_PASSWORD, user_id, token_generation=account["token_generation"], password_hash=new_hash
    )
    return signed_in(services, user)


async def _log_out_everywhere(services: Services, user_id: UUID) -> None:
    await _revoking(services, REVOKE_TOKENS, user_id)


async def _delete_account(services: Services, user_id: UUID, read_password: Callable[[], str], network: str) -> None:
    account = await _account(services, user_id)
    wrong = _refusal("password", "Password is wrong")
    if account["password_hash"] is not None:
        await _prove(services, account, read_password(), network, wrong)
    await _delete_in_pieces(services.database, user_id, account["token_generation"])
    await _revoking(services, DELETE_USER, user_id, token_generation=account["token_generation"])
    services.cleanup.consider()


async def _delete_in_pieces(database: Database, user_id: UUID, token_generation: int) -> None:
    """All but the last tasks of an account with many. The account itself goes after them: where this is cut off, its
    token and its password are good, the other tasks are there, and the deletion can be asked for again."""
    given = {"user_id": user_id, "token_generation": token_generation, "max_tasks": TASKS_AT_ONCE}
    last = await database.one(DELETE_TASKS, after_id=BEFORE_ALL_IDS, **given)
    while last is not None:
        last = await database.one(DELETE_TASKS, after_id=last["id"], **given)


async def _revoking(services: Services, statement: Statement, user_id: UUID, **values: object) -> Row:
    """INVALID_TOKEN where nothing was changed: the user is gone, or has revoked the token of this very request."""
    try:
        row = await services.database.one(statement, user_id=user_id, **values)
    finally:
        services.verifier.forget(user_id)  # also where nobody knows whether it was done
    if row is None:
        raise user_is_gone()
    return row


async def _account(services: Services, user_id: UUID) -> Row:
    account = await services.database.one(GET_PASSWORD, user_id=user_id)
    if account is None:
        raise user_is_gone()
    return account


async def _prove(services: Services, account: Row, password: str, network: str, wrong: Problem) -> None:
    """Counted, so that a stolen token is no way around the limits, but apart from logins: see `check_password`."""
    if account["password_hash"] is None:
        raise wrong
    async with services.rate_limits.check_password(account["id"], network) as attempt:
        if not await services.passwords.matches(password, account["password_hash"]):
            attempt.stays = True
            raise wrong


def _refusal(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, details=[FieldError(field, message)])
