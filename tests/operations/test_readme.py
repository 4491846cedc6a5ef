"""README says what is true: its tables are compared with the code, its commands are run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.errors import Code
from service.settings.all_settings import Settings
from service.settings.issuers import read_issuers
from tests import support
from tests.support import ROOT, Service

README = (ROOT / "README.md").read_text()


def table_below(heading: str) -> list[str]:
    """The rows of the first table of a section."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return ("|" + section.partition("\n|")[2]).partition("\n\n")[0].splitlines()[2:]


def shown(value: Any) -> str:
    if value in (None, ()):
        return ""
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def test_the_examples_of_issuers_can_be_read() -> None:
    listed, entries = re.findall(
        r"AUTH_ISSUERS=('\[.*?\]'|\S+)", README.partition("## Users of Better Auth")[2], re.DOTALL
    )[:2]

    assert [each.jwks_url for each in read_issuers(listed)] == ["https://app.example.com/api/auth/jwks"]
    [auth0] = read_issuers(entries.strip("'"))
    assert (auth0.issuer, auth0.audience, auth0.algorithms) == (
        "https://tenant.eu.auth0.com/", "https://todo.example.com", ["RS256"],
    )  # fmt: skip


def test_the_error_table_is_the_codes() -> None:
    assert table_below("Errors") == [f"| `{code.name}` | {code.status} | {code.when} | {code.text} |" for code in Code]


def test_the_settings_table_is_the_settings() -> None:
    assert table_below("Settings") == [
        f"| `{name.upper()}` | {shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_walk_with_curl_runs_from_sign_up_to_delete(service: Service) -> None:
    walk = README.partition("runs this -->\n```sh\n")[2].partition("```")[0]
    assert "http://127.0.0.1:8000/api" in walk
    walk = walk.replace("http://127.0.0.1:8000", service.url).replace("ann@example.com", support.new_email())
    bash = shutil.which("bash") or "sh"

    done = subprocess.run([bash, "-euc", walk], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.count('"title":"Buy milk"') == 3
    assert '"description":null,"is_completed":true' in done.stdout
    assert re.search(r'\{"message":"Task deleted successfully","id":"[0-9a-f-]{36}"\}$', done.stdout)


def test_the_example_of_an_env_file_starts_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())

    with support.running(tmp_path) as service:
        assert service.http.get("/health").json() == {"status": "healthy"}


def test_the_example_of_an_env_file_names_only_settings() -> None:
    named = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert named
    assert set(named) <= {name.upper() for name in Settings.model_fields}


def test_make_help_has_a_line_for_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    helped = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))

    assert phony == helped
    assert {"run", "test", "dev", "lint", "help"} <= phony


PAGES = ["README.md", "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(re.findall(r"\b(?:service|sql|tests|migrations)/[\w/.-]*[\w/]", text))
    named -= {"sql/tasks/verb_noun.sql", "tasks/verb_noun"}  # of a statement that is to be written
    named -= {each for each in named if "0011_what_it_does" in each}

    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))

    assert named <= targets


def test_the_layout_is_the_tree() -> None:
    tree = README.partition("## Layout\n\n```\n")[2].partition("```")[0]
    inside = ROOT
    for line in tree.splitlines():
        names = re.match(r" *((?:[\w.]+/? )+)", line + " ")
        assert names is not None, line
        inside = ROOT / "service" if line.startswith("  ") else ROOT
        for name in names[1].split():
            assert (inside / name).exists(), line


def test_what_a_client_does_is_said_for_every_code() -> None:
    table = README.partition("| code | do |\n|---|---|\n")[2].partition("\n\n")[0]

    assert sorted(re.findall(r"`([A-Z_]+)`", table)) == sorted(code.name for code in Code)


@pytest.mark.parametrize("name", ["client.ts", "todo.ts"])
def test_the_programs_shown_are_those_that_make_test_typescript_runs(name: str) -> None:
    assert f"```ts\n{(ROOT / 'tests' / 'typescript' / name).read_text()}```" in README


def test_the_deployment_in_short_starts_a_service(empty_database: str, tmp_path: Path) -> None:
    steps = README.partition("Deployment in short\n")[2].partition("runs this -->\n```sh\n")[2].partition("```")[0]
    assert "postgresql://todo:secret@127.0.0.1:5432/todo" in steps
    steps = steps.replace("postgresql://todo:secret@127.0.0.1:5432/todo", f"'{empty_database}'")
    steps = steps.replace("python ", f"{sys.executable} ")
    port = support.free_port()
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [shutil.which("sh") or "sh", "-eu", "-c", steps.replace("WORKERS=2", "exec env WORKERS=2")],
            cwd=tmp_path,
            env=support.environment(PORT=port),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    service = Service(port, process, log)
    service.wait_until_ready()

    assert service.http.get("/health").json() == {"status": "healthy"}
    assert service.stop() == 0
