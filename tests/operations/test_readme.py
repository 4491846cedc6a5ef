"""README is one page, and its commands are run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.settings.all_settings import Settings
from tests import support
from tests.documents import block, section
from tests.support import ROOT, Service

README = ROOT / "README.md"


def test_readme_is_one_page() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_walk_with_curl_runs_from_sign_up_to_delete(service: Service) -> None:
    walk = block(section(README, "A walk with curl"), "sh")
    assert "http://127.0.0.1:8000/api" in walk
    walk = walk.replace("http://127.0.0.1:8000", service.url).replace("ann@example.com", support.new_email())
    bash = shutil.which("bash") or "sh"

    done = subprocess.run([bash, "-euc", walk], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.count('"title":"Buy milk"') == 3
    assert '"description":null,"is_completed":true' in done.stdout
    assert re.search(r'\{"message":"Task deleted successfully","id":"[0-9a-f-]{36}"\}$', done.stdout)


def test_a_service_starts_with_the_example_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())

    with support.running(tmp_path) as service:
        assert service.http.get("/health").json() == {"status": "healthy"}


def test_the_example_env_file_names_only_settings() -> None:
    named = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert named
    assert set(named) <= {name.upper() for name in Settings.model_fields}


def test_make_help_has_a_line_for_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    helped = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))

    assert phony == helped
    assert {"run", "test", "dev", "lint", "help"} <= phony
