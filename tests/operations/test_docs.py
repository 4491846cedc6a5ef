"""The documents are correct: tables are compared with the code, links are followed, commands are run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service import VERSION, field_rules
from service.api import models as february
from service.api.batch_models import MAX_OPERATIONS
from service.app import CONTRACTS
from service.db import statements
from service.domain.tasks import LIST_LIMIT
from service.errors import Code
from service.http.idempotency import MAX_KEY_CHARACTERS
from service.http.json_body import MAX_BODY
from service.openapi.document import openapi
from service.settings.all_settings import Settings
from service.settings.issuers import read_issuers
from service.v1 import models as january
from tests import support
from tests.documents import DOCS, PAGES, Link, block, leads_somewhere, links, rows, section
from tests.support import ROOT, Service

FRONTENDS = DOCS / "frontends.md"
OPERATING = DOCS / "operating.md"

EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@pytest.mark.parametrize("link", [link for page in PAGES for link in links(page)], ids=str)
def test_a_link_leads_to_a_file_and_a_heading_that_exist(link: Link) -> None:
    assert leads_somewhere(link)


@EACH_PAGE
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    ours = r"\b(?<![\w./-])(?:service|sql|tests|migrations|docs|deploy)/[\w/.-]*[\w/]"
    named = set(re.findall(ours, page.read_text()))
    named -= {"sql/tasks/verb_noun.sql", "docs/openapi.json"}  # a placeholder; a URL
    named -= set(statements.names())
    named -= {each for each in named if "_what_it_does" in each}

    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@EACH_PAGE
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE))

    assert named <= targets


def shown(value: Any) -> str:
    if value in (None, ()):
        return ""
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def test_the_settings_table_equals_the_settings() -> None:
    assert rows(section(OPERATING, "Settings")) == [
        f"| `{name.upper()}` | {shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def test_the_error_table_equals_the_codes() -> None:
    assert rows(section(FRONTENDS, "Errors")) == [
        f"| `{code.name}` | {code.status} | {code.when} | {code.text} |" for code in Code
    ]


def test_every_code_has_advice_for_clients() -> None:
    table = section(FRONTENDS, "Errors").partition("| code | do |\n|---|---|\n")[2].partition("\n\n")[0]

    assert sorted(re.findall(r"`([A-Z_]+)`", table)) == sorted(code.name for code in Code)


def fields_of(document: Any, part: Any) -> str:
    """`{title, description?}`: the names of a body's fields, with `?` after optional ones."""
    schema = part["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    required = schema.get("required", [])
    return f"{{{', '.join(name if name in required else f'{name}?' for name in schema['properties'])}}}"


def test_the_endpoints_table_equals_the_openapi_document() -> None:
    document = openapi(CONTRACTS)
    expected = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            successes = {status: each for status, each in operation["responses"].items() if status.startswith("2")}
            success = next(iter(successes.values()))
            body = f"`{fields_of(document, operation['requestBody'])}`" if "requestBody" in operation else ""
            answered = fields_of(document, success) if "content" in success else ""
            statuses = " ".join(successes)
            token = "yes" if operation["security"] else "no"
            expected.append((operation["tags"][0], f"`{method.upper()} {path}`", token, body, statuses, answered))

    found = []
    for row in rows(section(FRONTENDS, "Endpoints")):
        contract, endpoint, token, body, success = row.removeprefix("| ").removesuffix(" |").split(" | ")
        found.append((contract, endpoint, token, body.strip(), " ".join(re.findall(r"\b2\d\d\b", success)), success))

    assert sorted(each[:5] for each in found) == sorted(each[:5] for each in expected)
    answers = {each[1]: each[5] for each in expected}
    named = {endpoint: re.findall(r"`(\{.*?\})`", success) for _, endpoint, _, _, _, success in found}
    assert {endpoint: fields for endpoint, fields in named.items() if fields not in ([], [answers[endpoint]])} == {}
    assert len([fields for fields in named.values() if fields]) >= 10


def test_the_limits_equal_those_of_the_code() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    password = f"{field_rules.MIN_PASSWORD_CHARACTERS} characters to {field_rules.MAX_PASSWORD_BYTES} bytes"
    contracts = (february, january)

    assert [row.strip("| ").split(" | ") for row in rows(section(FRONTENDS, "Limits"))] == [
        ["title, after trimming", *(f"1 to {each.TITLE_LIMIT} characters" for each in contracts)],
        ["description, after trimming", *(f"{each.DESCRIPTION_LIMIT} characters" for each in contracts)],
        ["due date", f"{field_rules.FIRST_DATE} to {field_rules.LAST_DATE}", "none"],
        ["tags of a task", f"{field_rules.MAX_TAGS}, each of 1 to {field_rules.MAX_TAG_CHARACTERS} characters", "none"],
        ["email", *[f"{field_rules.MAX_EMAIL_CHARACTERS} characters"] * 2],
        ["password", *[password] * 2],
        ["tasks in a list", *[str(LIST_LIMIT)] * 2],
        ["tasks of a user", *[str(defaults["tasks_per_user"])] * 2],
        ["operations in a batch", str(MAX_OPERATIONS), "none"],
        ["characters of an idempotency key", str(MAX_KEY_CHARACTERS), "none"],
        ["body of a request", *[f"{MAX_BODY} bytes"] * 2],
        ["head of a request", *[f"{defaults['max_header_size']} bytes"] * 2],
    ]


def test_the_examples_of_issuers_are_valid() -> None:
    text = section(FRONTENDS, "Users of Better Auth, Auth0 and others")
    listed, entries = re.findall(r"AUTH_ISSUERS=('\[.*?\]'|\S+)", text, re.DOTALL)

    assert [each.jwks_url for each in read_issuers(listed)] == ["https://app.example.com/api/auth/jwks"]
    [auth0] = read_issuers(entries.strip("'"))
    assert (auth0.issuer, auth0.audience, auth0.algorithms) == (
        "https://tenant.eu.auth0.com/", "https://todo.example.com", ["RS256"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("From a Next.js app", "todo.ts"),
        ("A typed client", "client.ts"),
        ("Every page of a list", "pages.ts"),
        ("An endless list", "endless.ts"),
        ("Today, overdue, no date", "due.ts"),
        ("Two devices, one list", "create_once.ts"),
        ("Two devices, one list", "two_devices.ts"),
    ],
)
def test_the_shown_programs_are_those_that_make_test_typescript_runs(heading: str, name: str) -> None:
    program = (ROOT / "tests" / "typescript" / name).read_text()
    assert f"```ts\n{program}```\n" in section(FRONTENDS, heading)


def listed_in_the_layout() -> dict[str, str]:
    """Each path of the layout with its description."""
    found: dict[str, str] = {}
    inside = [""]
    for line in block(section(DOCS / "architecture.md", "Layout"), "").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.match(r" *((?:[\w.-]+/?(?: |$))+)", line)
        assert names is not None, line
        del inside[depth + 1 :]
        paths = [inside[-1] + name for name in names[1].split()]
        found |= dict.fromkeys(paths, line[names.end() :].strip())
        inside += [path for path in paths if path.endswith("/")]
    return found


def in_the_tree() -> set[str]:
    """The paths that the layout has to name: service/ in full, other folders to the second level, top-level files."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a checkout")
    found = set()
    for path in (Path(name) for name in done.stdout.split("\0") if name and (ROOT / name).exists()):
        folders = [f"{parent}/" for parent in path.parents if parent.parts]
        is_ours = path.parts[0] == "service"
        found |= {folder for folder in folders if is_ours or folder.count("/") <= 2}
        found |= {str(path)} if is_ours or not folders else set()
    return found


def test_the_layout_names_every_folder_and_every_module() -> None:
    listed = listed_in_the_layout()
    tree = in_the_tree()

    assert (tree - set(listed), set(listed) - tree) == (set(), set())


@pytest.mark.parametrize("name", ["architecture.md", "database.md", "frontends.md", "operating.md"])
def test_the_contents_of_a_page_are_its_headings(name: str) -> None:
    text = (DOCS / name).read_text()

    listed = re.findall(r"^- \[(.+)\]\(#", text.partition("\n## ")[0], re.MULTILINE)
    assert listed == re.findall(r"^## (.+)$", text, re.MULTILINE)


def test_no_two_classes_have_one_name() -> None:
    """Except the models of the two contracts, which are named after what clients send and get."""
    places: dict[str, list[str]] = {}
    for file in sorted((ROOT / "service").rglob("*.py")):
        for name in re.findall(r"^class (\w+)", file.read_text(), re.MULTILINE):
            places.setdefault(name, []).append(str(file.relative_to(ROOT / "service")))

    twins = ["api/models.py", "v1/models.py"]
    assert {name: files for name, files in places.items() if len(files) > 1 and files != twins} == {}


def test_the_layout_describes_each_module() -> None:
    modules = {path: said for path, said in listed_in_the_layout().items() if path.endswith(".py")}

    assert [path for path, said in modules.items() if not said and not path.endswith("/__init__.py")] == []


def test_the_layout_has_the_layers_in_the_order_of_the_linter() -> None:
    lines = (ROOT / "pyproject.toml").read_text().partition("\nlayers = [\n")[2].partition("]")[0]
    layers = re.findall(r"\w+", lines)
    inside = [Path(path) for path in listed_in_the_layout() if path.startswith("service/")]

    top = [path.stem for path in inside if len(path.parts) == 2 and path.name != "__init__.py"]

    assert top == layers


def test_the_glossary_has_at_most_25_terms_and_a_line_for_each() -> None:
    terms = [row.strip("| ").split(" | ") for row in rows(section(ROOT / "CONTRIBUTING.md", "Glossary"))]

    assert len(terms) <= 25
    assert [term for term in terms if len(term) != 2 or not term[1].endswith(".")] == []
    assert len({term for term, _ in terms}) == len(terms)


def test_the_newest_release_in_the_changelog_is_the_version(tmp_path: Path) -> None:
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    packaged = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert [released[0], *packaged] == [VERSION, VERSION]
    assert support.command(tmp_path, "--version").stdout == f"{VERSION}\n"


def test_the_deployment_starts_a_service(empty_database: str, tmp_path: Path) -> None:
    steps = section(OPERATING, "Deployment").partition("runs this -->\n```sh\n")[2].partition("```")[0]
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
