"""Session settings of a database or a URL, such as TimeZone, do not change the answers."""

import asyncio
import re
from pathlib import Path

import psycopg
import pytest

from service.db import connect
from service.db.connect import Connector
from service.settings.all_settings import load_settings
from tests import support
from tests.databases import Urls
from tests.support import FEBRUARY, SECRET, sign_up

KOLKATA = "TimeZone%3DAsia/Kolkata -c DateStyle%3DGerman".replace(" ", "%20")


@pytest.fixture
def database_in_kolkata(own_database: Urls) -> Urls:
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET TimeZone = "Asia/Kolkata"')
        connection.execute(f'ALTER DATABASE "{name}" SET DateStyle = "German"')
    return own_database


@pytest.mark.parametrize("in_url", [False, True])
def test_times_are_read_the_same_under_any_session_settings(
    database_in_kolkata: Urls, in_url: bool, tmp_path: Path
) -> None:
    sign = "&" if "?" in database_in_kolkata.runtime else "?"
    url = f"{database_in_kolkata.runtime}{sign}options=-c%20{KOLKATA}" if in_url else database_in_kolkata.runtime
    with support.running(tmp_path, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET) as service:
        user = sign_up(service.http)
        task = user.creates(FEBRUARY)
        with psycopg.connect(database_in_kolkata.admin, autocommit=True) as connection:
            query = "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM tasks"
            [stored] = connection.execute(query).fetchone() or [None]

        assert task["created_at"] == stored
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", task["created_at"])
        assert user.get("/api/tasks").json() == FEBRUARY.list_of(task)


def test_the_server_reports_the_settings_of_a_connection_word_for_word(urls: Urls) -> None:
    """PgBouncer compares them as text: for another spelling it would set its own before each statement."""

    async def reported() -> dict[str, str]:
        connection = await Connector(load_settings(database_url=urls.runtime, better_auth_secret=SECRET), 100)()
        try:
            settings = connection.get_settings()
            return {name: getattr(settings, name) for name in connect.TIME_FORMAT_SETTINGS}
        finally:
            await connection.close()

    assert asyncio.run(reported()) == connect.TIME_FORMAT_SETTINGS
