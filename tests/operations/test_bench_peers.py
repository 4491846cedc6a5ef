"""Peers of the benchmark: their lock files, and the check that they answer as the service does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import support
from tests.bench import equal
from tests.bench.installed import require
from tests.support import FEBRUARY, Service, sign_up

OTHER_SECRET = "a-secret-that-none-of-the-tokens-is-signed-with"


@pytest.fixture(scope="module")
def refusing(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A peer that refuses the tokens of the others, as it has another secret."""
    directory = tmp_path_factory.mktemp("refusing")
    with support.running(directory, DATABASE_URL=database_url, BETTER_AUTH_SECRET=OTHER_SECRET) as started:
        yield started


@pytest.fixture(scope="module")
def seeded(service: Service) -> list[equal.User]:
    users = [sign_up(service.http, FEBRUARY, password=equal.PASSWORD) for _ in range(2)]
    return [equal.User(user.id, user.email, user.token, user.creates(FEBRUARY)["id"]) for user in users]


def test_the_service_equals_itself_and_the_check_leaves_no_tasks(service: Service, seeded: list[equal.User]) -> None:
    equal.check({"service": service.url, "the same": service.url}, seeded)

    tasks = service.http.get("/api/tasks", headers={"Authorization": f"Bearer {seeded[0].token}"}).json()["tasks"]
    assert [task["id"] for task in tasks] == [seeded[0].task_id]


def test_a_peer_with_other_answers_is_named_with_the_first_difference(
    service: Service, refusing: Service, seeded: list[equal.User]
) -> None:
    with pytest.raises(equal.Different) as found:
        equal.check({"service": service.url, "refusing": refusing.url}, seeded)

    assert str(found.value).startswith(
        "refusing, a list:\n"
        '401 application/json {"error": "Authentication token is invalid", "code": "INVALID_TOKEN"}\n'
        "and not as service does:\n"
        '200 application/json {"tasks": [{'
    )


def test_peers_that_refuse_every_request_are_not_equal(refusing: Service, seeded: list[equal.User]) -> None:
    with pytest.raises(equal.Different, match=r"^refusing, a list: 401 "):
        equal.check({"refusing": refusing.url, "the same": refusing.url}, seeded)


def test_missing_programs_are_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SystemExit) as ended:
        require()

    assert str(ended.value) == (
        "make bench needs what is not installed: wrk (apt install wrk, or brew install wrk); "
        "node (Node.js 20 or newer, from https://nodejs.org or a package of the system); "
        "npm (comes with Node.js; of Debian's packages: apt install npm)"
    )


@pytest.mark.parametrize("lock", ["requirements.txt", "fastify/package-lock.json"])
def test_lock_files_of_peers_name_no_package_index(lock: str) -> None:
    text = (Path(equal.__file__).parent / "apps" / lock).read_text()

    assert '"resolved"' not in text
    assert "--index-url" not in text
