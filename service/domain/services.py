"""The services of one process, opened at its start and closed at its end: the argument `services` of the use cases."""

import asyncio
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

from service.auth import token_users
from service.auth.issuer_tokens import IssuerTokens
from service.auth.key_fetch import fetcher
from service.auth.passwords import Passwords
from service.auth.tokens import Tokens
from service.auth.verifier import Verifier
from service.background import Background
from service.db.database import Database
from service.domain.change_feed import ChangeFeed
from service.domain.cleanup import Cleanup
from service.domain.known_networks import KnownNetworks
from service.domain.rate_limits import RateLimits
from service.domain.tasks import NO_QUOTA
from service.metrics.definitions import HASH_WAIT
from service.metrics.meters import Meters
from service.settings import resources
from service.settings.all_settings import Settings
from service.traces.tracer import Tracer

CLOSE_TIMEOUT_SECONDS = 1.0


class Services(SimpleNamespace):
    background: Background
    database: Database
    tokens: Tokens
    issuer_tokens: IssuerTokens
    verifier: Verifier
    passwords: Passwords
    rate_limits: RateLimits
    known_networks: KnownNetworks
    cleanup: Cleanup
    change_feed: ChangeFeed
    max_tasks: int  # for each user
    changes_days: int  # for which a cursor of changes is good
    idempotency_hours: int  # for which an answer is kept


async def open_services(
    services: Services, settings: Settings, meters: Meters | None = None, tracer: Tracer | None = None
) -> None:
    """Without `meters` nothing is measured, and without a tracer nothing is traced."""
    threads = settings.hash_threads or max(1, resources.usable() // settings.workers)
    services.tokens = Tokens(settings.require_secret(), settings.old_secret, settings.jwt_expiration_hours)
    report_wait = meters.histogram(HASH_WAIT).observe if meters else None
    services.passwords = Passwords(settings.bcrypt_rounds, threads, settings.pool_timeout, report_wait)
    services.background = Background()
    services.database = await Database.connect(settings, services.background, meters, tracer)
    services.cleanup = Cleanup(services.database, services.background, settings.cleanup_interval)
    services.change_feed = ChangeFeed(services.database, settings.changes_days)
    services.cleanup.start()
    services.rate_limits = RateLimits(services.database, services.background, services.cleanup, settings)
    services.known_networks = KnownNetworks(services.database, services.background, settings)
    services.changes_days = settings.changes_days
    services.idempotency_hours = settings.idempotency_hours
    services.max_tasks = settings.tasks_per_user or NO_QUOTA
    find_user = partial(token_users.find_or_create_outside_user, services.database)
    services.issuer_tokens = IssuerTokens(settings.auth_issuers, find_user, partial(fetcher, tracer=tracer))
    services.issuer_tokens.start()
    check = partial(token_users.require_current, services.database)
    services.verifier = Verifier(services.tokens, services.issuer_tokens, check, settings.token_recheck)


async def close_services(services: Services) -> None:
    services.passwords.close()
    services.issuer_tokens.close()
    with suppress(TimeoutError):  # a database that does not answer must not delay the stop
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await services.background.close()
            await services.database.close()
