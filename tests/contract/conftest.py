from collections.abc import Iterator

import pytest

from tests import support
from tests.support import OLD_SECRET, SECRET, Service

# They test statements and the domain, which both ways of a request share, and take a minute each.
ON_ONE_PATH = {"test_change_model.py", "test_list_model.py"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    twice = [each for each in items if each.path.name in ON_ONE_PATH and "sanics_own_path" in each.name]
    if twice:
        config.hook.pytest_deselected(items=twice)
        items[:] = [each for each in items if each not in twice]


@pytest.fixture(scope="session", params=["auto", "off"], ids=["fast_path", "sanics_own_path"])
def service(
    request: pytest.FixtureRequest, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service with the fast path and with Sanic's own path: the contracts hold on both."""
    with support.running(
        tmp_path_factory.mktemp("service"),
        DATABASE_URL=database_url,
        BETTER_AUTH_SECRET=SECRET,
        BETTER_AUTH_SECRET_OLD=OLD_SECRET,
        FAST_PATH=request.param,
    ) as started:
        yield started
