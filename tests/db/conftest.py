from collections.abc import Iterator

import pytest

from tests.databases import Urls
from tests.db.message_counter import Wiretap


@pytest.fixture
def wiretap(own_database: Urls) -> Iterator[Wiretap]:
    """On the way to a database that nobody else asks."""
    tap = Wiretap(own_database.runtime)
    yield tap
    tap.close()
