"""What goes away by itself: rows whose time is over. Done now and then, while somebody does what makes such rows."""

import time

from service.background import Background
from service.db.database import Database
from service.db.statements import statement

FORGET_ATTEMPTS = statement("maintenance/forget_attempts", "exec")
FORGET_DELETED_USERS = statement("maintenance/forget_deleted_users", "exec")

INTERVAL = 60.0  # seconds, at the least; a database that nobody asks for anything may go to sleep


class Cleanup:
    def __init__(self, database: Database, background: Background) -> None:
        self._database = database
        self._background = background
        self._due_at = 0.0

    def consider(self) -> None:
        now = time.monotonic()
        if now >= self._due_at:
            self._due_at = now + INTERVAL
            self._background.run(self._forget())

    async def _forget(self) -> None:
        await self._database.execute(FORGET_ATTEMPTS)
        await self._database.execute(FORGET_DELETED_USERS)
