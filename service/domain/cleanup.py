"""Deletes expired rows: old attempts, records of deleted users and tasks, and kept answers. Runs in the background of
other requests, and at an interval, so that they go when no request comes; `python -m service clean` does it once."""

import asyncio
import logging
import random
import time

from service.background import Background
from service.db.database import Database
from service.db.statements import statement
from service.errors import Problem

FORGET_ATTEMPTS = statement("maintenance/forget_attempts", "one")
FORGET_DELETED_USERS = statement("maintenance/forget_deleted_users", "one")
FORGET_DELETED_TASKS = statement("maintenance/forget_deleted_tasks", "one")
FORGET_IDEMPOTENCY_KEYS = statement("maintenance/forget_idempotency_keys", "one")
# Each deletes a limited number of rows. Several processes may run them at the same moment.
EXPIRED_ROWS = {
    "attempts": FORGET_ATTEMPTS,
    "deleted_outside_users": FORGET_DELETED_USERS,
    "deleted_tasks": FORGET_DELETED_TASKS,
    "idempotency_keys": FORGET_IDEMPOTENCY_KEYS,
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
        await self._has_forgotten()

    async def _repeat(self) -> None:
        """Waits for between half the interval and the whole, so that workers and copies that start together do not ask
        together. Comes back soon while there are rows to delete."""
        pause = self._interval_seconds
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing
            has_deleted = await self._has_forgotten()
            pause = min(self._interval_seconds, MIN_INTERVAL_SECONDS) if has_deleted else self._interval_seconds

    async def _has_forgotten(self) -> bool:
        """Whether a row was deleted. One short statement after the other, with one connection of the pool at a time.
        Logs the first failure of several: the next run does what was left."""
        try:
            deleted = [(await self._database.require_one(each))["deleted"] for each in EXPIRED_ROWS.values()]
        except Problem as problem:
            if not self._is_failing:
                reason = problem.reason or problem.text
                _log.warning("expired rows are left undeleted until the database answers: %s", reason)
            self._is_failing = True
            return False
        self._is_failing = False
        return any(deleted)
