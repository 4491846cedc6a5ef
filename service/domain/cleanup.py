"""Deletes expired rows: old attempts, and records of deleted users. Runs in the background of other requests."""

import time

from service.background import Background
from service.db.database import Database
from service.db.statements import statement

FORGET_ATTEMPTS = statement("maintenance/forget_attempts", "exec")
FORGET_DELETED_USERS = statement("maintenance/forget_deleted_users", "exec")

MIN_INTERVAL_SECONDS = 60.0  # there is no timer, so that an unused database can be suspended


class Cleanup:
    def __init__(self, database: Database, background: Background) -> None:
        self._database = database
        self._background = background
        self._due_at = 0.0

    def run_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._due_at:
            self._due_at = now + MIN_INTERVAL_SECONDS
            self._background.run(self._forget())

    async def _forget(self) -> None:
        await self._database.execute(FORGET_ATTEMPTS)
        await self._database.execute(FORGET_DELETED_USERS)
