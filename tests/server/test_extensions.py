"""Each cross-cutting capability goes away with its file and its lines in service/app.py, and the rest still serves."""

import re
import time
from pathlib import Path

import pytest

from tests import support
from tests.support import SECRET, Service


def without(directory: Path, module: str, name: str) -> None:
    """Copies the service into `directory`, without this extension."""
    support.copy_of_service(directory)
    (directory / module.replace(".", "/")).with_suffix(".py").unlink()
    app = directory / "service" / "app.py"
    text, removed = re.subn(
        rf"^(from {module} import {name}|        {name}\(.*\),)\n", "", app.read_text(), flags=re.MULTILINE
    )
    assert removed == 2
    app.write_text(text)


def wait_until_it_is_ready(service: Service) -> None:
    """As the log says, because one of the extensions is what answers about health."""
    deadline = time.monotonic() + 60
    while not any(line["message"].startswith("ready: ") for line in service.lines()):
        assert time.monotonic() < deadline, service.log.read_text()
        assert service.process.poll() is None, service.log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("service.http.cors", "Cors"),
        ("service.http.health", "Health"),
        ("service.http.strict_handling", "StrictHandling"),
        ("service.openapi.page", "Documentation"),
    ],
)
def test_the_service_serves_without_an_extension(database_url: str, tmp_path: Path, module: str, name: str) -> None:
    without(tmp_path / "copy", module, name)
    given = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "PYTHONPATH": tmp_path / "copy"}
    service = support.start(tmp_path, **given)
    try:
        wait_until_it_is_ready(service)
        user = support.sign_up(service.http)
        task = user.creates(support.FEBRUARY)
        answer = user.get(f"/api/tasks/{task['id']}", headers={"Prefer": "handling=strict"})
        work = {
            "Cors": "Vary" in answer.headers,
            "Health": service.http.get("/health/live").status_code == 200,
            "StrictHandling": "Preference-Applied" in answer.headers,
            "Documentation": service.http.get("/docs").status_code == 200,
        }

        assert (answer.status_code, answer.json()) == (200, task)
        assert service.http.get("/api/tasks").status_code == 401
        assert work == {extension: extension != name for extension in work}
    finally:
        assert service.stop() == 0
