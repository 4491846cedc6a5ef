"""Deletes expired rows: old attempts, records of deleted users and tasks, and kept answers. Runs in the background of
other requests, and at an interval, so that they go when no request comes; `python -m service clean` does it once."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from service.background import Background
from service.db.database import Database
from service.db.statements import Statement, statement
from service.errors import Problem

FORGET_ATTEMPTS = statement("maintenance/forget_attempts", "one")
FORGET_DELETED_USERS = statement("maintenance/forget_deleted_users", "one")
FORGET_DELETED_TASKS = statement("maintenance/forget_deleted_tasks", "one")
FORGET_IDEMPOTENCY_KEYS = statement("maintenance/forget_idempotency_keys", "one")
NO_USER, NO_TASK = UUID(int=0), UUID(int=0)


class Walk(NamedTuple):
    """A statement that deletes a limited number of expired rows of a table, and the values of its first call.

    With values it walks along the table, so that a call costs the same however large the table is. Without any it finds
    the expired rows by itself: its table is small."""

    statement: Statement
    start: Mapping[str, object]

    def after(self, row: Mapping[str, Any]) -> Mapping[str, object] | None:
        """The values of the next call. None: nothing is left to do."""
        if not self.start:
            return self.start if row["deleted"] else None
        following = {name: row[name] for name in self.start}
        return None if None in following.values() else following


# Several processes may walk along a table at the same time.
EXPIRED_ROWS = {
    "attempts": Walk(FORGET_ATTEMPTS, {}),
    "deleted_outside_users": Walk(FORGET_DELETED_USERS, {}),
    "deleted_tasks": Walk(FORGET_DELETED_TASKS, {"after_user_id": NO_USER, "after_task_id": NO_TASK}),
    "idempotency_keys": Walk(FORGET_IDEMPOTENCY_KEYS, {"after_user_id": NO_USER, "after_key": ""}),
}

MIN_INTERVAL_SECONDS = 60.0

_log = logging.getLogger("service.domain.cleanup")


class Cleanup:
    def __init__(self, database: Database, background: Background, interval_seconds: float) -> None:
        """With an interval of 0 it runs only beside requests."""
        self._database = database
        self._background = background
        self._interval_seconds = interval_seconds
        self._due_at = 0.0
        self._next = {table: walk.start for table, walk in EXPIRED_ROWS.items()}
        self._is_failing = False

    def start(self) -> None:
        if self._interval_seconds:
            self._background.run(self._repeat())

    def run_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._due_at:
            self._due_at = now + MIN_INTERVAL_SECONDS
            self._background.run(self._forget())

    async def _forget(self) -> None:
        await self._leaves_rows()

    async def _repeat(self) -> None:
        """Waits for between half the interval and the whole, so that workers and copies that start together do not ask
        together. Comes back soon while there are rows to look at."""
        pause = self._interval_seconds
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing
            leaves_rows = await self._leaves_rows()
            pause = min(self._interval_seconds, MIN_INTERVAL_SECONDS) if leaves_rows else self._interval_seconds

    async def _leaves_rows(self) -> bool:
        """Deletes some expired rows of each table. True: there are rows that were not looked at yet.

        One short statement after the other, with one connection of the pool at a time. Logs the first failure of
        several: the next run does what was left."""
        followings, failures = [], []
        for table, walk in EXPIRED_ROWS.items():
            try:
                row = await self._database.require_one(walk.statement, **self._next[table])
            except Problem as problem:  # of this table: the others have their turn all the same
                failures.append(problem.reason or problem.text)
                continue
            following = walk.after(dict(row))
            self._next[table] = walk.start if following is None else following
            followings.append(following)
        if failures and not self._is_failing:
            _log.warning("expired rows are left undeleted until the database answers: %s", failures[0])
        self._is_failing = bool(failures)
        return any(following is not None for following in followings)
