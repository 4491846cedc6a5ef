"""The URL of a database as people paste it: how libpq reads it, and what asyncpg is told of it."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

KNOWN_TO_LIBPQ = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}  # ssl=true is JDBC's
# What asyncpg does not look at when it takes the system's roots.
BESIDE_A_ROOT = {
    "sslcert", "sslkey", "sslpassword", "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version",
}  # fmt: skip
READ_BY_ASYNCPG = BESIDE_A_ROOT | {
    "service", "user", "password", "passfile", "dbname", "target_session_attrs", "krbsrvname", "gsslib", "sslmode",
    "sslnegotiation", "sslrootcert",
}  # fmt: skip
SENT_TO_THE_SERVER = {"application_name", "options"}
# What asks for a place or a protection. To leave it out would be to connect elsewhere, or with less.
DEMANDS = {"hostaddr", "require_auth", "requirepeer", "sslcrldir"}
DEMANDS_IF_REQUIRED = {"gssencmode", "sslcertmode"}
DEFAULT_PORT = 5432
# And not a way to ask for TLS that neither libpq nor asyncpg understands, nor a part of a password.
OF_ANOTHER_DRIVER = r"(?i)(?!\w*(ssl|tls|channel_?binding))[a-z_]\w*=[^@]*"


class UnsupportedUrlError(ValueError):
    """What asyncpg cannot keep to and must not forget about. Goes on behind the setting's name: should be ..."""


class ForAsyncpg(NamedTuple):
    arguments: dict[str, Any]
    left_out: list[str]  # names of parameters
    verified_against: str | None  # where channel_binding was asked for


def is_postgresql_url(url: str) -> bool:
    """Judged by libpq too, here and nowhere else: what it says of a URL it cannot read quotes the password."""
    try:
        parts = urlsplit(url)
        if not all(0 < port < 65536 for port in _ports(parameters(url))):
            return False
    except (ValueError, ProgrammingError):
        return False
    # An @ behind the host is a password whose / was not encoded: a part of it would be taken for the host, and logged.
    return parts.scheme in {"postgres", "postgresql"} and "@" not in parts.path and parts.netloc.count("@") <= 1


def parameters(url: str) -> dict[str, str]:
    """As libpq reads them, save those it does not know and would refuse."""
    given = conninfo_to_dict(_split(url)[0])
    return {name: str(value) for name, value in given.items() if value}


def for_libpq(url: str) -> str:
    return make_conninfo(**parameters(url))


def for_yoyo(url: str) -> str:
    """All of it as parameters: yoyo's own reading of a host knows neither several nor a socket."""
    return f"postgresql+psycopg://?{urlencode(parameters(url))}"


def for_asyncpg(url: str) -> ForAsyncpg:
    """asyncpg would send every parameter that it does not know to the server, which refuses them."""
    given = parameters(url)
    for name, value in given.items():
        if name in DEMANDS or (name in DEMANDS_IF_REQUIRED and value == "require"):
            raise UnsupportedUrlError(f"a URL without {name}, which the driver cannot keep to")
    arguments: dict[str, Any] = {"server_settings": _taken(SENT_TO_THE_SERVER, given)}
    hosts = _hosts(given)
    if hosts:
        arguments["host"] = hosts
    if "port" in given:
        arguments["port"] = _ports(given)
    verified_against = _require_verification(given, hosts)
    if given.get("sslrootcert") == "system":
        arguments["ssl"] = _system_roots(given)
    arguments["dsn"] = f"postgresql://?{urlencode(_taken(READ_BY_ASYNCPG, given))}"
    left_out = given.keys() - {"host", "port"} | set(_split(url)[1])
    return ForAsyncpg(arguments, sorted(left_out), verified_against)


def names_a_pooler(url: str) -> bool:
    """ep-cool-name-pooler.eu-central-1.aws.neon.tech, as Neon calls them."""
    return any(host.lower().partition(".")[0].endswith("-pooler") for host in _hosts(parameters(url)))


def names_a_neon_server(url: str) -> bool:
    hosts = _hosts(parameters(url))
    return bool(hosts) and all(host.lower().endswith(".neon.tech") for host in hosts) and not names_a_pooler(url)


def _split(url: str) -> tuple[str, list[str]]:
    """Without what nobody knows, like the parameters of other drivers; and the names of that. A misspelt sslmode is
    for libpq to refuse, and so is what may be a part of a password."""
    rest, _, query = url.partition("?")
    if "@" in query and "@" not in rest:
        return url, []  # to libpq the question mark is a part of the password
    kept, unknown = [], []
    for pair in query.split("&") if query else []:
        name = unquote(pair.partition("=")[0])
        if name not in KNOWN_TO_LIBPQ and re.fullmatch(OF_ANOTHER_DRIVER, unquote(pair)):
            unknown.append(name)
        else:
            kept.append(pair)
    return rest + ("?" + "&".join(kept) if kept else ""), unknown


def _hosts(given: Mapping[str, str]) -> list[str]:
    return given["host"].split(",") if "host" in given else []


def _taken(names: set[str], given: dict[str, str]) -> dict[str, str]:
    return {name: given.pop(name) for name in list(given) if name in names}


def _ports(given: Mapping[str, str]) -> list[int]:
    return [int(port or DEFAULT_PORT) for port in given.get("port", "").split(",")]


def _require_verification(given: dict[str, str], hosts: list[str]) -> str | None:
    """Channel binding proves that nobody is in between, and so does the certificate."""
    if given.pop("channel_binding", "") != "require":
        return None
    if given.get("sslmode") == "disable" or not hosts or any(host.startswith(("/", "@")) for host in hosts):
        raise UnsupportedUrlError("a URL with TLS and a host where it says channel_binding=require")
    given["sslmode"] = "verify-full"
    roots = given.setdefault("sslrootcert", "system")
    return "sslmode=verify-full, the system's roots" if roots == "system" else "sslmode=verify-full, sslrootcert"


def _system_roots(given: dict[str, str]) -> bool:
    """libpq's word for it, which asyncpg would take for a file. True is its own for them, with verify-full."""
    if given.pop("sslmode", "verify-full") != "verify-full":
        raise UnsupportedUrlError("a URL with sslmode=verify-full where it says sslrootcert=system")
    if beside := sorted(BESIDE_A_ROOT & given.keys()):
        raise UnsupportedUrlError(f"a URL that names a file as sslrootcert beside {beside[0]}")
    del given["sslrootcert"]
    return True
