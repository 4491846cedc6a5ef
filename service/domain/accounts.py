"""Sign-up and login, for both contracts. No HTTP in here."""

from typing import NamedTuple

from service.db.database import Row
from service.db.statements import statement
from service.domain.services import Services
from service.errors import Code, Problem
from service.field_rules import normal_email

CREATE_USER = statement("accounts/create_user", "one")
FIND_CREDENTIALS = statement("accounts/find_credentials", "one")
UPGRADE_HASH = statement("accounts/upgrade_hash", "exec")


class SignedIn(NamedTuple):
    token: str
    user: Row


async def sign_up(services: Services, email: str, password: str, network: str) -> SignedIn:
    """Raises EMAIL_EXISTS if the address is taken. The unique key decides, so two sign-ups cannot race.

    It runs to its end even if the client disconnects: otherwise a client could avoid being counted by leaving early."""
    return await services.background.finish(_sign_up(services, email, password, network))


async def _sign_up(services: Services, email: str, password: str, network: str) -> SignedIn:
    async with services.rate_limits.sign_up(network) as attempt:
        password_hash = await services.passwords.hash(password, network)
        attempt.stays_counted = True
        digest = services.known_networks.digest(email, network)
        user = await services.database.require_one(
            CREATE_USER, email=email, password_hash=password_hash, network=digest
        )
    return signed_in(services, user)


async def log_in(services: Services, email: str, password: str, network: str) -> SignedIn:
    """Raises INVALID_CREDENTIALS, after the same amount of work, if the address is unknown or the password wrong.

    It runs to its end even if the client disconnects, so that the count of a successful attempt is taken back."""
    return await services.background.finish(_log_in(services, normal_email(email) or email, password, network))


async def _log_in(services: Services, email: str, password: str, network: str) -> SignedIn:
    async with services.rate_limits.log_in(email, network) as attempt:
        user = await services.database.one(FIND_CREDENTIALS, email=email)
        is_known = services.known_networks.is_known(user, email, network)
        await services.rate_limits.count_email(attempt, email, is_known_network=is_known)
        password_hash = None if user is None else user["password_hash"]
        matches = await services.passwords.matches(password, password_hash, network)
        if user is None or not matches:
            attempt.stays_counted = True
            raise Problem(Code.INVALID_CREDENTIALS)
    services.known_networks.remember(user, network)
    if services.passwords.is_outdated(user["password_hash"]):
        services.background.run(_upgrade_hash(services, user, password, network))
    return signed_in(services, user)


async def _upgrade_hash(services: Services, user: Row, password: str, network: str) -> None:
    new_hash = await services.passwords.hash(password, network)
    values = {"user_id": user["id"], "token_generation": user["token_generation"], "new_hash": new_hash}
    await services.database.execute(UPGRADE_HASH, **values)


def signed_in(services: Services, user: Row) -> SignedIn:
    return SignedIn(services.tokens.issue(user["id"], user["email"], user["token_generation"]), user)
