"""64 simultaneous logins to a process with a CPU quota of one processor on a machine that shows 64."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from service.cli import embedded_postgres
from service.db import migrations
from tests import cgroups, support
from tests.attacks import Measurement
from tests.storm import BackgroundProcess, Client, hammer, log_in
from tests.support import ROOT, SECRET

LOGINS = 64
POOL_TIMEOUT_SECONDS = 5.0  # as by default
MARGIN_SECONDS = 0.5  # for the request's statements, which share the CPU quota with the hashes
STORM_SECONDS = 20.0

A_LARGE_NODE = f"""
import os
os.cpu_count = lambda: {LOGINS}
os.sched_getaffinity = lambda _: set(range({LOGINS}))
"""
ONE_PROCESSOR = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"


async def log_in_at_once(port: int, email: str) -> list[tuple[int, float, bool]]:
    async def one() -> tuple[int, float, bool]:
        async with Client(port) as client:
            return await client.ask(log_in(email))

    return await asyncio.gather(*(one() for _ in range(LOGINS)))


def run() -> Iterator[Measurement]:
    with (
        tempfile.TemporaryDirectory() as name,
        embedded_postgres.running(Path(name)) as url,
        cgroups.with_quota(1) as cgroup,
    ):
        migrations.apply(url)
        if cgroup is not None:
            (Path(name) / "cgroup").write_text(str(cgroup))
        limit = "" if cgroup is not None else ONE_PROCESSOR  # weaker than a quota: pins the process to one processor
        (Path(name) / "sitecustomize.py").write_text(cgroups.JOIN + limit + A_LARGE_NODE)
        settings = {"BCRYPT_ROUNDS": 12, "POOL_TIMEOUT": POOL_TIMEOUT_SECONDS, "PYTHONPATH": f"{name}:{ROOT}"}
        with support.running(Path(name), DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, **settings) as service:
            user = support.sign_up(service.http)
            at_once = BackgroundProcess(log_in_at_once, service.port, user.email).result()
            storm = BackgroundProcess(hammer, service.port, [user.email] * LOGINS, STORM_SECONDS).result()
    for name, seen in ((f"{LOGINS} logins at once", at_once), (f"{LOGINS} that come again", storm)):
        statuses = Counter(status for status, _, _ in seen)
        longest = max(seconds for _, seconds, _ in seen)
        most = POOL_TIMEOUT_SECONDS + MARGIN_SECONDS
        unsaid = sum(status == 503 and not says_when for status, _, says_when in seen)
        yield Measurement(f"{name}: longest wait for an answer", f"< {most} s", f"{longest:.2f} s", longest < most)
        yield Measurement(f"{name}: logged in", "> 9", str(statuses[200]), statuses[200] > 9)
        wrong = len(seen) - statuses[200] - statuses[503] + unsaid
        yield Measurement(f"{name}: neither that nor 503 with Retry-After", "0", str(wrong), wrong == 0)
