"""The server of DATABASE_URL: its version, its clock, what it does with a commit, and what lies on the way to it."""

from collections.abc import Iterator

import psycopg

from service.db.admin_session import AdminConnection, one_line, rows
from service.db.connect import GET_SERVER_PID
from service.doctor.examined import ExaminedDatabase
from service.doctor.finding import Finding, error, note, warning
from service.settings.database_url import hosts_of

OLDEST, NEWEST = 15, 18  # the versions of PostgreSQL that the tests run on

# Settings of the server that lose data, what that means, and the command that ends it.
LOSING = {
    "fsync": "a crash of the machine can destroy the whole database",
    "full_page_writes": "a crash of the machine can destroy the whole database",
    "synchronous_commit": "a crash loses writes that the service has confirmed",
}


# Settings of the session that the service relies on, with what another value does.
ASSUMED = {
    "default_transaction_isolation": (
        "read committed",
        "writes of the same moment fail with serialization errors, which clients get as 503",
    ),
    "session_replication_role": ("origin", "no foreign key is checked, and a deleted user's tasks stay"),
}


def check(database: ExaminedDatabase, seconds_off: float) -> Iterator[Finding]:
    server = database.server
    version = server["version_number"] // 10_000
    if not OLDEST <= version <= NEWEST:
        yield (error if version < OLDEST else warning)(
            "database/version", f"PostgreSQL {version}", f"the service is tested on {OLDEST} to {NEWEST}",
            f"use one of {OLDEST} to {NEWEST}",
        )  # fmt: skip
    if server["is_read_only"]:
        yield error(
            "database/read-only", "the server is a standby, or read-only by default", "every write fails",
            "name the primary in DATABASE_URL, or reset default_transaction_read_only of the role or the database",
        )  # fmt: skip
    for name, effect in LOSING.items():
        if server[name] == "off":
            yield error("database/durability", f"{name} is off", effect, f"ALTER SYSTEM RESET {name}, and reload")
    for name, (assumed, effect) in ASSUMED.items():
        if server[name] != assumed:
            yield error(
                "database/session-settings", f"{name} is {server[name]}", effect,
                f"ALTER ROLE {server['role_name']} RESET {name}, or ALTER DATABASE ... RESET {name}",
            )  # fmt: skip
    if server["transaction_age"] > database.thresholds.transaction_age:
        yield error(
            "database/wraparound", f"the oldest row has not been frozen for {server['transaction_age']} transactions",
            "the server refuses writes at about 2 100 000 000",
            "VACUUM (FREEZE), and look for a transaction that holds it up",
        )  # fmt: skip
    yield from _texts(database)
    if abs(seconds_off) > database.thresholds.clock_seconds:
        yield warning(
            "database/clock",
            f"the server's clock is {abs(seconds_off):.0f} s {'ahead' if seconds_off > 0 else 'behind'} of this one",
            "tokens live longer or shorter than they should, and limits of logins too",
            "synchronize both with NTP: timedatectl set-ntp true",
        )  # fmt: skip
    yield from _encryption(database)


def _texts(database: ExaminedDatabase) -> Iterator[Finding]:
    """How the server sorts texts and knows their letters."""
    if database.server["has_old_collation"]:
        yield warning(
            "database/collation", "the server's library sorts texts in another version than the one of this database",
            "an index of texts, such as that of emails, may miss rows",
            "REINDEX DATABASE, then ALTER DATABASE ... REFRESH COLLATION VERSION",
        )  # fmt: skip
    if database.server["lowers_ascii_alone"]:
        yield warning(
            "database/locale", "the locale of the database knows no upper and lower case but that of A to Z",
            "a search for 'ärzte' does not find 'Ärzte', and tags may differ in case alone",
            "restore a dump into a database that is made with: TEMPLATE template0 LOCALE 'C.UTF-8'",
        )  # fmt: skip


def _encryption(database: ExaminedDatabase) -> Iterator[Finding]:
    if unencrypted := unencrypted_host(database.settings.dsn, is_encrypted=database.connection.pgconn.ssl_in_use):
        yield warning(
            "database/tls", f"the connection to {unencrypted} is not encrypted",
            "who is on the way reads tasks, emails and hashes of passwords",
            "add sslmode=verify-full to DATABASE_URL, or sslmode=require in a network of your own",
        )  # fmt: skip


def unencrypted_host(url: str, *, is_encrypted: bool) -> str | None:
    """The first host of the URL to which others could listen: neither a socket nor this machine."""
    if is_encrypted:
        return None
    return next((host for host in hosts_of(url) if not is_local(host)), None)


def is_local(host: str) -> bool:
    return host == "localhost" or host.startswith(("/", "@", "127.", "::1"))


def refuses_transactions(connection: AdminConnection) -> Iterator[Finding]:
    """A pooler in statement mode gives each statement another session."""
    try:
        with connection.transaction():
            rows(connection, GET_SERVER_PID)
    except psycopg.Error as failure:
        yield error(
            "database/pooler-mode", f"no transaction can be begun ({one_line(failure)})",
            "batches, Idempotency-Key and migrations fail", "set pool_mode = transaction in the pooler",
        )  # fmt: skip


def pooler(database: ExaminedDatabase) -> Iterator[Finding]:
    if not database.has_pooler:
        return
    if database.settings.prepared_statements == "on":
        yield note(
            "database/prepared-statements", "PREPARED_STATEMENTS is on behind a pooler",
            "a pooler that does not know whose they are mixes them up",
            "only with PgBouncer 1.21 or newer and max_prepared_statements above 0",
        )  # fmt: skip
    if database.settings.database_direct_url is None:
        yield note(
            "database/direct-url", "DATABASE_URL goes through a pooler, and DATABASE_DIRECT_URL is not set",
            "migrate needs a session of its own", "set DATABASE_DIRECT_URL where migrate runs",
        )  # fmt: skip
