"""Runs the doctor in this process, on a database that a test has broken."""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from service.doctor.examination import examine
from service.doctor.examined import Surroundings, Thresholds
from service.settings.all_settings import load_settings
from tests.support import SECRET

# Findings that other tests cause on the shared server: they connect to it, and turn autovacuum off.
OF_OTHER_TESTS = {"database/hidden-sessions", "database/autovacuum"}


def lines(
    url: str | None,
    around: Surroundings | None = None,
    thresholds: Thresholds | None = None,
    leave_out: Collection[str] = OF_OTHER_TESTS,
    **settings: Any,
) -> list[str]:
    """The doctor's lines about these settings, and about the database if there is one."""
    loaded = load_settings(database_url=url, **({"better_auth_secret": SECRET} | settings))
    report = examine(loaded, around or Surroundings({}), thresholds)
    return [str(each) for each in report.findings if each.check not in leave_out]


def surroundings(
    environment: Mapping[str, str] | None = None,
    *,
    root: Path = Path("/"),
    clock: Callable[[], float] = time.time,
    is_embedded: bool = False,
) -> Surroundings:
    return Surroundings(environment or {}, is_embedded, root, clock)
