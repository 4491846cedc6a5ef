"""Missing and bad settings stop the start: exit code 2, one line with the name, no traceback, no secret."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.settings.all_settings import SettingsError, load_settings
from tests.support import ROOT, SECRET, command

URL = "postgresql://todo:hunter22@127.0.0.1:1/todo"
SHORT = "short-but-secret"
A_URL = "should be a URL like postgresql://user:password@host:5432/name, special characters percent-encoded"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "BETTER_AUTH_SECRET", "JWT_SECRET", "PORT", "HOST"):
        monkeypatch.delenv(name, raising=False)


HTTPS = "must be https: over http anybody on the way could give out keys"
BAD_ISSUERS = {
    "app.example.com": "entry 1, issuer: is no URL like https://app.example.com",
    "https://a.example,ftp://b.example": "entry 2, issuer: is no URL like https://app.example.com",
    "http://app.example.com": f"entry 1, issuer: {HTTPS}",
    "http://127.0.0.1.example.com": f"entry 1, issuer: {HTTPS}",
    "http://10.0.0.1": f"entry 1, issuer: {HTTPS}",
    "https://hunter22:x@a.example": "entry 1, issuer: is no URL like https://app.example.com",
    "https://a.example?x": "entry 1, issuer: has a query or a fragment",
    "https://a.example/#x": "entry 1, issuer: has a query or a fragment",
    "https://a.example:hunter22": "entry 1, issuer: is no URL like https://app.example.com",
    "https://a.example,https://a.example": "an issuer is listed twice",
    f"https://{'a' * 250}.example": "entry 1, issuer: is no URL of at most 255 characters",
    "https://*": "entry 1, issuer: is no URL like https://app.example.com",
    "https://..": "entry 1, issuer: is no URL like https://app.example.com",
    "https://a.example?": "entry 1, issuer: has a query or a fragment",
    ",": "there is none in it",
    "[]": "there is none in it",
    "[": "it is no valid JSON, or says a name twice",
    "[" * 100_000: "it is no valid JSON, or says a name twice",
    '[{"issuer": "https://a.example", "issuer": "https://b.example"}]': "it is no valid JSON, or says a name twice",
    '[{"issuer": "https://a.example", "audience": " "}]': "entry 1: an audience or a list of algorithms is empty",
    '{"issuer": "https://a.example"}': "the JSON is no list",
    "[7]": "entry 1: an entry is no object with an issuer",
    "[{}]": "entry 1: an entry is no object with an issuer",
    '[{"issuer": "https://a.example", "jwks": "x"}]': "entry 1, jwks: Extra inputs are not permitted",
    '[{"issuer": "https://a.example", "jwks_url": "http://b.example"}]': f"entry 1, jwks_url: {HTTPS}",
    '[{"issuer": "https://a.example", "jwks_url": 7}]': "entry 1, jwks_url: is no URL of at most 255 characters",
    '[{"issuer": "https://a.example", "audience": ""}]': "entry 1: an audience or a list of algorithms is empty",
    '[{"issuer": "https://a.example", "algorithms": []}]': "entry 1: an audience or a list of algorithms is empty",
    '[{"issuer": "https://a.example", "algorithms": ["none"]}]': (
        "entry 1, algorithms.0: Input should be 'EdDSA', 'RS256', 'PS256', 'ES256', 'ES512' or 'HS256'"
    ),
    '[{"issuer": "https://a.example", "algorithms": ["HS256"]}]': "entry 1: HS256 needs a secret",
    '[{"issuer": "https://a.example", "secret": "hunter22"}]': "entry 1: a secret is shorter than 32 bytes",
    '[{"issuer": "https://a.example", "secret": "' + "hunter22" * 4 + '", "algorithms": ["RS256"]}]': (
        "entry 1: an entry with a secret has no jwks_url and no algorithm but HS256"
    ),
    '[{"issuer": "https://a.example", "secret": "' + "hunter22" * 4 + '", "jwks_url": "https://a.example"}]': (
        "entry 1: an entry with a secret has no jwks_url and no algorithm but HS256"
    ),
}


def test_the_least_length_of_a_secret_is_defined_once() -> None:
    sources = [path.read_text() for path in (ROOT / "service").rglob("*.py")]

    assert sum(len(re.findall(r"^MIN_SECRET_BYTES = ", source, re.MULTILINE)) for source in sources) == 1


def test_issuers_have_the_defaults_of_better_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, AUTH_ISSUERS=" https://a.example , http://localhost:3000,http://[::1]:3000/")

    assert [(each.issuer, each.jwks_url, each.audience, each.algorithms) for each in settings.auth_issuers] == [
        ("https://a.example", "https://a.example/api/auth/jwks", "https://a.example", ["EdDSA"]),
        ("http://localhost:3000", "http://localhost:3000/api/auth/jwks", "http://localhost:3000", ["EdDSA"]),
        ("http://[::1]:3000/", "http://[::1]:3000/api/auth/jwks", "http://[::1]:3000/", ["EdDSA"]),
    ]


def test_the_secret_of_an_issuer_may_be_in_a_file_and_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "issuers").write_text(json.dumps([{"issuer": "https://a.example", "secret": SECRET}]))

    settings = loaded(monkeypatch, AUTH_ISSUERS_FILE=str(tmp_path / "issuers"))

    [issuer] = settings.auth_issuers
    assert issuer.algorithms == ["HS256"]
    assert issuer.secret is not None
    assert issuer.secret.get_secret_value() == SECRET
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"PORT": "eighty"}, "PORT: should be a valid integer, unable to parse string as an integer"),
        ({"PORT": "0"}, "PORT: should be greater than or equal to 1"),
        ({"PORT": "65536"}, "PORT: should be less than or equal to 65535"),
        ({"WORKERS": "0"}, "WORKERS: should be greater than or equal to 1"),
        ({"TASKS_PER_USER": "-1"}, "TASKS_PER_USER: should be greater than or equal to 0"),
        ({"TASKS_PER_USER": "1000001"}, "TASKS_PER_USER: should be less than or equal to 1000000"),
        ({"BCRYPT_ROUNDS": "9"}, "BCRYPT_ROUNDS: should be greater than or equal to 10"),
        ({"BCRYPT_ROUNDS": "16"}, "BCRYPT_ROUNDS: should be less than or equal to 15"),
        ({"HASH_THREADS": "0"}, "HASH_THREADS: should be greater than or equal to 1"),
        ({"JWT_EXPIRATION_HOURS": "0"}, "JWT_EXPIRATION_HOURS: should be greater than or equal to 1"),
        ({"JWT_EXPIRATION_HOURS": "8761"}, "JWT_EXPIRATION_HOURS: should be less than or equal to 8760"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL: should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT: should be 'auto', 'json' or 'text'"),
        ({"POOL_MIN": "5", "POOL_MAX": "4"}, "POOL_MIN: should be no more than POOL_MAX"),
        ({"POOL_TIMEOUT": "0"}, "POOL_TIMEOUT: should be greater than 0"),
        ({"STATEMENT_TIMEOUT": "nan"}, "STATEMENT_TIMEOUT: should be less than or equal to 60"),
        (
            {"DATABASE_URL": "mysql://todo:hunter22@db/todo"},
            f"DATABASE_URL: {A_URL}",
        ),
        (
            {"DATABASE_URL": "postgresql://todo:hunter22/x@db/todo"},
            f"DATABASE_URL: {A_URL}",
        ),
        ({"DATABASE_URL": "postgresql://todo:hunter22%zz@db/todo"}, f"DATABASE_URL: {A_URL}"),
        ({"DATABASE_URL": "postgresql://todo:hunter@hunter22@db/todo"}, f"DATABASE_URL: {A_URL}"),
        ({"DATABASE_URL": "postgresql://todo:hunter22%00@db/todo"}, f"DATABASE_URL: {A_URL}"),
        ({"DATABASE_URL": "postgresql://todo:hunter22@db:port/todo"}, f"DATABASE_URL: {A_URL}"),
        ({"DATABASE_URL": "postgresql://todo:hunter22@db/todo?sslmod=require"}, f"DATABASE_URL: {A_URL}"),
        ({"DATABASE_URL": "postgresql://todo@db/todo?port=hunter22"}, f"DATABASE_URL: {A_URL}"),
        (
            {"DATABASE_URL": "postgresql://todo:hunter22@db/todo?sslmode=disable&channel_binding=require"},
            "DATABASE_URL: should be a URL with TLS and a host where it says channel_binding=require",
        ),
        (
            {"DATABASE_URL": "postgresql://todo:hunter22@db/todo?require_auth=scram-sha-256"},
            "DATABASE_URL: should be a URL without require_auth, which the driver cannot keep to",
        ),
        ({"PREPARED_STATEMENTS": "yes"}, "PREPARED_STATEMENTS: should be 'auto', 'on' or 'off'"),
        (
            {"DATABASE_DIRECT_URL": "hunter22"},
            f"DATABASE_DIRECT_URL: {A_URL}",
        ),
        ({"BETTER_AUTH_SECRET": SHORT}, "BETTER_AUTH_SECRET: should be at least 32 bytes long"),
        ({"JWT_SECRET": SHORT}, "JWT_SECRET: should be at least 32 bytes long"),
        ({"BETTER_AUTH_SECRET_OLD": SHORT}, "BETTER_AUTH_SECRET_OLD: should be at least 32 bytes long"),
        ({"JWT_SECRET_OLD": SHORT}, "JWT_SECRET_OLD: should be at least 32 bytes long"),
        (
            {"BETTER_AUTH_SECRET": SECRET, "JWT_SECRET": SECRET + "!"},
            "BETTER_AUTH_SECRET: should be the same as JWT_SECRET: they are two names of one setting",
        ),
        (
            {"BETTER_AUTH_SECRET_OLD": SECRET, "JWT_SECRET_OLD": SECRET + "!"},
            "BETTER_AUTH_SECRET_OLD: should be the same as JWT_SECRET_OLD: they are two names of one setting",
        ),
        *(
            (
                {"AUTH_ISSUERS": value},
                f"AUTH_ISSUERS: should be URLs, comma separated, or a JSON list of entries; {why}",
            )
            for value, why in BAD_ISSUERS.items()
        ),
        ({"DATABASE_URL_FILE": "nowhere"}, "DATABASE_URL_FILE: should be a text file that can be read"),
        (
            {"JWT_SECRET": SECRET, "JWT_SECRET_FILE": "nowhere"},
            "JWT_SECRET: should not be set together with JWT_SECRET_FILE",
        ),
    ],
)
def test_a_bad_setting_is_refused_with_its_name_and_valid_values(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], line: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    assert str(refused.value) == line


@pytest.mark.parametrize("hours", [1, 8760])
def test_jwt_expiration_hours_accepts_its_bounds(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    assert loaded(monkeypatch, JWT_EXPIRATION_HOURS=str(hours)).jwt_expiration_hours == hours


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "localhost:3000",
        "http://localhost:3000/app",
        "http://a.example, *",
        "ftp://a.example",
        "http://",
        "http://u:p@a.example",
        "http://a.example:port",
        "null",
        ",",
        "http://*.example.com",
        "http://a b",
        "http://a.example:",
    ],
)
def test_an_origin_without_a_scheme_with_a_path_or_a_star_is_refused(
    monkeypatch: pytest.MonkeyPatch, origins: str
) -> None:
    monkeypatch.setenv("FRONTEND_URL", origins)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    assert str(refused.value) == (
        "FRONTEND_URL: should be origins like https://app.example.com, comma separated; no path, no *"
    )


@pytest.mark.parametrize("arguments", [[], ["serve"], ["migrate"], ["migrate", "status"]])
def test_a_command_with_a_bad_setting_prints_one_line_and_exits_with_2(tmp_path: Path, arguments: list[str]) -> None:
    done = command(tmp_path, *arguments, DATABASE_URL=URL, JWT_SECRET=SHORT)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "JWT_SECRET: should be at least 32 bytes long\n"


def test_each_bad_setting_is_printed_in_its_own_line(tmp_path: Path) -> None:
    done = command(tmp_path, PORT="x", WORKERS="-1")

    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            "PORT: should be a valid integer, unable to parse string as an integer",
            "WORKERS: should be greater than or equal to 1",
        ],
    )


def test_migrate_refuses_the_url_of_a_pooler(tmp_path: Path) -> None:
    pooled = "postgresql://todo:hunter22@ep-cool-name-123456-pooler.eu.example.com/todo"

    done = command(tmp_path, "migrate", DATABASE_URL=pooled, JWT_SECRET=SECRET)

    assert (done.returncode, done.stderr) == (
        2,
        "DATABASE_DIRECT_URL: should be set, to the host without -pooler, for migrations\n",
    )


def test_an_invalid_host_is_refused_in_one_line(tmp_path: Path) -> None:
    for host in ("192.0.2.1", "nowhere.invalid", "ä" * 70):
        done = command(tmp_path, HOST=host)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert done.stderr.startswith("HOST: should be an address of this machine")


def loaded(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Any:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_an_empty_value_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, DATABASE_URL="", JWT_SECRET="", PORT="", FRONTEND_URL="", JWT_SECRET_FILE="")

    assert (settings.database_url, settings.secret, settings.port) == (None, None, 8000)
    assert settings.frontend_url == ("http://localhost:3000",)


def test_the_environment_overrides_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9001\nHOST=0.0.0.0\nUNKNOWN=1\n")

    settings = loaded(monkeypatch, PORT="9002")

    assert (settings.port, settings.host) == (9002, "0.0.0.0")  # noqa: S104 - only a setting: nothing listens


def test_secrets_and_urls_may_be_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("url", URL), ("direct", URL + "2"), ("secret", SECRET), ("old", SECRET[::-1])):
        (tmp_path / name).write_text(f"{value}\n")
    (tmp_path / ".env").write_text("BETTER_AUTH_SECRET_OLD_FILE=old\n")

    settings = loaded(monkeypatch, DATABASE_URL_FILE="url", DATABASE_DIRECT_URL_FILE="direct", JWT_SECRET_FILE="secret")

    assert (settings.dsn, settings.direct_dsn) == (URL, URL + "2")
    assert (settings.secret, settings.old_secret) == (SECRET, SECRET[::-1])


def test_two_names_with_one_value_are_one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, BETTER_AUTH_SECRET=SECRET, JWT_SECRET=SECRET)

    assert settings.secret == SECRET


def test_printed_settings_contain_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, DATABASE_URL=URL, JWT_SECRET=SECRET)

    assert "hunter22" not in repr(settings)
    assert SECRET not in repr(settings)


def test_origins_are_stripped_of_trailing_slashes_and_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, FRONTEND_URL=" https://App.example.com/ ,http://localhost:5173, ")

    assert settings.frontend_url == ("https://app.example.com", "http://localhost:5173")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 350),
        ({"connections_per_address": 20}, 20),
        ({"connections_per_address": 0}, 0),
        ({"trusted_proxies": 1}, 0),
        ({"trusted_proxies": 1, "connections_per_address": 20}, 0),
    ],
    ids=["default", "given", "off", "behind a proxy", "given behind a proxy"],
)
def test_the_connections_per_address_default_to_half_of_the_limit(given: dict[str, Any], expected: int) -> None:
    assert load_settings(**given).places_per_address(700) == expected
