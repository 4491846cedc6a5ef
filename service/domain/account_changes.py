"""Changes of one's own account: change the password, log out everywhere, delete it. No HTTP in here.

Each runs to its end even if the client disconnects, so that it is done completely or not at all, and this process
forgets the revoked tokens at once.
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

# An account within the default quota of 10 000 tasks has fewer, and is deleted with its tasks in one statement.
MAX_TASKS_PER_DELETE = 10_001
BEFORE_ALL_IDS = UUID(int=0)


async def change_password(services: Services, user_id: UUID, current: str, new: str, network: str) -> SignedIn:
    """Raises VALIDATION_ERROR if the current password is wrong. Revokes every other token of the user."""
    return await services.background.finish(_change_password(services, user_id, current, new, network))


async def log_out_everywhere(services: Services, user_id: UUID) -> None:
    """Revokes every token issued until now, those of outside issuers too."""
    await services.background.finish(_log_out_everywhere(services, user_id))


async def delete_account(services: Services, user_id: UUID, read_password: Callable[[], str], network: str) -> None:
    """Raises VALIDATION_ERROR if the password is wrong. Outside users have none, so `read_password` is not called."""
    await services.background.finish(_delete_account(services, user_id, read_password, network))


async def _change_password(services: Services, user_id: UUID, current: str, new: str, network: str) -> SignedIn:
    account = await _get_account(services, user_id)
    wrong = _refusal("current_password", "Current password is wrong")
    await _require_password(services, account, current, network, wrong)
    new_hash = await services.passwords.hash(new, network)
    user = await _run_and_revoke(
        services, CHANGE_PASSWORD, user_id, token_generation=account["token_generation"], password_hash=new_hash
    )
    return signed_in(services, user)


async def _log_out_everywhere(services: Services, user_id: UUID) -> None:
    await _run_and_revoke(services, REVOKE_TOKENS, user_id)


async def _delete_account(services: Services, user_id: UUID, read_password: Callable[[], str], network: str) -> None:
    account = await _get_account(services, user_id)
    wrong = _refusal("password", "Password is wrong")
    if account["password_hash"] is not None:
        await _require_password(services, account, read_password(), network, wrong)
    await _delete_in_pieces(services.database, user_id, account["token_generation"])
    await _run_and_revoke(services, DELETE_USER, user_id, token_generation=account["token_generation"])
    services.cleanup.run_if_due()


async def _delete_in_pieces(database: Database, user_id: UUID, token_generation: int) -> None:
    """Deletes all but the last tasks of a large account, in pieces of MAX_TASKS_PER_DELETE.

    The account is deleted after this, with the rest. If this is interrupted, token and password are still valid, the
    remaining tasks exist, and the client can ask for the deletion again."""
    given = {"user_id": user_id, "token_generation": token_generation, "max_tasks": MAX_TASKS_PER_DELETE}
    last = await database.one(DELETE_TASKS, after_id=BEFORE_ALL_IDS, **given)
    while last is not None:
        last = await database.one(DELETE_TASKS, after_id=last["id"], **given)


async def _run_and_revoke(services: Services, statement: Statement, user_id: UUID, **values: object) -> Row:
    """Runs a statement that revokes tokens. Raises INVALID_TOKEN if it changes nothing: the user is deleted, or has
    revoked the token of this request."""
    try:
        row = await services.database.one(statement, user_id=user_id, **values)
    finally:
        services.verifier.forget(user_id)  # also after an error: the statement may have happened
    if row is None:
        raise user_is_gone()
    return row


async def _get_account(services: Services, user_id: UUID) -> Row:
    account = await services.database.one(GET_PASSWORD, user_id=user_id)
    if account is None:
        raise user_is_gone()
    return account


async def _require_password(services: Services, account: Row, password: str, network: str, wrong: Problem) -> None:
    """Checks the password. Failures count, as a stolen token must not allow free guesses; `check_password` says how."""
    if account["password_hash"] is None:
        raise wrong
    async with services.rate_limits.check_password(account["id"], network) as attempt:
        if not await services.passwords.matches(password, account["password_hash"], network):
            attempt.stays_counted = True
            raise wrong


def _refusal(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, details=[FieldError(field, message)])
