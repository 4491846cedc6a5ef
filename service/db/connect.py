"""How asyncpg connects: as DATABASE_URL says, and without prepared statements behind a pooler."""

import asyncio
import logging
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias

import asyncpg

from service.db.admin_session import CommandError, require_utf8
from service.db.statements import statement
from service.settings.all_settings import Settings
from service.settings.database_url import for_asyncpg, names_a_neon_server, names_a_pooler

GET_LOCK_TIMEOUT = statement("health/get_lock_timeout", "one")
GET_SERVER_PID = statement("health/get_server_pid", "one")

APPLICATION_NAME = {"application_name": "todo"}
# The form of times that formats.time_from_postgresql() reads, independent of the server's settings. The values are
# spelled as the server reports them: PgBouncer compares the two texts, and sends a SET before each statement if they
# differ.
TIME_FORMAT_SETTINGS = {"TimeZone": "UTC", "DateStyle": "ISO, MDY"}
TEXT_TYPES = ("timestamptz", "date", "time")
STATEMENT_CACHE_SIZES = {"on": 100, "off": 0}
# The server ends a lock wait after this time, and the statement is sent again (lock_waits.py). A pooler refuses startup
# settings that it does not know; behind one, sql/roles.sql sets it on the role.
LOCK_TIMEOUT_SETTING = {"lock_timeout": "100ms"}
UNKNOWN_SETTING_MESSAGE = "startup parameter"
LONG_LOCK_TIMEOUT_MS = 1000
CLOSE_TIMEOUT_SECONDS = 1.0

# Parts of PgBouncer's messages for a server that is away. Its SQLSTATE does not tell: all its refusals share one.
POOLER_WITHOUT_SERVER_MESSAGES = ("connect to server", "server login")

DatabaseConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_log = logging.getLogger("service.db.connect")


class DatabaseAwayError(CommandError):
    """No server answers at that address, or it is starting, stopping or full. A retry may succeed."""


def arguments(settings: Settings) -> dict[str, Any]:
    """The arguments of asyncpg.connect."""
    found = for_asyncpg(settings.dsn).arguments
    return found | {
        "server_settings": APPLICATION_NAME | found["server_settings"] | TIME_FORMAT_SETTINGS,
        "command_timeout": settings.statement_timeout,
        "timeout": settings.pool_timeout,
    }


class Connector:
    """Opens connections for one process, each with LOCK_TIMEOUT_SETTING unless a pooler refuses it."""

    def __init__(
        self,
        settings: Settings,
        cache_size: int,
        connection_class: type[DatabaseConnection] = asyncpg.Connection,
    ) -> None:
        own = {"statement_cache_size": cache_size, "connection_class": connection_class}
        self._arguments = arguments(settings) | own
        is_given = "lock_timeout" in self._arguments["server_settings"].get("options", "")  # the URL wins
        self._lock_timeout = {} if is_given else LOCK_TIMEOUT_SETTING

    async def __call__(self) -> DatabaseConnection:
        """Opens a connection on which dates and times are sent and arrive as the server's text.

        Responses contain them as text. Making a datetime of each in between was most of the cost of a row."""
        connection = await self._connect()
        for name in TEXT_TYPES:
            await connection.set_builtin_type_codec(name, schema="pg_catalog", codec_name="text", format="text")
        return connection

    async def _connect(self) -> DatabaseConnection:
        given = self._arguments | {"server_settings": self._arguments["server_settings"] | self._lock_timeout}
        try:
            return await asyncpg.connect(**given)
        except asyncpg.ProtocolViolationError as error:
            if not self._lock_timeout or UNKNOWN_SETTING_MESSAGE not in str(error):
                raise
        self._lock_timeout = {}
        return await asyncpg.connect(**self._arguments)


class ConnectionFacts(NamedTuple):
    """Facts about the database that the first connection of a start shows."""

    has_pooler: bool
    lock_timeout_ms: int  # 0: no limit


def probe(settings: Settings) -> ConnectionFacts:
    """Opens one connection before there are workers, to find out what only the driver can: whether it can talk to the
    database, whether a pooler is in between that mixes up prepared statements, and whether lock waits end."""
    with ThreadPoolExecutor(1) as thread:  # Sanic's own command line calls this from inside its event loop
        found = thread.submit(asyncio.run, _probe(settings)).result()
    choice = _configured_choice(settings)
    return found if choice is None else found._replace(has_pooler=choice == "off")


def log_findings(settings: Settings, found: ConnectionFacts) -> None:
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
            LOCK_TIMEOUT_SETTING["lock_timeout"],
        )


async def cache_size(settings: Settings) -> int:
    """How many prepared statements a connection keeps: none behind a pooler.

    Two processes give their prepared statements the same names. A pooler lends one session to both in turn, so each
    would run the statements that the other has prepared."""
    choice = _configured_choice(settings) or ("off" if await _has_pooler(settings) else "on")
    return STATEMENT_CACHE_SIZES[choice]


def _configured_choice(settings: Settings) -> Literal["on", "off"] | None:
    if settings.prepared_statements != "auto":
        return settings.prepared_statements
    if names_a_pooler(settings.dsn):
        return "off"
    # Neon has a proxy in front of every server too, but it gives each client a separate session.
    return "on" if names_a_neon_server(settings.dsn) else None


async def _probe(settings: Settings) -> ConnectionFacts:
    try:
        connection = await Connector(settings, STATEMENT_CACHE_SIZES["off"])()
        try:
            require_utf8(getattr(connection.get_settings(), "server_encoding", None))
            has_pooler = await _goes_through_a_pooler(connection)
            return ConnectionFacts(has_pooler, await connection.fetchval(GET_LOCK_TIMEOUT.text))
        finally:
            await _close(connection)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", None) or error.reason
        raise CommandError(f"DATABASE_URL: should be a server whose TLS certificate can be trusted; {reason}") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        reason = getattr(error, "message", None) or str(error) or type(error).__name__
        kind = DatabaseAwayError if _is_away(error, reason) else CommandError
        raise kind(f"DATABASE_URL: should be a database that answers; {reason}") from None


def _is_away(error: Exception, reason: str) -> bool:
    if type(error) is ConnectionError:  # asyncpg raises exactly this if the server has no TLS
        return False
    if isinstance(error, asyncpg.ProtocolViolationError):
        return any(words in reason for words in POOLER_WITHOUT_SERVER_MESSAGES)
    return isinstance(
        error,
        OSError | asyncpg.CannotConnectNowError | asyncpg.TooManyConnectionsError | asyncpg.PostgresConnectionError,
    )


async def _has_pooler(settings: Settings) -> bool:
    connection = await asyncpg.connect(**arguments(settings), statement_cache_size=STATEMENT_CACHE_SIZES["off"])
    try:
        return await _goes_through_a_pooler(connection)
    finally:
        await _close(connection)


async def _goes_through_a_pooler(connection: DatabaseConnection) -> bool:
    """Compares two process ids: a pooler tells the client an invented one, because it lends any free session."""
    return bool(await connection.fetchval(GET_SERVER_PID.text) != connection.get_server_pid())


async def _close(connection: DatabaseConnection) -> None:
    with suppress(OSError):  # the server was slow to close its side, which does not matter
        await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)
