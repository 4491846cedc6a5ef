"""How the driver of the requests connects: as the URL says, and without prepared statements behind a pooler."""

import asyncio
import logging
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias

import asyncpg

from service.db.admin_session import CommandError
from service.db.statements import statement
from service.settings.all_settings import Settings
from service.settings.database_url import for_asyncpg, names_a_neon_server, names_a_pooler

GET_LOCK_TIMEOUT = statement("health/get_lock_timeout", "one")
GET_SERVER_PID = statement("health/get_server_pid", "one")

APPLICATION_NAME = {"application_name": "todo"}
# What times.from_postgresql() reads, whatever the server's own settings are. In full, as the server reports it back:
# PgBouncer compares the two, and would set what differs anew before each statement.
FORM_OF_TIMES = {"TimeZone": "UTC", "DateStyle": "ISO, MDY"}
CACHE_SIZE = {"on": 100, "off": 0}
# The server ends a wait for a lock, and the statement is sent again (lock_waits.py). Behind a pooler, which refuses a
# setting that it does not know, sql/roles.sql sets it on the role.
LOCK_TIMEOUT = {"lock_timeout": "100ms"}
REFUSED_SETTING = "startup parameter"
LONG_LOCK_TIMEOUT_MS = 1000
CLOSE_TIMEOUT = 1.0

# What PgBouncer says, under a SQLSTATE that it has for all it refuses, when there is nobody behind it.
POOLER_IS_ALONE = ("connect to server", "server login")

DatabaseConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_log = logging.getLogger("service.db.connect")


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


class Connector:
    """Opens connections for one process, each with LOCK_TIMEOUT unless a pooler refuses it."""

    def __init__(self, settings: Settings, cache_size: int) -> None:
        self._arguments = arguments(settings) | {"statement_cache_size": cache_size}
        is_given = "lock_timeout" in self._arguments["server_settings"].get("options", "")  # what the URL says counts
        self._limit = {} if is_given else LOCK_TIMEOUT

    async def __call__(self) -> DatabaseConnection:
        """A time comes as the server's text, which an answer needs: to make a datetime of it in between is most of what
        a row costs."""
        connection = await self._connect()
        await connection.set_builtin_type_codec("timestamptz", schema="pg_catalog", codec_name="text", format="text")
        return connection

    async def _connect(self) -> DatabaseConnection:
        given = self._arguments | {"server_settings": self._arguments["server_settings"] | self._limit}
        try:
            return await asyncpg.connect(**given)
        except asyncpg.ProtocolViolationError as error:
            if not self._limit or REFUSED_SETTING not in str(error):
                raise
        self._limit = {}
        return await asyncpg.connect(**self._arguments)


class Found(NamedTuple):
    """Facts that a start finds out by connecting."""

    has_pooler: bool
    lock_timeout_ms: int  # 0: none


def try_out(settings: Settings) -> Found:
    """One connection before there are any workers, for what only the driver can find out: whether there is a database
    that it can talk to, whether a pooler is in between that takes prepared statements from one to another, and whether
    waits for locks end."""
    with ThreadPoolExecutor(1) as thread:  # Sanic's own command line calls from inside its loop
        found = thread.submit(asyncio.run, _try_out(settings)).result()
    decided = _decided(settings)
    return found if decided is None else found._replace(has_pooler=decided == "off")


def say_what_was_understood(settings: Settings, found: Found) -> None:
    target = for_asyncpg(settings.dsn)
    if target.left_out:
        _log.warning("DATABASE_URL: left out, the driver knows nothing like it: %s", ", ".join(target.left_out))
    if target.verified_against is not None:
        _log.info("DATABASE_URL: the driver has no channel_binding; instead of it: %s", target.verified_against)
    if settings.prepared_statements == "auto" and found.has_pooler:
        _log.info(
            "a pooler is in front of PostgreSQL, so prepared statements are off; PREPARED_STATEMENTS=on is for one "
            "that knows whose they are, as PgBouncer 1.21 does with max_prepared_statements"
        )
    if not 0 < found.lock_timeout_ms <= LONG_LOCK_TIMEOUT_MS:
        _log.warning(
            "lock_timeout is %s: a request that waits for a lock keeps its connection meanwhile, and others wait with "
            "it; set it as sql/roles.sql does, ALTER ROLE ... SET lock_timeout = '%s'",
            f"{found.lock_timeout_ms} ms" if found.lock_timeout_ms else "not set",
            LOCK_TIMEOUT["lock_timeout"],
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


async def _try_out(settings: Settings) -> Found:
    try:
        connection = await Connector(settings, CACHE_SIZE["off"])()
        try:
            has_pooler = await _is_of_a_pooler(connection)
            return Found(has_pooler, await connection.fetchval(GET_LOCK_TIMEOUT.text))
        finally:
            await _close(connection)
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
    connection = await asyncpg.connect(**arguments(settings), statement_cache_size=CACHE_SIZE["off"])
    try:
        return await _is_of_a_pooler(connection)
    finally:
        await _close(connection)


async def _is_of_a_pooler(connection: DatabaseConnection) -> bool:
    """A pooler makes up the process id that a client is told, for it stands for whatever session is free."""
    return bool(await connection.fetchval(GET_SERVER_PID.text) != connection.get_server_pid())


async def _close(connection: DatabaseConnection) -> None:
    with suppress(OSError):  # the server may be slow to hang up, and nothing waits for that
        await connection.close(timeout=CLOSE_TIMEOUT)
