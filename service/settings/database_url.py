"""Reads DATABASE_URL as libpq does, and translates it for psycopg, yoyo and asyncpg."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

KNOWN_TO_LIBPQ = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}  # ssl=true is from JDBC
# Parameters that asyncpg ignores when it uses the system's root certificates.
IGNORED_WITH_SYSTEM_ROOTS = {
    "sslcert", "sslkey", "sslpassword", "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version",
}  # fmt: skip
READ_BY_ASYNCPG = IGNORED_WITH_SYSTEM_ROOTS | {
    "service", "user", "password", "passfile", "dbname", "target_session_attrs", "krbsrvname", "gsslib", "sslmode",
    "sslnegotiation", "sslrootcert",
}  # fmt: skip
SENT_TO_THE_SERVER = {"application_name", "options"}
# Parameters that name a server or demand protection. asyncpg lacks them, and ignoring one would be unsafe.
UNSUPPORTED_PARAMETERS = {"hostaddr", "require_auth", "requirepeer", "sslcrldir"}
UNSUPPORTED_IF_REQUIRED = {"gssencmode", "sslcertmode"}
DEFAULT_PORT = 5432
# A parameter of another driver that is safe to ignore: no unknown way to ask for TLS, and no part of a password.
OTHER_DRIVER_PARAMETER = r"(?i)(?!\w*(ssl|tls|channel_?binding))[a-z_]\w*=[^@]*"


class UnsupportedUrlError(ValueError):
    """asyncpg cannot do what the URL demands. The text continues "DATABASE_URL: should be ..."."""


class AsyncpgTarget(NamedTuple):
    arguments: dict[str, Any]
    left_out: list[str]  # names of ignored parameters
    verified_against: str | None  # how the server is verified where the URL demands channel_binding


def is_postgresql_url(url: str) -> bool:
    """Whether libpq can read the URL. Its error is never shown or logged, as it quotes the password."""
    try:
        parts = urlsplit(url)
        if not all(0 < port < 65536 for port in _ports(parameters(url))):
            return False
    except (ValueError, ProgrammingError):
        return False
    # An @ after the host is from a password with an unencoded /. A part of it would be taken for the host, and logged.
    return parts.scheme in {"postgres", "postgresql"} and "@" not in parts.path and parts.netloc.count("@") <= 1


def parameters(url: str) -> dict[str, str]:
    """The parameters as libpq reads them, without those of other drivers, which it would refuse."""
    given = conninfo_to_dict(_split(url)[0])
    return {name: str(value) for name, value in given.items() if value}


def hosts_of(url: str) -> list[str]:
    """Names, addresses, or directories of sockets; none: the default socket."""
    given = parameters(url).get("host", "")
    return [host for host in given.split(",") if host]


def for_libpq(url: str) -> str:
    return make_conninfo(**parameters(url))


def for_yoyo(url: str) -> str:
    """Everything as parameters: yoyo's own parser supports neither several hosts nor a socket."""
    return f"postgresql+psycopg://?{urlencode(parameters(url))}"


def for_asyncpg(url: str) -> AsyncpgTarget:
    """Keeps only parameters that asyncpg supports: it would send others to the server, which refuses them."""
    given = parameters(url)
    for name, value in given.items():
        if name in UNSUPPORTED_PARAMETERS or (name in UNSUPPORTED_IF_REQUIRED and value == "require"):
            raise UnsupportedUrlError(f"a URL without {name}, which the driver cannot keep to")
    arguments: dict[str, Any] = {"server_settings": _pop_named(SENT_TO_THE_SERVER, given)}
    hosts = _hosts(given)
    if hosts:
        arguments["host"] = hosts
    if "port" in given:
        arguments["port"] = _ports(given)
    verified_against = _require_verification(given, hosts)
    if given.get("sslrootcert") == "system":
        arguments["ssl"] = _system_roots(given)
    arguments["dsn"] = f"postgresql://?{urlencode(_pop_named(READ_BY_ASYNCPG, given))}"
    left_out = given.keys() - {"host", "port"} | set(_split(url)[1])
    return AsyncpgTarget(arguments, sorted(left_out), verified_against)


def names_a_pooler(url: str) -> bool:
    """Whether a host is one of Neon's poolers, such as ep-cool-name-pooler.eu-central-1.aws.neon.tech."""
    return any(host.lower().partition(".")[0].endswith("-pooler") for host in _hosts(parameters(url)))


def names_a_neon_server(url: str) -> bool:
    hosts = _hosts(parameters(url))
    return bool(hosts) and all(host.lower().endswith(".neon.tech") for host in hosts) and not names_a_pooler(url)


def _split(url: str) -> tuple[str, list[str]]:
    """Splits off the parameters of other drivers: returns the URL without them, and their names.

    A misspelt sslmode stays, so that libpq refuses it, and so does text that may be a part of a password."""
    rest, _, query = url.partition("?")
    if "@" in query and "@" not in rest:
        return url, []  # libpq takes the question mark for a part of the password
    kept, unknown = [], []
    for pair in query.split("&") if query else []:
        name = unquote(pair.partition("=")[0])
        if name not in KNOWN_TO_LIBPQ and re.fullmatch(OTHER_DRIVER_PARAMETER, unquote(pair)):
            unknown.append(name)
        else:
            kept.append(pair)
    return rest + ("?" + "&".join(kept) if kept else ""), unknown


def _hosts(given: Mapping[str, str]) -> list[str]:
    return given["host"].split(",") if "host" in given else []


def _pop_named(names: set[str], given: dict[str, str]) -> dict[str, str]:
    return {name: given.pop(name) for name in list(given) if name in names}


def _ports(given: Mapping[str, str]) -> list[int]:
    return [int(port or DEFAULT_PORT) for port in given.get("port", "").split(",")]


def _require_verification(given: dict[str, str], hosts: list[str]) -> str | None:
    """Replaces channel_binding, which asyncpg lacks, by sslmode=verify-full: both detect a man in the middle."""
    if given.pop("channel_binding", "") != "require":
        return None
    if given.get("sslmode") == "disable" or not hosts or any(host.startswith(("/", "@")) for host in hosts):
        raise UnsupportedUrlError("a URL with TLS and a host where it says channel_binding=require")
    given["sslmode"] = "verify-full"
    roots = given.setdefault("sslrootcert", "system")
    return "sslmode=verify-full, the system's roots" if roots == "system" else "sslmode=verify-full, sslrootcert"


def _system_roots(given: dict[str, str]) -> bool:
    """The value of `ssl` for sslrootcert=system, which asyncpg would take for a file name. True means the same to it:
    the system's roots, with verify-full."""
    if given.pop("sslmode", "verify-full") != "verify-full":
        raise UnsupportedUrlError("a URL with sslmode=verify-full where it says sslrootcert=system")
    if beside := sorted(IGNORED_WITH_SYSTEM_ROOTS & given.keys()):
        raise UnsupportedUrlError(f"a URL that names a file as sslrootcert beside {beside[0]}")
    del given["sslrootcert"]
    return True
