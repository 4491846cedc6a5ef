"""`python -m service user erase`: deletes a user in pieces, and proves from the declared tables what is left."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from service.cli import embedded_postgres, erasure
from service.cli.erasure import COUNT_ROWS
from service.cli.user import COUNT_TASKS
from service.db.admin_session import CommandError, connected, in_one_snapshot, rows
from service.db.statements import SQL
from service.domain.account_changes import DELETE_USER, MAX_TASKS_PER_DELETE
from service.review import tables
from tests import support
from tests.databases import Urls
from tests.support import FEBRUARY, PASSWORD, Service, User, sign_up

Erase = Callable[..., subprocess.CompletedProcess[str]]

ISSUER = "https://issuer.example"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
MANY_TASKS = b"INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, %s)"
DECLARED = tables.read(SQL)[0].tables
WITHOUT_USERS = {name: table.why for name, table in DECLARED.items() if table.kind in {"shared", "migrations"}}


@pytest.fixture
def erase(database_url: str, tmp_path: Path) -> Erase:
    def run(*named: str, url: str = database_url) -> subprocess.CompletedProcess[str]:
        return support.command(tmp_path, "user", "erase", *named, DATABASE_URL=url)

    return run


@pytest.fixture
def outside(database: psycopg.Connection) -> tuple[str, str, str]:
    """The id, the email and the subject of a user of an outside issuer, who has a task."""
    email, subject = support.new_email(), f"subject-{uuid4().hex}"
    insert = "INSERT INTO users (issuer, subject, email) VALUES (%s, %s, %s) RETURNING id"
    [[user_id]] = database.execute(insert.encode(), [ISSUER, subject, email]).fetchall()
    database.execute(MANY_TASKS, [user_id, 1])
    return str(user_id), email, subject


def report(user_id: str, deleted: list[str], remembered: str | None = None, unknown: str | None = None) -> str:
    """The report but its first line, with TIME for each time. `remembered` is the subject of an outside user."""
    belongs_to_none = {name: f"belongs to no user: {why}" for name, why in WITHOUT_USERS.items()}
    lines = [*deleted, "rows of the user in each table of sql/tables.md:"]
    lines += ["  users: 0", "  tasks: 0", "  task_counters: 0", "  deleted_tasks: 0", "  idempotency_keys: 0"]
    if remembered is not None:
        lines.append("  deleted_outside_users: 1")
        del belongs_to_none["deleted_outside_users"]
    lines += [f"  {name}: {why}" for name, why in belongs_to_none.items()]
    lines += ["what remains:", "  attempts: keyed digests of the email, the id and addresses, which end by TIME"]
    if remembered is not None:
        lines.append(f"  deleted_outside_users: issuer '{ISSUER}', subject '{remembered}', until TIME")
    if unknown is not None:
        lines.append(f"  deleted_outside_users: {unknown}")
    lines += [
        "  tokens: refused by every process within 10 s (TOKEN_RECHECK)",
        "  logs: the id in the lines of requests, addresses in refusals, for as long as you keep them",
        "  backups and the server's write-ahead log: everything, for as long as you keep them",
        f"after a restore repeat it: python -m service user erase {user_id}",
    ]
    return "\n".join([*lines, ""])


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str, str]:
    first, _, rest = done.stdout.partition("\n")
    return done.returncode, done.stderr, first, re.sub(TIME, "TIME", rest)


def dumped(url: str) -> str:
    """All rows of the database as text."""
    program = embedded_postgres.binary("pg_dump")
    done = subprocess.run([program, "--data-only", f"--dbname={url}"], capture_output=True, text=True, check=True)
    return done.stdout


def test_erase_reports_what_it_deleted_and_that_no_row_of_the_user_is_left(
    erase: Erase, ann: User, bob: User, database: psycopg.Connection
) -> None:
    kept = bob.creates(FEBRUARY)
    ann.creates(FEBRUARY)
    ann.delete(f"/api/tasks/{ann.creates(FEBRUARY)['id']}")
    key = {"Idempotency-Key": "key"}
    gone = ann.post("/api/tasks", {"title": "x"}, headers=key).json()["id"]
    database.execute("DELETE FROM tasks WHERE id = %s", [gone])
    database.execute(MANY_TASKS, [ann.id, 2 * MAX_TASKS_PER_DELETE])

    done = erase(f" {ann.email.upper()} ")

    tasks = 2 * MAX_TASKS_PER_DELETE + 1
    deleted = [
        "deleted, in 3 pieces:",
        "  users: 1",
        f"  tasks: {tasks}",
        "  task_counters: 1",
        "  deleted_tasks: 1",
        "  idempotency_keys: 1",
    ]
    assert outcome(done) == (0, "", f"erasing {ann.id}, email '{ann.email}'", report(ann.id, deleted))
    assert bob.get("/api/tasks").json() == FEBRUARY.list_of(kept)
    for table in (b"tasks", b"deleted_tasks", b"idempotency_keys"):
        [[left]] = database.execute(b"SELECT count(*) FROM %s WHERE user_id = %%s" % table, [ann.id]).fetchall()
        assert (table, left) == (table, 0)


@pytest.mark.parametrize("by_id", [True, False], ids=["id", "issuer and subject"])
def test_erase_of_an_outside_user_says_what_is_remembered_and_until_when(
    erase: Erase, outside: tuple[str, str, str], database: psycopg.Connection, by_id: bool
) -> None:
    user_id, email, subject = outside

    done = erase(user_id) if by_id else erase(ISSUER, subject)

    deleted = [
        "deleted, in 1 piece:",
        "  users: 1",
        "  tasks: 1",
        "  task_counters: 0",
        "  deleted_tasks: 0",
        "  idempotency_keys: 0",
    ]
    first = f"erasing {user_id}, email '{email}', issuer '{ISSUER}', subject '{subject}'"
    assert outcome(done) == (0, "", first, report(user_id, deleted, remembered=subject))
    until = "SELECT to_char(deleted_at + interval '1 day', 'YYYY-MM-DD HH24:MI:SS \"UTC\"') FROM deleted_outside_users"
    [[said]] = database.execute(f"{until} WHERE subject = %s".encode(), [subject]).fetchall()
    assert f"subject '{subject}', until {said}\n" in done.stdout


def test_an_erased_user_is_nowhere_in_the_database_and_the_email_is_nowhere_in_the_log(
    service: Service, start_service: Callable[..., Service], erase: Erase, urls: Urls, outside: tuple[str, str, str]
) -> None:
    limited = start_service(LOGIN_FAILURES=5, LOGIN_FAILURES_PER_EMAIL=5, SIGNUPS_PER_ADDRESS=1000)
    ann = sign_up(limited.http)
    ann.creates(FEBRUARY, title=f"Write to {ann.email}")
    ann.delete(f"/api/tasks/{ann.creates(FEBRUARY)['id']}")
    answers = [
        limited.http.post("/api/auth/login", json={"email": ann.email, "password": password}).status_code
        for password in (PASSWORD, "wrong horse", *["wrong horse"] * 5)
    ]
    assert answers[:2] == [200, 401]
    assert answers[-1] == 429
    user_id, email, subject = outside
    before = dumped(urls.admin)
    assert all(each in before for each in (ann.id, ann.email, user_id, email, subject))

    assert [erase(name).returncode for name in (ann.email, user_id)] == [0, 0]

    after = dumped(urls.admin)
    assert [each for each in (ann.id, ann.email, user_id, email) if each in after] == []
    assert [line.split("\t")[:2] for line in after.splitlines() if subject in line] == [[ISSUER, subject]]
    assert ann.email.encode().hex() not in after
    assert ann.id in limited.log.read_text()
    assert ann.email not in limited.log.read_text()


@pytest.mark.parametrize("verb", ["delete", "erase"])
def test_a_killed_run_is_resumed_and_other_users_never_wait(
    database_url: str, tmp_path: Path, ann: User, bob: User, database: psycopg.Connection, urls: Urls, verb: str
) -> None:
    """The first run is killed while it waits for a task of the second piece, which another session has locked."""
    database.execute(MANY_TASKS, [ann.id, 2 * MAX_TASKS_PER_DELETE + 1])
    left = "SELECT count(*) FROM tasks WHERE user_id = %s"
    with psycopg.connect(urls.admin) as other:
        second = "SELECT id FROM tasks WHERE user_id = %s ORDER BY id LIMIT 1 OFFSET %s"
        [task_id] = other.execute(second.encode(), [ann.id, MAX_TASKS_PER_DELETE + 9]).fetchone() or [None]
        other.execute("SELECT FROM tasks WHERE user_id = %s AND id = %s FOR UPDATE", [ann.id, task_id])
        command = [sys.executable, "-m", "service", "user", verb, ann.email]
        environment = support.environment(DATABASE_URL=database_url)
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as killed:
            while database.execute(left.encode(), [ann.id]).fetchone() != (MAX_TASKS_PER_DELETE + 1,):
                assert killed.poll() is None
                time.sleep(0.05)
            kept = bob.creates(FEBRUARY)
            assert bob.put(f"/api/tasks/{kept['id']}", {"is_completed": True}).status_code == 200
            assert killed.poll() is None
            killed.kill()

    assert ann.get("/api/auth/me").status_code == 200
    done = support.command(tmp_path, "user", verb, ann.email, DATABASE_URL=database_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert database.execute(left.encode(), [ann.id]).fetchone() == (0,)
    assert [each["id"] for each in bob.get("/api/tasks").json()["tasks"]] == [kept["id"]]


def test_a_run_that_was_killed_after_the_deletion_is_repeated_by_the_id(erase: Erase, ann: User) -> None:
    first = erase(ann.email)

    again, by_email = erase(ann.id), erase(ann.email)

    assert first.stdout.startswith(f"erasing {ann.id}, ")
    hint = "the issuer and subject of an outside user who was deleted within the last day"
    nothing = report(ann.id, ["deleted: nothing, there is no such user"], unknown=hint)
    assert outcome(again) == (0, "", f"erasing {ann.id}", nothing)
    assert outcome(by_email) == (1, f"no user logs in with {ann.email}\n", "", "")


def test_erase_of_an_unknown_user_or_without_a_database_prints_one_line(erase: Erase) -> None:
    email = support.new_email()
    away = f"postgresql://todo@127.0.0.1:{support.free_port()}/todo"

    unknown, stranger, lost = erase(email), erase(ISSUER, email), erase(email, url=away)

    assert outcome(unknown) == (1, f"no user logs in with {email}\n", "", "")
    assert outcome(stranger) == (1, f"{ISSUER} has no user here with the subject {email}\n", "", "")
    assert (lost.returncode, lost.stdout, lost.stderr.count("\n")) == (1, "", 1)
    assert lost.stderr.startswith("DATABASE_URL: should be a database that answers; ")


def test_an_undeclared_table_or_trigger_is_no_proof(own_database: Urls, erase: Erase, password_hash: str) -> None:
    email = support.new_email()
    with psycopg.connect(own_database.admin, autocommit=True) as database:
        database.execute("CREATE TABLE audit (owner_id uuid, said text)")
        make = "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'"
        database.execute(make.encode())
        database.execute("CREATE TRIGGER note BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION noted()")
        database.execute("INSERT INTO users (email, password_hash) VALUES (%s, %s)", [email, password_hash])

        done = erase(email, url=own_database.runtime)

        assert (done.returncode, "  users: 0\n" in done.stdout) == (1, True)
        assert done.stderr == (
            "not proven: sql/tables.md:1: must declare the table audit: owned, child of an owned table, or shared, and"
            " why; sql/tables.md:1: must declare the trigger note of users: statements do not show what it does\n"
        )
        assert database.execute("SELECT count(*) FROM users").fetchall() == [(0,)]


def test_every_declared_table_with_an_owner_is_counted() -> None:
    """Add a column for a new table to sql/accounts/count_rows_of_user.sql."""
    text = (SQL / "accounts" / "count_rows_of_user.sql").read_text()

    assert set(re.findall(r"^-- -> in_(\w+)", text, re.MULTILINE)) == set(DECLARED) - set(WITHOUT_USERS)
    assert set(re.findall(r"SELECT count\(\*\) AS row_count\s+FROM (\w+)", text)) == set(DECLARED) - set(WITHOUT_USERS)


def delete_here(url: str, user_id: str) -> None:
    with connected(url) as connection:
        connection.execute("SET lock_timeout = '100ms'")
        erasure.delete(connection, erasure.identity(connection, UUID(user_id)))


def test_a_lock_that_another_session_keeps_is_one_line(ann: User, urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.db.admin_session.LOCK_WAIT_SECONDS", 0)
    with psycopg.connect(urls.admin) as other:
        other.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [ann.id])

        with pytest.raises(CommandError) as refused:
            delete_here(urls.runtime, ann.id)

    assert str(refused.value) == (
        "another session holds a lock on what is to be changed; canceling statement due to lock timeout"
    )
    assert ann.get("/api/auth/me").status_code == 200


def test_rows_that_are_written_during_the_last_piece_are_counted_too(ann: User, urls: Urls) -> None:
    """The transaction starts again when a task is created between its count and its deletion."""
    counts = []
    with connected(urls.runtime) as connection, psycopg.connect(urls.admin, autocommit=True) as other:

        def count_and_delete() -> int:
            [counted] = rows(connection, COUNT_ROWS, user_id=ann.id)
            counts.append(counted["in_tasks"])
            if len(counts) == 1:
                other.execute(MANY_TASKS, [ann.id, 1])
            return len(rows(connection, DELETE_USER, user_id=ann.id, token_generation=0))

        assert in_one_snapshot(connection, count_and_delete) == 1
        assert other.execute("SELECT count(*) FROM users WHERE id = %s", [ann.id]).fetchall() == [(0,)]
    assert counts == [0, 1]


def test_the_command_line_needs_no_parser_of_sql() -> None:
    """The image has none."""
    program = "import sys; sys.modules['postgast'] = None; import service.cli.main"

    subprocess.run([sys.executable, "-c", program], cwd=support.ROOT, check=True)


def test_a_command_prepares_no_statement_that_another_session_of_a_pooler_would_miss(urls: Urls) -> None:
    with connected(urls.runtime) as connection:
        for _ in range(10):
            rows(connection, COUNT_TASKS, user_id=UUID(int=0))

        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchall() == [(0,)]
