from collections.abc import Iterator

import pytest

from tests.databases import Urls
from tests.db.message_counter import MessageCounter


@pytest.fixture
def message_counter(own_database: Urls) -> Iterator[MessageCounter]:
    """Counts the messages to a database that only this test uses."""
    counter = MessageCounter(own_database.runtime)
    yield counter
    counter.close()
