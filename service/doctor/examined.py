"""The input of the checks, and their thresholds."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from service.db import schema_drift
from service.db.admin_session import AdminConnection
from service.settings.all_settings import Settings

MINUTES = 60
GIB = 1024**3


class Thresholds(NamedTuple):
    transaction_seconds: float = 15 * MINUTES
    slot_bytes: int = GIB
    dead_rows: int = 10_000
    clock_seconds: float = 5.0
    transaction_age: int = 1_000_000_000  # the server refuses writes at about 2 100 000 000
    days_valid: float = 30


class Surroundings(NamedTuple):
    environment: Mapping[str, str]  # with what .env adds to it
    is_embedded: bool = False  # DATABASE_URL is that of the embedded server
    root: Path = Path("/")
    clock: Callable[[], float] = time.time


class ExaminedDatabase(NamedTuple):
    settings: Settings
    connection: AdminConnection  # to DATABASE_URL, as the running service has it
    server: dict[str, Any]  # the row of doctor/get_server
    has_pooler: bool
    is_embedded: bool
    thresholds: Thresholds


def our_tables() -> list[str]:
    return sorted({table for table, _, _ in schema_drift.wanted()})
