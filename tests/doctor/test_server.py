"""python -m service doctor: a server that loses data, is off in time, or is away; and what lies on the way to it."""

import re
import time
from collections.abc import Iterator

import psycopg
import pytest

from service.db.admin_session import connected, rows
from service.doctor import server_checks
from service.doctor.examination import GET_SERVER
from service.doctor.examined import ExaminedDatabase, Thresholds
from service.settings.all_settings import load_settings
from tests import databases, pgbouncer
from tests.databases import Urls
from tests.doctor.diagnosis import lines, surroundings
from tests.support import SECRET, free_port

DIRECT_URL_NOTE = (
    "note: database/direct-url: DATABASE_URL goes through a pooler, and DATABASE_DIRECT_URL is not set; "
    "migrate needs a session of its own; set DATABASE_DIRECT_URL where migrate runs"
)

LOCALE_WARNING = (
    "warning: database/locale: the locale of the database knows no upper and lower case but that of A to Z; "
    "a search for 'ärzte' does not find 'Ärzte', and tags may differ in case alone; "
    "restore a dump into a database that is made with: TEMPLATE template0 LOCALE 'C.UTF-8'"
)


@pytest.fixture(scope="module")
def careless_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database on a server with bad settings, to which the service connects as a superuser."""
    settings = ["fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off", "max_connections=20"]
    settings.append("max_prepared_transactions=2")
    with databases.own_server(tmp_path_factory.mktemp("careless"), settings) as server:
        databases.migrate(server.url, with_roles=False)
        yield server.url


def test_each_careless_setting_of_a_server_is_found(careless_server: str) -> None:
    destroyed = "a crash of the machine can destroy the whole database"

    assert lines(careless_server, leave_out=(), pool_max=18) == [
        f"error: database/durability: fsync is off; {destroyed}; ALTER SYSTEM RESET fsync, and reload",
        (
            f"error: database/durability: full_page_writes is off; {destroyed}; "
            "ALTER SYSTEM RESET full_page_writes, and reload"
        ),
        (
            "error: database/durability: synchronous_commit is off; a crash loses writes that the service has "
            "confirmed; "
            "ALTER SYSTEM RESET synchronous_commit, and reload"
        ),
        LOCALE_WARNING,
        (
            "warning: database/superuser: the service connects as postgres, a superuser; a fault in it can reach every "
            "database of the server; psql DATABASE -v ON_ERROR_STOP=1 -f sql/roles.sql, then connect as todo_runtime"
        ),
        (
            "warning: database/connections: POOL_MAX=18 for each of WORKERS=1, in 1 copies, may open 18 "
            "connections, and the "
            "server has 17 left for them (max_connections=20, others have 0); requests get 503 when all are taken; "
            "set POOL_MAX=17, or use PgBouncer"
        ),
        (
            "warning: database/autovacuum: autovacuum is off on this server; tables grow, and plans get old; "
            "ALTER SYSTEM RESET autovacuum, and reload"
        ),
    ]


def test_old_transactions_idle_slots_and_dead_rows(careless_server: str) -> None:
    """A prepared transaction and an open one, a slot without a reader, and deleted rows that no VACUUM has removed."""
    at_once = Thresholds(transaction_seconds=0, slot_bytes=-1, dead_rows=100)
    with (
        psycopg.connect(careless_server) as idle,
        psycopg.connect(careless_server, autocommit=True) as other,
    ):
        other.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
        other.execute(
            "INSERT INTO attempts (bucket, attempted_at, ends_at) "
            "SELECT sha256(n::text::bytea), ARRAY[now()], now() FROM generate_series(1, 400) AS n"
        )
        other.execute("DELETE FROM attempts")
        other.execute("SELECT pg_stat_force_next_flush()")
        idle.execute("SELECT 1 FROM tasks")
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM tasks")
        other.execute("PREPARE TRANSACTION 'left behind'")
        found = [
            line
            for line in lines(careless_server, thresholds=at_once)
            if "old-" in line or "slot" in line or "neglected" in line
        ]
        pid = idle.info.backend_pid
        other.execute("ROLLBACK PREPARED 'left behind'")
        other.execute("SELECT pg_drop_replication_slot('forgotten')")

    kept = "no deleted row is removed meanwhile, and tables grow; unless it is a backup, end it"
    transactions, others = found[:2], found[2:]
    assert sorted(transactions) == [
        (
            f"warning: database/old-transaction: the prepared transaction 'left behind' of postgres (prepared) is 0 "
            "minutes old; "
            f"{kept}: ROLLBACK PREPARED 'left behind'"
        ),
        (
            f"warning: database/old-transaction: the transaction of process {pid} of postgres (idle in transaction) is "
            f"0 minutes old; {kept}: SELECT pg_terminate_backend({pid})"
        ),
    ]
    assert others == [
        (
            "warning: database/idle-slot: the replication slot forgotten has no reader and keeps 0 MiB; the "
            "write-ahead log fills the disk; unless its reader comes back: SELECT pg_drop_replication_slot('forgotten')"
        ),
        (
            "warning: database/neglected-table: attempts has 400 dead rows beside 0 live ones; each statement on "
            "it reads dead "
            "rows too; VACUUM (ANALYZE) attempts, and look for a transaction that holds it up"
        ),
    ]


def test_dead_rows_are_compared_with_the_known_size_of_a_table_whose_statistics_were_lost(careless_server: str) -> None:
    """As after a crash: a table that was cleaned lately is no finding."""
    with psycopg.connect(careless_server, autocommit=True) as admin:
        admin.execute(
            "INSERT INTO attempts (bucket, attempted_at, ends_at) "
            "SELECT sha256(concat('lost', n)::bytea), ARRAY[now()], now() FROM generate_series(1, 3000) AS n"
        )
        admin.execute("VACUUM ANALYZE attempts")
        admin.execute("SELECT pg_stat_force_next_flush()")
        admin.execute("SELECT 1 FROM attempts LIMIT 1")
        admin.execute("SELECT pg_stat_reset_single_table_counters('attempts'::regclass)")
        admin.execute("DELETE FROM attempts WHERE bucket IN (SELECT bucket FROM attempts LIMIT 400)")
        admin.execute("SELECT pg_stat_force_next_flush()")
        counted = admin.execute("SELECT n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE relname = 'attempts'")

        assert counted.fetchall() == [(0, 400)]
        assert [
            line for line in lines(careless_server, thresholds=Thresholds(dead_rows=100)) if "neglected" in line
        ] == []
        admin.execute("VACUUM attempts")


def test_a_database_that_cannot_be_used(own_database: Urls, empty_database: str) -> None:
    away = f"postgresql://todo@127.0.0.1:{free_port()}/todo"

    [found] = lines(away)

    assert found.startswith("error: database/unreachable: DATABASE_URL: should be a database that answers; ")
    assert found.endswith('; what needs the database fails; try: psql "$DATABASE_URL" -c "SELECT 1"')


def test_a_database_that_is_read_only(own_database: Urls) -> None:
    name = databases.name_of(own_database.admin)
    with psycopg.connect(own_database.admin, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())

    assert lines(own_database.runtime) == [
        (
            "error: database/read-only: the server is a standby, or read-only by default; every write fails; "
            "name the primary in DATABASE_URL, or reset default_transaction_read_only of the role or the database"
        )
    ]


def test_rows_that_were_never_frozen(own_database: Urls) -> None:
    [found] = lines(own_database.runtime, thresholds=Thresholds(transaction_age=-1))

    assert re.fullmatch(
        r"error: database/wraparound: the oldest row has not been frozen for \d+ transactions; the server refuses "
        r"writes at about 2 100 000 000; VACUUM \(FREEZE\), and look for a transaction that holds it up",
        found,
    )


@pytest.mark.parametrize(("off", "where"), [(100, "behind"), (-100, "ahead")])
def test_a_clock_that_is_off(own_database: Urls, off: int, where: str) -> None:
    around = surroundings(clock=lambda: time.time() + off)

    [found] = lines(own_database.runtime, around)

    assert found == (
        f"warning: database/clock: the server's clock is 100 s {where} of this one; tokens live longer or shorter than "
        "they should, and limits of logins too; synchronize both with NTP: timedatectl set-ntp true"
    )


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (140_012, "error: database/version: PostgreSQL 14; the service is tested on 15 to 18; use one of 15 to 18"),
        (150_000, None),
        (180_004, None),
        (190_000, "warning: database/version: PostgreSQL 19; the service is tested on 15 to 18; use one of 15 to 18"),
    ],
)
def test_a_version_that_is_not_tested_is_a_finding(own_database: Urls, number: int, said: str | None) -> None:
    settings = load_settings(database_url=own_database.runtime, better_auth_secret=SECRET)
    with connected(own_database.runtime) as connection:
        [server] = rows(connection, GET_SERVER)
        database = ExaminedDatabase(
            settings,
            connection,
            server | {"version_number": number},
            has_pooler=False,
            is_embedded=False,
            thresholds=Thresholds(),
        )

        assert [str(each) for each in server_checks.check(database, 0.0)] == ([] if said is None else [said])


def test_a_library_that_sorts_in_another_version(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as admin:
        if admin.info.server_version < 170_000:
            pytest.skip("the provider builtin, which every server of 17 or newer has, is missing")
        name = f"todo_test_collation_{time.time_ns()}"
        admin.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'".encode()
        )
        try:
            url = databases.url_of_database(server_url, name)
            databases.migrate(url, with_roles=False)
            before = lines(url, surroundings(is_embedded=True))
            admin.execute("UPDATE pg_database SET datcollversion = 'of before' WHERE datname = %s", [name])
            after = lines(url, surroundings(is_embedded=True))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    assert (before, after) == (
        [],
        [
            (
                "warning: database/collation: the server's library sorts texts in another version than the one of this "
                "database; an index of texts, such as that of emails, may miss rows; "
                "REINDEX DATABASE, then ALTER DATABASE ... REFRESH COLLATION VERSION"
            )
        ],
    )


def test_a_locale_without_letters_beyond_ascii(server_url: str) -> None:
    name = f"todo_test_locale_{time.time_ns()}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'".encode())
        try:
            url = databases.url_of_database(server_url, name)
            databases.migrate(url, with_roles=False)
            found = lines(url, surroundings(is_embedded=True))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    assert found == [LOCALE_WARNING]


@pytest.mark.parametrize(
    ("host", "is_encrypted", "found"),
    [
        ("db.example", False, "db.example"),
        ("10.0.0.5", False, "10.0.0.5"),
        ("%2Frun%2Fpostgresql,db.example", False, "db.example"),
        ("db.example", True, None),
        ("localhost", False, None),
        ("127.0.0.1", False, None),
        ("[::1]", False, None),
        ("%2Frun%2Fpostgresql", False, None),
        ("", False, None),
    ],
)
def test_a_connection_in_the_clear_to_another_machine(host: str, is_encrypted: bool, found: str | None) -> None:
    """The pure rule: the tests reach no other machine."""
    assert server_checks.unencrypted_host(f"postgresql://todo@{host}/todo", is_encrypted=is_encrypted) == found


def test_a_connection_in_the_clear_is_a_warning(own_database: Urls) -> None:
    """The URL is that of another machine. The connection is the unencrypted one of the tests."""
    settings = load_settings(database_url="postgresql://todo@db.example/todo", better_auth_secret=SECRET)
    with connected(own_database.runtime) as connection:
        [server] = rows(connection, GET_SERVER)
        database = ExaminedDatabase(
            settings, connection, server, has_pooler=False, is_embedded=False, thresholds=Thresholds()
        )  # fmt: skip

        assert [str(each) for each in server_checks.check(database, 0.0)] == [
            (
                "warning: database/tls: the connection to db.example is not encrypted; who is on the way reads "
                "tasks, emails and hashes of passwords; add sslmode=verify-full to DATABASE_URL, "
                "or sslmode=require in a network of your own"
            )
        ]


def test_a_pooler_in_transaction_mode_gets_notes_alone(own_database: Urls) -> None:
    with pgbouncer.in_front_of(own_database.runtime) as pooler:
        assert lines(pooler.url) == [DIRECT_URL_NOTE]
        assert lines(pooler.url, database_direct_url=own_database.owner) == []
        assert lines(pooler.url, database_direct_url=own_database.owner, prepared_statements="on") == [
            (
                "note: database/prepared-statements: PREPARED_STATEMENTS is on behind a pooler; a pooler that "
                "does not know "
                "whose they are mixes them up; only with PgBouncer 1.21 or newer and max_prepared_statements above 0"
            )
        ]


def test_a_pooler_in_statement_mode(own_database: Urls) -> None:
    with pgbouncer.in_front_of(own_database.runtime, pool_mode="statement") as pooler:
        found = lines(pooler.url, database_direct_url=own_database.owner)

    assert found == [
        (
            "error: database/pooler-mode: no transaction can be begun (transaction blocks not allowed in "
            "statement pooling "
            "mode); batches, Idempotency-Key and migrations fail; set pool_mode = transaction in the pooler"
        )
    ]
