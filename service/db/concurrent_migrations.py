"""Runs migrations marked `-- transactional: false`: CREATE INDEX CONCURRENTLY cannot run in a transaction.

Such a statement waits for every older transaction of the database, a pg_dump for example. It blocks no reader and no
writer meanwhile, so it waits without a time limit, and the log says for what. Other statements of the file keep the
limits that the file sets: an ALTER TABLE that waits makes all requests queue up behind it."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
from yoyo.migrations import read_sql_migration

from service.db.admin_session import AdminConnection, CommandError, one_line, rows
from service.db.statements import statement

GET_TIME_LIMITS = statement("migrations/get_time_limits", "one")
SET_TIME_LIMITS = statement("migrations/set_time_limits", "one")
LIST_BLOCKERS = statement("migrations/list_blockers", "many")
LIST_INVALID_INDEXES = statement("migrations/list_invalid_indexes", "many")

REPORT_INTERVAL_SECONDS = 5.0
MAX_QUERY_CHARACTERS = 120

COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
CONCURRENTLY = re.compile(r"\s*(?:CREATE|DROP|REINDEX)\b[^;]*?\bCONCURRENTLY\b", re.IGNORECASE)
INDEX_NAME = re.compile(
    r"\s*(CREATE|DROP)\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(\w+|\"[^\"]+\")",
    re.IGNORECASE,
)

_log = logging.getLogger("service.db.concurrent_migrations")


def run(worker: AdminConnection, watcher: AdminConnection, file: Path) -> None:
    """Runs the file on `worker`, statement by statement. `watcher` is free meanwhile, to look at what it waits for."""
    try:
        _run(worker, watcher, file)
    except psycopg.Error as error:
        raise CommandError(_failure(watcher, file, error)) from None


def _run(worker: AdminConnection, watcher: AdminConnection, file: Path) -> None:
    for text in _statements(file):
        if CONCURRENTLY.match(_without_comments(text)) is None:
            worker.execute(text.encode())
            continue
        with _without_time_limits(worker), _waits_in_the_log(watcher, worker.info.backend_pid, _migration_id(file)):
            for index in _left_behind(worker, _index_names([text], "CREATE")):
                worker.execute(index["drop_command"].encode())
            worker.execute(text.encode())


def _failure(watcher: AdminConnection, file: Path, error: psycopg.Error) -> str:
    """One line: the error, and what the file has left behind."""
    again = "migrate --rollback" if file.stem.endswith(".rollback") else "migrate"
    try:
        indexes = [index["index_name"] for index in _left_behind(watcher, _index_names(_statements(file)))]
    except psycopg.Error:
        stays = f"whether an invalid index stays cannot be seen; the next {again} drops it and starts again"
    else:
        stays = f"the statements before that are not undone; the next {again} runs all of them again"
        if indexes:
            stays = f"an invalid index stays ({', '.join(indexes)}); the next {again} drops it and starts again"
    return f"{_migration_id(file)} failed: {one_line(error)}; {stays}"


def _migration_id(file: Path) -> str:
    return file.stem.removesuffix(".rollback")


def _statements(file: Path) -> list[str]:
    found: list[str] = read_sql_migration(str(file))[2]
    return found


def _without_comments(text: str) -> str:
    return COMMENT.sub("", text)


def _index_names(texts: list[str], *verbs: str) -> list[str]:
    """The indexes that are made or dropped CONCURRENTLY, as the catalogue spells them."""
    matches = map(INDEX_NAME.match, map(_without_comments, texts))
    names = [match[2] for match in matches if match and (not verbs or match[1].upper() in verbs)]
    return [name.strip('"') if name.startswith('"') else name.lower() for name in names]


def _left_behind(connection: AdminConnection, index_names: list[str]) -> list[dict[str, Any]]:
    return rows(connection, LIST_INVALID_INDEXES, index_names=index_names)


@contextmanager
def _without_time_limits(connection: AdminConnection) -> Iterator[None]:
    [limits] = rows(connection, GET_TIME_LIMITS)
    rows(connection, SET_TIME_LIMITS, lock_timeout="0", statement_timeout="0", is_local=False)
    yield
    lock_timeout, statement_timeout = limits["lock_timeout"], limits["statement_timeout"]
    rows(connection, SET_TIME_LIMITS, lock_timeout=lock_timeout, statement_timeout=statement_timeout, is_local=False)


@contextmanager
def _waits_in_the_log(watcher: AdminConnection, server_pid: int, migration_id: str) -> Iterator[None]:
    is_done = Event()

    def watch() -> None:
        while not is_done.wait(REPORT_INTERVAL_SECONDS):
            try:
                blockers = rows(watcher, LIST_BLOCKERS, server_pid=server_pid)
            except psycopg.Error as error:
                _log.warning("%s runs; what it waits for cannot be seen: %s", migration_id, one_line(error))
                return
            for blocker in blockers:
                _log.warning("%s waits for %s", migration_id, described(blocker))

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


def described(blocker: dict[str, Any]) -> str:
    """Process, age of its transaction, and the first line of its query."""
    if blocker["blocking_pid"] == 0:
        return "a prepared transaction: see pg_prepared_xacts"
    age = "of unknown age" if blocker["age_seconds"] is None else f"of {blocker['age_seconds']} s"
    query = next((line.strip() for line in (blocker["query"] or "").splitlines() if line.strip()), "unknown query")
    application = f" ({blocker['application_name']})" if blocker["application_name"] else ""
    return f"process {blocker['blocking_pid']}{application}, in a transaction {age}: {query[:MAX_QUERY_CHARACTERS]}"
