"""Checks of the server's activity: connections, old transactions, replication slots, tables without cleaning."""

from collections.abc import Iterator

from service.db.admin_session import rows
from service.db.connect import APPLICATION_NAME
from service.db.statements import statement
from service.doctor.examined import MINUTES, ExaminedDatabase, our_tables
from service.doctor.finding import Finding, note, warning

COUNT_CONNECTIONS = statement("health/count_connections", "one")
COUNT_SESSIONS = statement("doctor/count_sessions", "one")
LIST_OLD_TRANSACTIONS = statement("doctor/list_old_transactions", "many")
LIST_IDLE_SLOTS = statement("doctor/list_idle_slots", "many")
LIST_NEGLECTED_TABLES = statement("doctor/list_neglected_tables", "many")

MIB = 1024 * 1024


def check(database: ExaminedDatabase) -> Iterator[Finding]:
    yield from _connections(database)
    connection, thresholds = database.connection, database.thresholds
    for row in rows(connection, LIST_OLD_TRANSACTIONS, older_than_seconds=thresholds.transaction_seconds):
        yield warning(
            "database/old-transaction",
            f"{row['holder']} of {row['role_name']} ({row['state']}) is {row['age_seconds'] // MINUTES} minutes old",
            "no deleted row is removed meanwhile, and tables grow",
            f"unless it is a backup, end it: {row['end_command']}",
        )  # fmt: skip
    for row in rows(connection, LIST_IDLE_SLOTS, more_than_bytes=thresholds.slot_bytes):
        yield warning(
            "database/idle-slot",
            f"the replication slot {row['slot_name']} has no reader and keeps {row['kept_bytes'] // MIB} MiB",
            "the write-ahead log fills the disk", f"unless its reader comes back: {row['drop_command']}",
        )  # fmt: skip
    if database.server["autovacuum"] == "off":
        yield warning(
            "database/autovacuum", "autovacuum is off on this server", "tables grow, and plans get old",
            "ALTER SYSTEM RESET autovacuum, and reload",
        )  # fmt: skip
    for row in rows(connection, LIST_NEGLECTED_TABLES, table_names=our_tables(), dead_rows=thresholds.dead_rows):
        name = row["table_name"]
        yield warning(
            "database/neglected-table",
            f"autovacuum is off for {name}" if row["is_off"]
            else f"{name} has {row['dead_count']} dead rows beside {row['live_count']} live ones",
            "each statement on it reads dead rows too",
            f"ALTER TABLE {name} RESET (autovacuum_enabled)" if row["is_off"]
            else f"VACUUM (ANALYZE) {name}, and look for a transaction that holds it up",
        )  # fmt: skip


def _connections(database: ExaminedDatabase) -> Iterator[Finding]:
    """Behind a pooler the pooler keeps to the limit. Copies on one host, or behind one address, count as one here."""
    settings = database.settings
    [sessions] = rows(database.connection, COUNT_SESSIONS, application_name=APPLICATION_NAME["application_name"])
    if sessions["hidden_count"] and not database.is_embedded:
        yield note(
            "database/hidden-sessions", f"the server hides {sessions['hidden_count']} sessions of other roles",
            "their age and host were not looked at", "as a superuser: GRANT pg_monitor TO the role of DATABASE_URL",
        )  # fmt: skip
    if database.has_pooler:
        return
    [server] = rows(database.connection, COUNT_CONNECTIONS)
    copies = max(1, sessions["host_count"])
    wanted = settings.pool_max * settings.workers * copies
    free = server["max_connections"] - server["for_superusers"] - server["for_reserved"] - sessions["of_others"]
    limit = database.server["connection_limit"]
    if limit is not None and wanted > limit:
        yield warning(
            "database/connection-limit",
            f"the role or the database has CONNECTION LIMIT {limit}, and the pools may open {wanted} connections",
            "requests get 503 when all are taken", "ALTER ROLE ... or ALTER DATABASE ... CONNECTION LIMIT -1",
        )  # fmt: skip
    if wanted > free:
        yield warning(
            "database/connections",
            f"POOL_MAX={settings.pool_max} for each of WORKERS={settings.workers}, in {copies} copies, may open "
            f"{wanted} "
            f"connections, and the server has {free} left for them (max_connections={server['max_connections']}, "
            f"others have {sessions['of_others']})",
            "requests get 503 when all are taken",
            f"set POOL_MAX={max(1, free // (settings.workers * copies))}, or use PgBouncer",
        )  # fmt: skip
