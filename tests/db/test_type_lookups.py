"""The driver prepares every statement without looking up a type in the database.

It would do so on each new connection, with a query that reads the whole catalogue: 20 ms in a small database, over a
second on Citus. text[] is the only array type that it knows already.
"""

import asyncio
from typing import Any

from service.db.connect import Connector
from service.db.statements import names, read
from service.settings.all_settings import load_settings
from tests.databases import Urls
from tests.support import SECRET

SENT_BY_THE_SERVICE = ("accounts/", "attempts/", "health/", "maintenance/", "tasks/")


async def with_lookups(url: str) -> list[str]:
    """The statements whose types are looked up, each prepared on a connection of its own."""
    open_connection = Connector(load_settings(database_url=url, better_auth_secret=SECRET), 0)
    found = []
    for name in (each for each in names() if each.startswith(SENT_BY_THE_SERVICE)):
        connection = await open_connection()
        queries: list[Any] = []
        connection.add_query_logger(queries.append)
        await connection.prepare(read(name).text)
        await connection.close()
        if queries:
            found.append(name)
    return found


def test_preparing_a_statement_asks_for_no_type(urls: Urls) -> None:
    assert asyncio.run(with_lookups(urls.runtime)) == []
