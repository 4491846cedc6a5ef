"""DATABASE_URL as hosts print it: its form for asyncpg, its form for libpq, and refused parameters."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import psycopg
import pytest
import yoyo
from asyncpg import connect_utils
from psycopg.conninfo import conninfo_to_dict

from service.settings.database_url import (
    UnsupportedUrlError,
    for_asyncpg,
    for_libpq,
    for_yoyo,
    is_postgresql_url,
    names_a_neon_server,
    names_a_pooler,
)
from tests.authority import Authority
from tests.support import SECRET, command

PLAIN = "ep-cool-name-a1b2c3d4.eu-central-1.aws.neon.tech"
POOLED = "ep-cool-name-a1b2c3d4-pooler.eu-central-1.aws.neon.tech"
SYSTEM = "sslmode=verify-full, the system's roots"


def parsed_by_asyncpg(url: str) -> dict[str, Any]:
    """The URL as asyncpg's own parser reads it, without a connection."""
    arguments = dict.fromkeys(
        ("dsn", "host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile",
         "direct_tls", "server_settings", "target_session_attrs", "krbsrvname", "gsslib")
    ) | for_asyncpg(url).arguments  # fmt: skip
    addresses, parameters = connect_utils._parse_connect_dsn_and_args(**arguments)  # type: ignore[attr-defined]  # private: the last step before the network
    return {
        "at": addresses,
        "as": (parameters.user, parameters.password, parameters.database),
        "sslmode": parameters.sslmode.name,
        "verifies": bool(parameters.ssl) and (parameters.ssl.verify_mode.name, parameters.ssl.check_hostname),
        "server_settings": parameters.server_settings,
    }


@pytest.fixture(autouse=True)
def no_settings_from_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(Authority(tmp_path_factory.mktemp("authority")).roots)


@pytest.mark.parametrize("host", [PLAIN, POOLED])
def test_the_url_of_neons_console_is_verify_full_against_the_systems_roots(host: str) -> None:
    url = f"postgresql://neondb_owner:npg_x1Y@{host}/neondb?sslmode=require&channel_binding=require"

    assert is_postgresql_url(url)
    assert (for_asyncpg(url).left_out, for_asyncpg(url).verified_against) == ([], SYSTEM)
    assert parsed_by_asyncpg(url) == {
        "at": [(host, 5432)],
        "as": ("neondb_owner", "npg_x1Y", "neondb"),
        "sslmode": "verify_full",
        "verifies": ("CERT_REQUIRED", True),
        "server_settings": {},
    }
    assert conninfo_to_dict(for_libpq(url)) == conninfo_to_dict(url)  # libpq supports all of it


@pytest.mark.parametrize("endpoint", ["endpoint%3Dep-cool-name-a1b2c3d4", "project%3Dep-cool-name-a1b2c3d4"])
def test_options_in_the_url_are_sent_to_the_server(endpoint: str) -> None:
    url = f"postgresql://u:p@{PLAIN}/neondb?sslmode=require&options={endpoint}&application_name=mine"

    assert parsed_by_asyncpg(url)["server_settings"] == {
        "options": endpoint.replace("%3D", "="),
        "application_name": "mine",
    }
    assert for_asyncpg(url).left_out == []


@pytest.mark.parametrize(
    ("query", "sslmode", "verifies"),
    [
        ("", "prefer", ("CERT_NONE", False)),
        ("sslmode=disable", "disable", False),
        ("sslmode=allow", "allow", ("CERT_NONE", False)),
        ("sslmode=require", "require", ("CERT_NONE", False)),
        ("ssl=true", "require", ("CERT_NONE", False)),
        ("sslmode=require&channel_binding=prefer", "require", ("CERT_NONE", False)),
        ("sslmode=require&channel_binding=disable", "require", ("CERT_NONE", False)),
        ("sslmode=require&sslrootcert={roots}", "require", ("CERT_REQUIRED", False)),
        ("sslmode=verify-ca&sslrootcert={roots}", "verify_ca", ("CERT_REQUIRED", False)),
        ("sslmode=verify-full&sslrootcert={roots}", "verify_full", ("CERT_REQUIRED", True)),
        ("sslrootcert=system", "verify_full", ("CERT_REQUIRED", True)),
        ("sslmode=verify-full&sslrootcert=system", "verify_full", ("CERT_REQUIRED", True)),
        ("channel_binding=require", "verify_full", ("CERT_REQUIRED", True)),
        ("sslmode=prefer&channel_binding=require", "verify_full", ("CERT_REQUIRED", True)),
        ("sslmode=verify-ca&channel_binding=require&sslrootcert={roots}", "verify_full", ("CERT_REQUIRED", True)),
    ],
)
def test_sslmode_follows_libpq_and_required_channel_binding_becomes_verify_full(
    roots: str, query: str, sslmode: str, verifies: object
) -> None:
    url = f"postgresql://u@h/d?{query.format(roots=roots)}"

    assert (parsed_by_asyncpg(url)["sslmode"], parsed_by_asyncpg(url)["verifies"]) == (sslmode, verifies)
    assert (for_asyncpg(url).left_out, parsed_by_asyncpg(url)["server_settings"]) == ([], {})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h/d?sslmode=disable&channel_binding=require",
        "postgresql://u@/d?host=/run/postgresql&channel_binding=require",
        "postgresql:///d?channel_binding=require",
        "postgresql://u@h,%2Frun/d?channel_binding=require",
        "postgresql://u@h/d?sslmode=require&sslrootcert=system",
        "postgresql://u@h/d?sslrootcert=system&sslcrl=/revoked",
        "postgresql://u@h/d?channel_binding=require&sslcert=/mine",
        "postgresql://u@h/d?require_auth=scram-sha-256",
        "postgresql://u@h/d?sslcrldir=/revoked",
        "postgresql://u@h/d?gssencmode=require",
        "postgresql://u@h/d?hostaddr=192.0.2.1",
        "postgresql://u@/d?host=/run/postgresql&requirepeer=postgres",
    ],
)
def test_a_url_with_a_protection_that_asyncpg_lacks_is_refused(url: str) -> None:
    assert is_postgresql_url(url)
    with pytest.raises(UnsupportedUrlError):
        for_asyncpg(url)


def test_other_parameters_are_left_out_and_listed() -> None:
    url = (
        "postgresql://u@h/d?connect_timeout=10&keepalives=1&gssencmode=prefer&pgbouncer=true&schema=pw&sslmode=require"
    )

    assert for_asyncpg(url).left_out == ["connect_timeout", "gssencmode", "keepalives", "pgbouncer", "schema"]
    assert (parsed_by_asyncpg(url)["server_settings"], parsed_by_asyncpg(url)["sslmode"]) == ({}, "require")
    assert conninfo_to_dict(for_libpq(url)) == {
        "user": "u", "host": "h", "dbname": "d", "connect_timeout": "10", "keepalives": "1", "gssencmode": "prefer",
        "sslmode": "require",
    }  # fmt: skip


@pytest.mark.parametrize("url", ["postgresql://h/d?pgbouncer=true", "postgresql://u@h/d?pgbouncer=true"])
def test_a_parameter_of_another_driver_is_left_out_with_and_without_a_user(url: str) -> None:
    assert is_postgresql_url(url)
    assert (for_asyncpg(url).left_out, parsed_by_asyncpg(url)["at"]) == (["pgbouncer"], [("h", 5432)])
    assert "pgbouncer" not in conninfo_to_dict(for_libpq(url))


@pytest.mark.parametrize(
    "query",
    [
        "sslmod=verify-full",
        "ssl_mode=require",
        "SslMode=VerifyFull",
        "use_tls=true",
        "channelBinding=require",
        "sslmode",
        "x%20y=1",
        "=1",
        "x",
        "x=1@h/d",
    ],
)
def test_a_parameter_like_a_misspelt_tls_one_or_a_part_of_a_password_is_refused(query: str) -> None:
    assert not is_postgresql_url(f"postgresql://u@h/d?{query}")


@pytest.mark.parametrize(
    ("url", "at", "identity"),
    [
        ("postgresql://u:p@h/d", [("h", 5432)], ("u", "p", "d")),
        ("postgres://u:a%20b%2Bc+%40%2F%25@h:6543/d%20e", [("h", 6543)], ("u", "a b+c+@/%", "d e")),
        ("postgresql://u@[::1]:6543/d", [("::1", 6543)], ("u", None, "d")),
        ("postgresql://u@h1:1,h2/d", [("h1", 1), ("h2", 5432)], ("u", None, "d")),
        ("postgresql://u@h1,h2/d?port=7", [("h1", 7), ("h2", 7)], ("u", None, "d")),
        ("postgresql://u@/d?host=%2FA%20b&port=6432", ["/A b/.s.PGSQL.6432"], ("u", None, "d")),
        ("postgresql://u@%2Frun%2Fpg/d", ["/run/pg/.s.PGSQL.5432"], ("u", None, "d")),
        ("postgresql://h/d?user=u&password=a+b%20c", [("h", 5432)], ("u", "a+b c", "d")),
        ("postgresql://u:12?x=1&y=2@h/d", [("h", 5432)], ("u", "12?x=1&y=2", "d")),
    ],
)
def test_asyncpg_libpq_and_yoyo_connect_to_the_same_server_as_the_same_user(
    monkeypatch: pytest.MonkeyPatch, url: str, at: list[Any], identity: tuple[str, str, str]
) -> None:
    assert is_postgresql_url(url)
    assert (parsed_by_asyncpg(url)["at"], parsed_by_asyncpg(url)["as"]) == (at, identity)
    assert conninfo_to_dict(for_libpq(url)) == conninfo_to_dict(url)

    def connect(**given: object) -> None:
        assert given == conninfo_to_dict(url)
        raise psycopg.OperationalError("as far as it was to go")

    monkeypatch.setattr(psycopg, "connect", connect)
    with pytest.raises(psycopg.OperationalError, match="as far"):
        yoyo.get_backend(for_yoyo(url))


def test_the_url_for_yoyo_keeps_only_parameters_of_libpq() -> None:
    url = "postgresql://u:p@h/d?sslmode=require&channel_binding=require&options=endpoint%3Dep-x&pgbouncer=true"

    assert dict(parse_qsl(for_yoyo(url).partition("?")[2])) == {
        "user": "u", "password": "p", "host": "h", "dbname": "d", "sslmode": "require", "channel_binding": "require",
        "options": "endpoint=ep-x",
    }  # fmt: skip


def test_poolers_and_neon_servers_are_recognised_by_host_name() -> None:
    hosts = (
        PLAIN,
        POOLED.upper(),
        "db-pooler.example.com",
        "db.example-pooler.com",
        "neon.tech.example.com",
        "[::1]",
        "",
    )
    urls = [f"postgresql://u@{host}/d" for host in hosts]

    assert [names_a_pooler(url) for url in urls] == [False, True, True, False, False, False, False]
    assert [names_a_neon_server(url) for url in urls] == [True, False, False, False, False, False, False]


def test_a_url_that_only_the_driver_refuses_stops_the_start_with_one_line(database_url: str, tmp_path: Path) -> None:
    url = database_url + ("&" if "?" in database_url else "?") + "gsslib=other"

    done = command(tmp_path, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert done.stderr.startswith("DATABASE_URL: should be a database that answers; gsslib")
