"""Copies of tasks by GET /api/changes, and repeated creates, while workers and connections to the database are killed,
behind a pooler too."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests import support
from tests.databases import Urls
from tests.operations.ledger import CLIENTS, load
from tests.operations.test_workers import workers_of
from tests.pgbouncer import PROGRAM, in_front_of
from tests.support import SECRET, Service, sign_up

KILLS = 3
# The errors of a client whose worker is killed.
BROKEN = re.compile(r"\S+ \S+: (RemoteProtocolError|ReadError|WriteError|ConnectError)\(")

WAYS = [
    "direct",
    pytest.param("pooler", marks=pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed here")),
]


@pytest.fixture(params=WAYS)
def service(request: pytest.FixtureRequest, own_database: Urls, tmp_path: Path) -> Iterator[Service]:
    with ExitStack() as stack:
        url = own_database.runtime
        if request.param == "pooler":
            url = stack.enter_context(in_front_of(url)).url
        settings = {"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, "WORKERS": 2}
        yield stack.enter_context(support.running(tmp_path, **settings))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_copies_equal_the_server_and_no_write_is_lost_or_doubled_while_processes_are_killed(
    service: Service, own_database: Urls
) -> None:
    with load([sign_up(service.http) for _ in range(CLIENTS)]) as ledger:
        for _ in range(KILLS):
            os.kill(workers_of(service)[0], signal.SIGKILL)
            ledger.wait_until_all_are_served()
            end_connections(own_database)
            ledger.wait_until_all_are_served()
    counts = ledger.compare(own_database.admin)

    assert [each for each in ledger.unexpected if not BROKEN.match(each)] == []
    assert ledger.wrong_replicas() == []
    assert (counts["lost"], counts["doubled"], counts["out of nothing"]) == (0, 0, 0)
    assert counts["acknowledged"] > 0


def end_connections(database: Urls) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
