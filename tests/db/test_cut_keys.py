"""A request with an idempotency key whose connection to the database is cut at any message: a repetition is safe."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests import support
from tests.db.database_proxy import DatabaseProxy, ProxiedConnection
from tests.support import SECRET, Service, User, sign_up

MESSAGES = 14  # more than the service sends for one request
CREATE = ("/api/tasks", {"title": "once"})
BATCH = ("/api/tasks/batch", {"operations": [{"op": "create", "title": "once"}, {"op": "create", "title": "as well"}]})


class CuttingProxy(DatabaseProxy):
    """Cuts the connection at one message of the service: before the server gets it, or before its answer."""

    def __init__(self, server_url: str) -> None:
        self.left = -1
        self.reaches_the_server = False
        super().__init__(server_url)

    def cut_at(self, message: int, *, reaches_the_server: bool) -> None:
        self.left, self.reaches_the_server = message, reaches_the_server

    def before_forwarding(self, connection: ProxiedConnection, _: bytes) -> None:
        self.left -= 1
        if self.left == 0 and self.reaches_the_server:
            connection.is_cut = True
        elif self.left == 0:
            connection.close()


@pytest.fixture(scope="module")
def proxy(database_url: str) -> Iterator[CuttingProxy]:
    made = CuttingProxy(database_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def cut_service(proxy: CuttingProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"DATABASE_URL": proxy.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MAX": 1, "TOKEN_RECHECK": 300}
    with support.running(tmp_path_factory.mktemp("cut"), **settings) as service:
        yield service


@pytest.mark.parametrize("reaches_the_server", [True, False], ids=["the answer is lost", "the message is lost"])
@pytest.mark.parametrize(("path", "body"), [CREATE, BATCH], ids=["create", "batch"])
def test_wherever_the_connection_is_cut_a_repetition_succeeds_and_the_write_is_done_once(
    proxy: CuttingProxy, cut_service: Service, path: str, body: Any, *, reaches_the_server: bool
) -> None:
    user = sign_up(cut_service.http)
    replayed = 0
    for message in range(1, MESSAGES):
        headers = {"Idempotency-Key": str(uuid4())}
        tasks_before = number_of_tasks(user)
        proxy.cut_at(message, reaches_the_server=reaches_the_server)
        cut = user.post(path, body, headers=headers)
        proxy.cut_at(-1, reaches_the_server=False)
        again, third = (user.post(path, body, headers=headers) for _ in range(2))

        assert cut.status_code in {200, 201, 500}
        replayed += cut.status_code == 500 and "Idempotency-Replayed" in again.headers
        assert again.is_success
        assert not cut.is_success or cut.content == again.content
        assert third.content == again.content
        assert number_of_tasks(user) == tasks_before + len(body.get("operations", [1]))
    assert replayed == (1 if reaches_the_server else 0)  # the one whose COMMIT was not answered


def number_of_tasks(user: User) -> int:
    return len(user.get("/api/tasks").json()["tasks"])
