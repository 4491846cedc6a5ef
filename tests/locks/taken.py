"""The table locks that each migration takes, as PostgreSQL reports them in pg_locks while `migrate` applies it.

A migration keeps its locks until it commits, so they are read inside its transaction: by an event trigger after each
command, and by a deferred trigger on yoyo's table just before the commit. CREATE INDEX CONCURRENTLY has given its locks
back when its event trigger fires. It waits for older transactions, so one is held open until its locks were read.
"""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import psycopg

from service.db import migrations
from service.db.admin_session import AdminConnection

# It has a schema to itself, because the tables of public are those that it looks at.
OBSERVER = """
CREATE SCHEMA observer;
CREATE SEQUENCE observer.steps;
CREATE TABLE observer.seen (
    step bigint, started_at timestamptz, read_at timestamptz, table_name text, mode text, scans bigint, changes bigint,
    filenode oid
);

CREATE FUNCTION observer.look() RETURNS void LANGUAGE sql AS $$
INSERT INTO observer.seen
SELECT
    this.step, now(), clock_timestamp(), pg_class.relname, pg_locks.mode, pg_stat_get_xact_numscans(pg_class.oid),
    pg_stat_get_xact_tuples_updated(pg_class.oid) + pg_stat_get_xact_tuples_deleted(pg_class.oid),
    pg_relation_filenode(pg_class.oid)
FROM (SELECT nextval('observer.steps') AS step) AS this
INNER JOIN pg_class ON pg_class.relnamespace = 'public'::regnamespace AND pg_class.relkind IN ('r', 'p')
LEFT JOIN pg_locks
    ON pg_locks.relation = pg_class.oid AND pg_locks.pid = pg_backend_pid() AND pg_locks.locktype = 'relation'
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
$$;

CREATE FUNCTION observer.after_command() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM observer.look(); END $$;
CREATE EVENT TRIGGER observe_commands ON ddl_command_end EXECUTE FUNCTION observer.after_command();

CREATE FUNCTION observer.before_commit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM observer.look(); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER observe_commits AFTER INSERT ON _yoyo_migration DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION observer.before_commit();
"""

TABLES = """
SELECT relname, pg_relation_filenode(oid) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""
WRITTEN_BY_MIGRATE = re.compile("_?yoyo.*|migration_checksums")
SEEN = "SELECT step, table_name, mode, scans, changes, filenode FROM observer.seen ORDER BY step, table_name"
# The sum over its transactions: a migration outside a transaction has one for each statement.
DURATION = """
SELECT sum(extract(epoch FROM seconds))::float
FROM (SELECT max(read_at) - started_at AS seconds FROM observer.seen GROUP BY started_at) AS transactions
"""
WAITING = """
SELECT pg_class.relname, held.mode
FROM pg_locks AS waiting
LEFT JOIN pg_locks AS held ON held.pid = waiting.pid AND held.locktype = 'relation'
LEFT JOIN pg_class ON pg_class.oid = held.relation
WHERE NOT waiting.granted AND %s = ANY(pg_blocking_pids(waiting.pid))
"""
POLL_SECONDS = 0.02

# From the weakest to the strongest.
MODES = (
    "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)  # fmt: skip
BLOCKS_WRITES, BLOCKS_READS = "SHARE", "ACCESS EXCLUSIVE"  # and all that are stronger
SHOWN = "SHARE UPDATE EXCLUSIVE"  # weaker ones are those of requests


@dataclass(frozen=True)
class Lock:
    """A lock on a table that was there before the migration, and what is done while it is the strongest one on it."""

    table: str
    mode: str
    scans: int = 0  # of the whole table
    rewrites: bool = False
    changes_rows: bool = False

    @property
    def blocks_reads(self) -> bool:
        return MODES.index(self.mode) >= MODES.index(BLOCKS_READS)

    @property
    def blocks_writes(self) -> bool:
        return MODES.index(self.mode) >= MODES.index(BLOCKS_WRITES)

    @property
    def is_long(self) -> bool:
        """Whether it is held longer the more rows there are."""
        return self.scans > 0 or self.rewrites or self.changes_rows

    @property
    def is_shown(self) -> bool:
        return MODES.index(self.mode) >= MODES.index(SHOWN) or self.changes_rows


class Taken(NamedTuple):
    """The locks and the new tables of a migration, in the order of time."""

    locks: tuple[Lock, ...]
    new_tables: tuple[str, ...]
    seconds: float  # in its transactions


def observe(url: str) -> None:
    """Makes the observer, in a database without migrations; yoyo's tables stay. The role has to be a superuser."""
    [first, *_] = migrations.known()
    migrations.apply(url, first)
    migrations.roll_back(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(OBSERVER.encode())


def applied(url: str, migration_id: str, *, held_up: bool = True) -> Taken:
    """Applies the migration. With `held_up` a statement with CONCURRENTLY waits until its locks are read."""
    with psycopg.connect(url, autocommit=True) as connection:
        before = _filenodes(connection)
        connection.execute("TRUNCATE observer.seen")
        waiting = _held_up(connection, url, migration_id) if held_up else _at_once(url, migration_id)
        steps = [*waiting, *_steps(connection, before)]
        new_tables = sorted(_filenodes(connection).keys() - before.keys())
        [seconds] = connection.execute(DURATION.encode()).fetchone() or [0.0]
        return Taken(tuple(_merged(steps)), tuple(new_tables), seconds)


def _filenodes(connection: AdminConnection) -> dict[str, int]:
    return dict(connection.execute(TABLES.encode()).fetchall())


def _at_once(url: str, migration_id: str) -> list[Lock]:
    migrations.apply(url, migration_id)
    return []


def _held_up(connection: AdminConnection, url: str, migration_id: str) -> list[Lock]:
    """The locks that the migration has when it waits for an older transaction. Each wait is for a transaction of its
    own: the next one is open before the last one ends."""
    tables = _filenodes(connection).keys()
    found: list[Lock] = []
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(migrations.apply, url, migration_id)
        older = _open_transaction(url)
        try:
            while not running.done():
                held = connection.execute(WAITING.encode(), [older.info.backend_pid]).fetchall()
                if held:
                    found += _strongest((table, _spelled(mode)) for table, mode in held if table in tables)
                    newer = _open_transaction(url)
                    older.close()
                    older = newer
                wait([running], POLL_SECONDS)
        finally:
            older.close()
        running.result()
    return found


def _open_transaction(url: str) -> AdminConnection:
    """With a snapshot, and without a lock on a table."""
    connection = psycopg.connect(url)
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute("SELECT 1")
    return connection


def _steps(connection: AdminConnection, filenodes: dict[str, int]) -> Iterator[Lock]:
    """The strongest lock on each table after each command, with what this command did to the table."""
    counted: dict[str, tuple[int, int]] = {}
    rows = connection.execute(SEEN.encode()).fetchall()
    for (_, table), group in groupby(rows, key=itemgetter(0, 1)):
        if table not in filenodes or WRITTEN_BY_MIGRATE.fullmatch(table):
            continue
        _, _, modes, scans, changes, filenode = zip(*group, strict=True)
        scans_before, changes_before = counted.get(table, (0, 0))
        counted[table] = scans[0], changes[0]
        rewrites = filenode[0] != filenodes[table]
        filenodes[table] = filenode[0]
        for lock in _strongest((table, _spelled(mode)) for mode in modes if mode is not None):
            yield replace(
                lock, scans=scans[0] - scans_before, rewrites=rewrites, changes_rows=changes[0] > changes_before
            )


def _strongest(held: Iterable[tuple[str, str]]) -> list[Lock]:
    modes: dict[str, str] = {}
    for table, mode in held:
        modes[table] = max(mode, modes.get(table, MODES[0]), key=MODES.index)
    return [Lock(table, mode) for table, mode in modes.items()]


def _merged(steps: Iterable[Lock]) -> Iterator[Lock]:
    """One for each mode of a table, without those that every request takes too."""
    merged: dict[tuple[str, str], Lock] = {}
    for step in steps:
        so_far = merged.get((step.table, step.mode), Lock(step.table, step.mode))
        merged[step.table, step.mode] = Lock(
            step.table,
            step.mode,
            so_far.scans + step.scans,
            so_far.rewrites or step.rewrites,
            so_far.changes_rows or step.changes_rows,
        )
    return (lock for lock in merged.values() if lock.is_shown)


def _spelled(mode: str) -> str:
    """AccessExclusiveLock of pg_locks as ACCESS EXCLUSIVE, which LOCK TABLE and the documentation say."""
    return " ".join(re.findall("[A-Z][a-z]+", mode.removesuffix("Lock"))).upper()
