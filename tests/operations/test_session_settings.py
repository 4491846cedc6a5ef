"""A database or a URL may have settings of its own for every session. What clients read does not depend on them."""

import re
from pathlib import Path

import psycopg
import pytest

from tests import support
from tests.databases import Urls
from tests.support import FEBRUARY, SECRET, sign_up

KOLKATA = "TimeZone%3DAsia/Kolkata -c DateStyle%3DGerman".replace(" ", "%20")


@pytest.fixture
def elsewhere(own_database: Urls) -> Urls:
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET TimeZone = "Asia/Kolkata"')
        connection.execute(f'ALTER DATABASE "{name}" SET DateStyle = "German"')
    return own_database


@pytest.mark.parametrize("in_url", [False, True])
def test_a_time_is_read_the_same_whatever_the_settings(elsewhere: Urls, in_url: bool, tmp_path: Path) -> None:
    sign = "&" if "?" in elsewhere.runtime else "?"
    url = f"{elsewhere.runtime}{sign}options=-c%20{KOLKATA}" if in_url else elsewhere.runtime
    with support.running(tmp_path, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET) as service:
        user = sign_up(service.http)
        task = user.creates(FEBRUARY)
        with psycopg.connect(elsewhere.admin, autocommit=True) as connection:
            query = "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM tasks"
            [stored] = connection.execute(query).fetchone() or [None]

        assert task["created_at"] == stored
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", task["created_at"])
        assert user.get("/api/tasks").json() == {"tasks": [task]}
