"""A cgroup with a CPU quota, if the user may create one. Linux only."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PERIOD_MICROSECONDS = 100_000

# Text of a sitecustomize.py, which Python runs at its start. The process joins the cgroup named in the file "cgroup".
JOIN = """
import os
from pathlib import Path
here = Path(__file__).parent
if (here / "cgroup").exists():
    Path((here / "cgroup").read_text(), "cgroup.procs").write_text(str(os.getpid()))
"""


@contextmanager
def with_quota(processors: float) -> Iterator[Path | None]:
    """The cgroup's directory (version 1 or 2), or None if none can be created. Removed when its processes end."""
    made = _make(processors)
    try:
        yield made
    finally:
        if made is not None:
            deadline = time.monotonic() + 30
            while (made / "cgroup.procs").read_text() and time.monotonic() < deadline:
                time.sleep(0.02)
            made.rmdir()


def _make(processors: float) -> Path | None:
    name, quota = f"todo-tests-{uuid4().hex}", int(processors * PERIOD_MICROSECONDS)
    for parent, limits in (
        (Path("/sys/fs/cgroup"), {"cpu.max": f"{quota} {PERIOD_MICROSECONDS}"}),
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": f"{PERIOD_MICROSECONDS}", "cpu.cfs_quota_us": f"{quota}"}),
    ):
        made = parent / name
        try:
            made.mkdir()
        except OSError:
            continue
        if all((made / each).exists() for each in limits):
            for each, limit in limits.items():
                (made / each).write_text(limit)
            return made
        made.rmdir()
    return None
