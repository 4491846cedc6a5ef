"""make dashboard: puts a service under load for three minutes, and draws the queries of the dashboard as a real
Prometheus answers them. Grafana is not needed. For eight seconds of the last minute the table tasks is locked.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

from service.cli import embedded_postgres
from tests import databases
from tests.dashboard.load import observed
from tests.dashboard.picture import FILE
from tests.dashboard.queries import draw

SECONDS, LOCKED_AFTER_SECONDS, LOCKED_SECONDS = 180, 120, 8


def main() -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server_url = stack.enter_context(embedded_postgres.running(directory / "data"))
        urls = databases.migrate(stack.enter_context(databases.new_database(server_url)), with_roles=True)
        found = stack.enter_context(observed(urls, directory))
        start = time.time()
        time.sleep(LOCKED_AFTER_SECONDS)
        with psycopg.connect(urls.admin) as connection:
            connection.execute("LOCK TABLE tasks")
            time.sleep(LOCKED_SECONDS)
        time.sleep(SECONDS - LOCKED_AFTER_SECONDS - LOCKED_SECONDS)
        FILE.write_text(draw(found, start, time.time()))


if __name__ == "__main__":
    main()
