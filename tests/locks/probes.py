"""Connections that send the service's own statements without a pause, and keep when each began and ended.

Each is a process, so that none waits for Python's lock while another computes. They have no lock_timeout: the service
would give up after 100 ms and try again, and the whole wait is what is measured.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeAlias
from uuid import uuid4

import psycopg

from service.db.admin_session import AdminConnection
from service.db.statements import read
from tests.buffers import Owner, values_of

OWNERS = 500  # that a probe takes in turn
PAUSE_SECONDS = 0.001
MISSING = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)

Span: TypeAlias = tuple[float, float]  # of one statement, by the monotonic clock, which all processes share


class Query(NamedTuple):
    text: str
    parameters: tuple[str, ...]

    def arguments(self, values: dict[str, object]) -> list[object]:
        return [values[name] for name in self.parameters]


class Probe(NamedTuple):
    statement: str
    before: Query  # stands for the statement on a schema that is older than its columns

    def queries(self) -> tuple[Query, Query]:
        statement = read(self.statement)
        return Query(statement.text, tuple(name for name, _ in statement.parameters)), self.before


TASK = ("user_id", "task_id")
READERS = (
    Probe("accounts/get_user", Query("SELECT id, email FROM users WHERE id = $1", ("user_id",))),
    Probe("tasks/get_task", Query("SELECT id, title FROM tasks WHERE user_id = $1 AND id = $2", TASK)),
)
WRITERS = (
    Probe("accounts/upgrade_hash", Query("UPDATE users SET password_hash = $2 WHERE id = $1", ("user_id", "new_hash"))),
    Probe("tasks/create_task", Query("INSERT INTO tasks (user_id, title) VALUES ($1, $2)", ("user_id", "title"))),
    Probe("tasks/update_task", Query("UPDATE tasks SET is_completed = true WHERE user_id = $1 AND id = $2", TASK)),
)


class Waits(NamedTuple):
    """The statements of all readers, and of all writers."""

    readers: list[Span]
    writers: list[Span]

    def worst(self, since: float, until: float) -> tuple[float | None, float | None]:
        """The longest statement of each kind that ran in this time, in seconds. None: none ran."""
        [reader, writer] = (
            max((ended - began for began, ended in spans if ended >= since and began <= until), default=None)
            for spans in self
        )
        return reader, writer


@contextmanager
def running(url: str) -> Iterator[Waits]:
    """The waits are complete at the end of the context. It begins when every probe has sent its first statement."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # what takes most of a start
    waits = Waits([], [])
    started = []
    for kept, probes in zip(waits, (READERS, WRITERS), strict=True):
        for probe in probes:
            ours, theirs = context.Pipe()
            process = context.Process(target=_send, args=(url, probe, theirs), daemon=True)
            process.start()
            theirs.close()
            started.append((process, ours, kept))
    for _, pipe, _ in started:
        pipe.recv()
    yield waits
    for process, pipe, kept in started:
        pipe.send("stop")
        kept.extend(pipe.recv())
        process.join()


def _send(url: str, probe: Probe, pipe: Connection) -> None:
    spans: list[Span] = []
    with psycopg.connect(url, autocommit=True) as connection, psycopg.RawCursor(connection) as cursor:
        values = [values_of(owner)[probe.statement] for owner in _owners(connection)]
        query = _answered(cursor, probe, values[0]) if values else None
        in_turn = cycle(values)
        pipe.send("ready")
        while query is not None and not pipe.poll(PAUSE_SECONDS):
            arguments = query.arguments(next(in_turn))
            began = time.monotonic()
            try:
                cursor.execute(query.text.encode(), arguments)
            except psycopg.errors.FeatureNotSupported:  # the types of the row have changed since it was prepared
                connection.execute("DEALLOCATE ALL")  # psycopg then prepares it again, as the service's driver does
                cursor.execute(query.text.encode(), arguments)
            spans.append((began, time.monotonic()))
    pipe.recv()
    pipe.send(spans)


def _answered(cursor: psycopg.RawCursor, probe: Probe, values: dict[str, object]) -> Query | None:
    """The query that this schema answers. None: the table does not exist yet."""
    for query in probe.queries():
        try:
            cursor.execute(query.text.encode(), query.arguments(values))
        except MISSING:
            continue
        return query
    return None


def _owners(connection: AdminConnection) -> list[Owner]:
    """Users at random, with one of their tasks."""
    [tables] = connection.execute("SELECT to_regclass('users') IS NOT NULL, to_regclass('tasks') IS NOT NULL")
    has_users, has_tasks = tables
    if not has_users:
        return []
    task = "(SELECT id FROM tasks WHERE user_id = owner.id LIMIT 1)" if has_tasks else "gen_random_uuid()"
    wanted = f"SELECT id, email, {task} FROM (SELECT * FROM users ORDER BY random() LIMIT {OWNERS}) AS owner"
    now = datetime.now(UTC)
    return [
        Owner(user_id, email, task_id, now, uuid4(), "", b"", now)
        for user_id, email, task_id in connection.execute(wanted.encode())
    ]
