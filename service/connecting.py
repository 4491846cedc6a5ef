"""How the driver of the requests connects: as the URL says, and without prepared statements behind a pooler."""

import asyncio
import logging
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import asyncpg

from service.database_url import for_asyncpg, names_a_neon_server, names_a_pooler
from service.session import CommandError
from service.settings import Settings
from service.statements import statement

GET_SERVER_PID = statement("health/get_server_pid", "one")

APPLICATION_NAME = {"application_name": "todo"}
# What times.from_postgresql() reads, whatever the server's own settings are. In full, as the server reports it back:
# PgBouncer compares the two, and would set what differs anew before each statement.
FORM_OF_TIMES = {"TimeZone": "UTC", "DateStyle": "ISO, MDY"}
CACHE_SIZE = {"on": 100, "off": 0}
CLOSE_TIMEOUT = 1.0

# What PgBouncer says, under a SQLSTATE that it has for all it refuses, when there is nobody behind it.
POOLER_IS_ALONE = ("connect to server", "server login")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_log = logging.getLogger("service.connecting")


class AwayError(CommandError):
    """Nobody answers at that address, or a server that is starting, stopping or full. It may be there in a moment."""


def arguments(settings: Settings) -> dict[str, Any]:
    """For asyncpg, for a connection as for a pool."""
    found = for_asyncpg(settings.dsn).arguments
    return found | {
        "server_settings": APPLICATION_NAME | found["server_settings"] | FORM_OF_TIMES,
        "command_timeout": settings.statement_timeout,
        "timeout": settings.pool_timeout,
    }


async def connect(settings: Settings, cache_size: int) -> Connection:
    """A time comes as the server's text, which an answer needs: to make a datetime of it in between is most of what a
    row costs."""
    connection: Connection = await asyncpg.connect(**arguments(settings), statement_cache_size=cache_size)
    await connection.set_builtin_type_codec("timestamptz", schema="pg_catalog", codec_name="text", format="text")
    return connection


def try_out(settings: Settings) -> bool:
    """One connection before there are any workers, for what only the driver can find out: whether there is a database
    that it can talk to, and whether a pooler is in between that takes prepared statements from one to another."""
    with ThreadPoolExecutor(1) as thread:  # Sanic's own command line calls from inside its loop
        looks_like_one = thread.submit(asyncio.run, _try_out(settings)).result()
    decided = _decided(settings)
    return looks_like_one if decided is None else decided == "off"


def say_what_was_understood(settings: Settings, *, has_pooler: bool) -> None:
    target = for_asyncpg(settings.dsn)
    if target.left_out:
        _log.warning("DATABASE_URL: left out, the driver knows nothing like it: %s", ", ".join(target.left_out))
    if target.verified_against is not None:
        _log.info("DATABASE_URL: the driver has no channel_binding; instead of it: %s", target.verified_against)
    if settings.prepared_statements == "auto" and has_pooler:
        _log.info(
            "a pooler is in front of PostgreSQL, so prepared statements are off; PREPARED_STATEMENTS=on is for one "
            "that knows whose they are, as PgBouncer 1.21 does with max_prepared_statements"
        )


async def cache_size(settings: Settings) -> int:
    """Two processes give their prepared statements the same names. In a session that a pooler lends to one after the
    other, each would run what the other has prepared."""
    decided = _decided(settings) or ("off" if await _has_pooler(settings) else "on")
    return CACHE_SIZE[decided]


def _decided(settings: Settings) -> Literal["on", "off"] | None:
    if settings.prepared_statements != "auto":
        return settings.prepared_statements
    if names_a_pooler(settings.dsn):
        return "off"
    # Neon has a proxy in front of every server, which gives each client a session of its own.
    return "on" if names_a_neon_server(settings.dsn) else None


async def _try_out(settings: Settings) -> bool:
    try:
        return await _has_pooler(settings)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", None) or error.reason
        raise CommandError(f"DATABASE_URL: should be a server whose TLS certificate can be trusted; {reason}") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        reason = getattr(error, "message", None) or str(error) or type(error).__name__
        kind = AwayError if _is_away(error, reason) else CommandError
        raise kind(f"DATABASE_URL: should be a database that answers; {reason}") from None


def _is_away(error: Exception, reason: str) -> bool:
    if type(error) is ConnectionError:  # asyncpg's word for a server that has no TLS
        return False
    if isinstance(error, asyncpg.ProtocolViolationError):
        return any(words in reason for words in POOLER_IS_ALONE)
    return isinstance(
        error,
        OSError | asyncpg.CannotConnectNowError | asyncpg.TooManyConnectionsError | asyncpg.PostgresConnectionError,
    )


async def _has_pooler(settings: Settings) -> bool:
    """It makes up the process id that a client is told, for it stands for whatever session is free."""
    connection = await asyncpg.connect(**arguments(settings), statement_cache_size=CACHE_SIZE["off"])
    try:
        server_pid = await connection.fetchval(GET_SERVER_PID.text)
    finally:
        with suppress(OSError):  # the server may be slow to hang up, and nobody waits for that
            await connection.close(timeout=CLOSE_TIMEOUT)
    return bool(server_pid != connection.get_server_pid())
