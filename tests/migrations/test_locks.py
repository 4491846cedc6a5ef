"""The locks of each migration, as PostgreSQL reports them: its `Locks:` line and the table of the README agree."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from service.db import migrations
from service.db.migrations import MIGRATIONS
from service.db.statements import SQL
from service.review import tables
from tests import databases
from tests.locks import data, lines, probes, table, taken
from tests.locks.lines import README
from tests.locks.taken import Lock, Taken

LAST = migrations.known()[-1]
BEFORE_COLUMNS = "0002_create_tasks"  # older than the columns that the statements of a login read
HELD_SECONDS = 0.2

PLANTED = {
    "ALTER TABLE tasks ADD COLUMN colour text": (Lock("tasks", "ACCESS EXCLUSIVE"),),
    "ALTER TABLE tasks ALTER COLUMN is_completed TYPE text": (Lock("tasks", "ACCESS EXCLUSIVE", 3, rewrites=True),),
    "CREATE INDEX tasks_title ON tasks (title)": (Lock("tasks", "SHARE", 1),),
    "UPDATE users SET updated_at = now()": (Lock("users", "ROW EXCLUSIVE", 1, changes_rows=True),),
    "LOCK TABLE users IN EXCLUSIVE MODE": (Lock("users", "EXCLUSIVE"),),
    "ALTER TABLE tasks ADD CONSTRAINT named CHECK (title <> '') NOT VALID": (Lock("tasks", "ACCESS EXCLUSIVE"),),
    "ALTER TABLE tasks VALIDATE CONSTRAINT named; ALTER TABLE users ADD COLUMN shade text": (
        Lock("tasks", "SHARE UPDATE EXCLUSIVE", 1),
        Lock("users", "ACCESS EXCLUSIVE"),
    ),
    "-- transactional: false\nCREATE INDEX CONCURRENTLY tasks_text ON tasks (description)": (
        Lock("tasks", "SHARE UPDATE EXCLUSIVE"),
    ),
    "-- transactional: false\nALTER TABLE users ADD COLUMN colour text": (Lock("users", "ACCESS EXCLUSIVE"),),
    "SELECT count(*) FROM tasks": (),
    "INSERT INTO attempts (bucket, attempted_at, ends_at) VALUES (sha256('x'), '{}', now())": (),
}

MOMENT, READ = Lock("users", "ACCESS EXCLUSIVE"), Lock("users", "SHARE", 2)
REWRITTEN = Lock("tasks", "ACCESS EXCLUSIVE", 1, rewrites=True)
WEAK = Lock("users", "SHARE UPDATE EXCLUSIVE")
LINES: list[tuple[str, tuple[Lock, ...], tuple[str, ...], list[str]]] = [
    ("ACCESS EXCLUSIVE on users for a moment. Nothing is rewritten and no row is read.", (MOMENT,), (), []),
    ("SHARE on users while it is read twice.", (READ,), (), []),
    ("ACCESS EXCLUSIVE on tasks while it is rewritten.", (REWRITTEN,), (), []),
    ("ACCESS EXCLUSIVE on users for a moment, and before it SHARE UPDATE EXCLUSIVE.", (WEAK, MOMENT), (), []),
    ("none that a request waits for.", (WEAK,), (), []),
    ("none that anybody waits for; the table is new.", (), ("attempts",), []),
    ("none that a request waits for.", (MOMENT,), (), [
        "says none, and takes ACCESS EXCLUSIVE on users", "is for a moment: no row is read or written under the lock",
    ]),
    ("SHARE on users for a moment.", (MOMENT,), (), [
        "does not take SHARE on users", "takes ACCESS EXCLUSIVE on users",
    ]),
    ("ACCESS EXCLUSIVE on tasks for a moment.", (MOMENT,), (), [
        "does not take ACCESS EXCLUSIVE on tasks", "takes ACCESS EXCLUSIVE on users",
    ]),
    ("ACCESS EXCLUSIVE on users.", (MOMENT,), (), ["is for a moment: no row is read or written under the lock"]),
    ("SHARE on users for a moment.", (READ,), (), [
        "is not for a moment: rows are read or written under the lock", "reads a whole table twice",
    ]),
    ("SHARE on users while it is read once.", (READ,), (), ["reads a whole table twice"]),
    ("SHARE on users; no row is read.", (READ,), (), ["reads a whole table twice"]),
    ("ACCESS EXCLUSIVE on tasks while it is read once.", (REWRITTEN,), (), ["rewrites a table"]),
    ("ACCESS EXCLUSIVE on users for a moment; users is new.", (MOMENT,), (), ["makes no table"]),
    ("none that a request waits for.", (), ("attempts",), ["makes attempts"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def older_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binaries = databases.installed_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL 15 to 17 is installed beside the embedded one")
    with databases.installed_server(tmp_path_factory.mktemp("installed"), binaries, []) as url:
        yield url


@pytest.fixture
def observed(empty_database: str) -> str:
    """A database without migrations, in which the locks of each can be seen."""
    require_superuser(empty_database)
    taken.observe(empty_database)
    return empty_database


@pytest.fixture(scope="module", params=["server_url", "older_server_url"])
def taken_by(request: pytest.FixtureRequest) -> dict[str, Taken]:
    """The locks of each migration: the same with and without rows."""
    server: str = request.getfixturevalue(request.param)
    require_superuser(server)
    with databases.new_database(server) as url:
        taken.observe(url)
        return {migration_id: taken.applied(url, migration_id) for migration_id in migrations.known()}


def require_superuser(url: str) -> None:
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() != (True,):
            pytest.skip("only a superuser may observe the commands of a migration")


def test_the_locks_line_of_each_migration_agrees_with_the_locks_that_it_takes(taken_by: dict[str, Taken]) -> None:
    found = {each: list(lines.disagreements(lines.line_of(each), taken_by[each])) for each in taken_by}

    assert {migration_id: said for migration_id, said in found.items() if said} == {}


def test_the_table_of_the_readme_shows_the_locks_of_each_migration(taken_by: dict[str, Taken]) -> None:
    expected = [table.cells(migration_id, each) for migration_id, each in taken_by.items()]

    assert table.cells_of_document(README.read_text()) == expected, "make locks writes it"


def test_a_correction_is_of_a_landed_migration_whose_own_line_is_wrong(taken_by: dict[str, Taken]) -> None:
    for migration_id in lines.corrections():
        assert list(lines.disagreements(lines.own_line_of(migration_id), taken_by[migration_id]))


@pytest.mark.usefixtures("with_roles")  # which looks for roles of others first, and drops these at the end
def test_the_grants_after_the_last_migration_take_no_lock_of_a_table(observed: str) -> None:
    databases.make_roles(observed)
    migrations.apply(observed)

    again = taken.applied(observed, LAST)

    assert (again.locks, again.new_tables) == ((), ())
    assert again.seconds > 0, "no command was seen"


def test_a_planted_migration_takes_the_lock_that_its_command_needs(
    observed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.apply(observed)
    data.fill(observed, ["users", "tasks"], users=10)
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy)
    monkeypatch.setattr(migrations, "MIGRATIONS", copy)

    found = {}
    for number, command in enumerate(PLANTED, 9001):
        (copy / f"{number}_planted.sql").write_text(f"{command};\n")
        found[command] = taken.applied(observed, f"{number}_planted")

    assert {command: each.locks for command, each in found.items()} == PLANTED
    assert {each.new_tables for each in found.values()} == {()}


@pytest.mark.parametrize(("line", "locks", "new_tables", "said"), LINES)
def test_a_locks_line_is_compared_with_the_locks(
    line: str, locks: tuple[Lock, ...], new_tables: tuple[str, ...], said: list[str]
) -> None:
    assert list(lines.disagreements(line, Taken(locks, new_tables, 0.0))) == said


def test_make_locks_has_rows_for_each_declared_table() -> None:
    declared, _ = tables.read(SQL)
    without_rows = declared.of_kind(tables.MIGRATIONS) | data.MADE_BY_MIGRATE

    assert set(data.ROWS) == set(declared.tables) - without_rows


@pytest.mark.parametrize("to", [BEFORE_COLUMNS, LAST])
def test_the_probes_read_and_write_each_schema_and_their_wait_for_a_lock_is_seen(empty_database: str, to: str) -> None:
    migrations.apply(empty_database, to)
    data.fill(empty_database, ["users", "tasks"], users=10)
    with (
        psycopg.connect(empty_database, autocommit=True) as watcher,
        probes.running(empty_database) as waits,
        psycopg.connect(empty_database) as holder,
    ):
        holder.execute("LOCK TABLE tasks, users")  # in the order of a create, which would be a deadlock otherwise
        wait_for_blocked(watcher, len(probes.READERS) + len(probes.WRITERS), holder.info.backend_pid)
        began = time.monotonic()
        time.sleep(HELD_SECONDS)
        ended = time.monotonic()

    assert all(each is not None and each >= HELD_SECONDS for each in waits.worst(began, ended))
    assert waits.worst(ended + 3600, ended + 7200) == (None, None)


def wait_for_blocked(watcher: psycopg.Connection, number: int, holder_pid: int) -> None:
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    deadline = time.monotonic() + 60
    while watcher.execute(blocked, [holder_pid]).fetchone() != (number,):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_probes_of_a_database_without_tables_measure_nothing(empty_database: str) -> None:
    with probes.running(empty_database) as waits:
        pass

    assert waits.worst(0, time.monotonic()) == (None, None)


def test_the_table_of_a_run_shows_waits_and_is_read_back() -> None:
    measured = [
        table.Measured("0001_a", Taken((), ("users",), 0.0042), None, None),
        table.Measured("0002_b", Taken((WEAK, MOMENT), (), 0.1), 0.00314, 1.5),
        table.Measured("0003_c", Taken((READ, REWRITTEN), (), 2.0), 0.001, 2.0),
    ]
    before = f"Before.\n{table.BEGIN}\nold\n{table.END}\nAfter.\n"

    document = table.in_document(before, table.table(measured, (0.002, 0.003)))

    weak = "SHARE UPDATE EXCLUSIVE on `users`; then ACCESS EXCLUSIVE on `users`"
    busy = "SHARE on `users`, reads it twice; then ACCESS EXCLUSIVE on `tasks`, rewrites it"
    blocks = "writes of `users`, while it does that; reads and writes of `tasks`, while it does that"
    assert document.splitlines() == [
        "Before.",
        table.BEGIN,
        "| migration | takes | blocks | duration | a reader waited | a writer waited |",
        "| --- | --- | --- | --- | --- | --- |",
        "| `0001_a` | none; `users` is new | nothing | 4.2 ms | no table yet | no table yet |",
        f"| `0002_b` | {weak} | reads and writes of `users`, for a moment | 100.0 ms | 3.1 ms | 1500.0 ms |",
        f"| `0003_c` | {busy} | {blocks} | 2000.0 ms | 1.0 ms | 2000.0 ms |",
        "| no migration |  |  |  | 2.0 ms | 3.0 ms |",
        table.END,
        "After.",
    ]
    assert table.cells_of_document(document) == [table.cells(*each[:2]) for each in measured]
