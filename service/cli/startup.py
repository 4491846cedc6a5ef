"""Checks and preparations before the first request, once, in the main process: database, schema, secret."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

from pydantic import SecretStr

from service.cli import embedded_postgres
from service.db import connect, migrations, schema_drift
from service.db.admin_session import CommandError, connected, rows
from service.db.statements import statement
from service.log import lines
from service.settings.all_settings import Settings, SettingsError, load_settings

COUNT_CONNECTIONS = statement("health/count_connections", "one")

RETRY_PAUSE_SECONDS = 1.0
ENDING_SIGNALS = {signal.SIGINT, signal.SIGTERM}

_log = logging.getLogger("service.cli.startup")


class NotReadyError(Exception):
    """The service must not start like this. The text is one line that says what to do."""


def settings_and_log(*, serves: bool = False) -> Settings:
    settings = load_settings()
    lines.configure(settings.log_level, settings.log_format, serves=serves)
    return settings


@contextmanager
def one_line_errors(exit_code: int = 1) -> Iterator[None]:
    """Prints errors that an operator can fix as one line each, and exits with 2 for a bad setting, else with 1 or what
    the command says."""
    try:
        yield
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except (NotReadyError, embedded_postgres.EmbeddedError, CommandError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(exit_code) from None


@contextmanager
def launched(settings: Settings) -> Iterator[Settings]:
    """Starts and migrates the embedded server for the duration of the context, or checks the database of DATABASE_URL.

    Yields the settings, with what was found out about the database filled in."""
    if settings.database_url is not None:
        settings.require_secret()
        found = wait_for_database(settings)
        require_schema(settings)
        warn_about_drift(settings.dsn)
        connect.log_findings(settings, found)
        settings = _share_with_workers(settings, has_pooler=found.has_pooler)
        warn_if_too_many_connections(settings)
        yield settings
        return
    starting = "starting an embedded PostgreSQL 18 under %s: for a laptop and for tests, not for production"
    with embedded_postgres.running(settings.data_dir, partial(_log.info, starting, settings.data_dir)) as url:
        if pending := migrations.pending(url):
            _log.info("applying %d migrations", len(pending))
        with _signals_blocked():
            applied = migrations.apply(url)
        for migration_id in applied:
            _log.info("applied migration %s", migration_id)
        warn_about_drift(url)
        completed(settings)  # generates the secret, before several workers need it
        yield _share_with_workers(settings, has_pooler=False)


def _share_with_workers(settings: Settings, *, has_pooler: bool) -> Settings:
    """Passes the answer on in the environment: each worker reads its settings from there, and need not check again."""
    if settings.prepared_statements == "auto":
        settings = settings.model_copy(update={"prepared_statements": "off" if has_pooler else "on"})
        os.environ["PREPARED_STATEMENTS"] = settings.prepared_statements
    return settings


@contextmanager
def one_database(settings: Settings, *, direct: bool = False) -> Iterator[str]:
    """The URL of the database for a command, with or without a running service. `direct` means past any pooler."""
    if settings.database_url is not None:
        yield settings.require_direct_url() if direct else settings.dsn
        return
    if not direct and not embedded_postgres.cluster_dir(settings.data_dir).is_dir():
        raise NotReadyError("there is no embedded database here yet: make run makes one, DATABASE_URL names another")
    with embedded_postgres.reachable(settings.data_dir) as url:
        yield url


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Delays signals to the end of the block: yoyo turns an interruption into a misleading error about savepoints."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)


def migrate_embedded(settings: Settings) -> None:
    """Applies new migrations after a reload in development. A failure is only logged: the file may be unfinished."""
    if settings.database_url is None:
        try:
            for migration_id in migrations.apply(embedded_postgres.url(settings.data_dir)):
                _log.info("applied migration %s", migration_id)
        except CommandError as error:
            _log.error("%s", error)


def completed(settings: Settings) -> Settings:
    """The settings with the URL and the secret of the embedded database that `launched` runs, for any process."""
    if settings.database_url is not None:
        return settings
    embedded_postgres.make_private(settings.data_dir)
    update = {"database_url": SecretStr(embedded_postgres.url(settings.data_dir))}
    if settings.secret is None:
        update["better_auth_secret"] = SecretStr(embedded_postgres.generated_secret(settings.data_dir))
    return settings.model_copy(update=update)


def wait_for_database(settings: Settings) -> connect.ConnectionFacts:
    """Retries for DATABASE_WAIT seconds: containers start in any order, and crash recovery takes a moment."""
    deadline = time.monotonic() + settings.database_wait
    while True:
        try:
            return connect.probe(settings)
        except connect.DatabaseAwayError as error:
            if time.monotonic() >= deadline:
                raise NotReadyError(f"{error} (waited for {settings.database_wait:g} s)") from None
            _log.warning("waiting for the database: %s", error)
        time.sleep(RETRY_PAUSE_SECONDS)


def warn_if_too_many_connections(settings: Settings) -> None:
    """Warns if the pools of all workers can exceed max_connections. Behind a pooler, the pooler keeps to that limit."""
    if settings.prepared_statements == "off":
        return
    with connected(settings.dsn) as connection:
        [server] = rows(connection, COUNT_CONNECTIONS)
    wanted = settings.pool_max * settings.workers
    free = server["max_connections"] - server["for_superusers"] - server["for_reserved"]
    if wanted > free:
        _log.warning(
            "POOL_MAX=%d for each of WORKERS=%d may ask for %d connections, and the server has %d for ordinary roles "
            "(max_connections=%d); copies of this service count too",
            settings.pool_max, settings.workers, wanted, free, server["max_connections"],
        )  # fmt: skip


def require_schema(settings: Settings) -> None:
    """Refuses a schema that is behind. One that is ahead is fine: it occurs in a rolling deploy."""
    behind = migrations.pending(settings.dsn)
    if behind:
        raise NotReadyError(f"the schema is behind ({', '.join(behind)}); run: python -m service migrate")


def warn_about_drift(url: str) -> None:
    """Logs one warning where the schema differs from what the migrations make: a reason to look, none to be down."""
    try:
        drift = schema_drift.of_database(url)
    except CommandError as error:
        _log.warning("%s", error)
        return
    edited = [f"{migration_id} was edited after it was applied" for migration_id in drift.edited]
    if found := edited + drift.differences:
        _log.warning("the schema differs from what the migrations make: %s", "; ".join(found))
    if drift.extra_indexes:
        _log.info("the schema has more indexes than the migrations make: %s", "; ".join(drift.extra_indexes))


def where_data_lies(settings: Settings) -> str:
    if settings.database_url is None:
        return str(settings.data_dir.absolute())
    return f"the database {urlsplit(settings.dsn).path.strip('/')} of DATABASE_URL"
