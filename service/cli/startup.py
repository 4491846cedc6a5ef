"""What has to be true before the first request: a database, its schema, a secret. Once, in the main process."""

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
from service.db import connect, migrations
from service.db.admin_session import CommandError, connected, rows
from service.db.statements import statement
from service.log import lines
from service.settings.all_settings import Settings, SettingsError, load_settings

COUNT_CONNECTIONS = statement("health/count_connections", "one")

RETRY_WAIT = 1.0
ENDING_SIGNALS = {signal.SIGINT, signal.SIGTERM}

_log = logging.getLogger("service.cli.startup")


class NotReadyError(Exception):
    """The service must not start like this. One line that names what to do."""


def settings_and_log(*, serves: bool = False) -> Settings:
    settings = load_settings()
    lines.configure(settings.log_level, settings.log_format, serves=serves)
    return settings


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What an operator can mend is one line each and an exit code: 2 for a setting, 1 for what it points to."""
    try:
        yield
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the command line's own voice
        raise SystemExit(2) from None
    except (NotReadyError, embedded_postgres.EmbeddedError, CommandError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the command line's own voice
        raise SystemExit(1) from None


@contextmanager
def launched(settings: Settings) -> Iterator[Settings]:
    """The embedded server runs while the context does, and is migrated; the schema of another is checked. What was
    found out about its database is in the settings."""
    if settings.database_url is not None:
        settings.require_secret()
        found = wait_for_database(settings)
        require_schema(settings)
        connect.say_what_was_understood(settings, found)
        settings = _for_workers_too(settings, has_pooler=found.has_pooler)
        compare_connections(settings)
        yield settings
        return
    starting = "starting an embedded PostgreSQL 18 under %s: for a laptop and for tests, not for production"
    with embedded_postgres.running(settings.data_dir, partial(_log.info, starting, settings.data_dir)) as url:
        if pending := migrations.pending(url):
            _log.info("applying %d migrations", len(pending))
        with _undisturbed():
            applied = migrations.apply(url)
        for migration_id in applied:
            _log.info("applied migration %s", migration_id)
        completed(settings)  # the secret is made here, once, before several workers ask for it
        yield _for_workers_too(settings, has_pooler=False)


def _for_workers_too(settings: Settings, *, has_pooler: bool) -> Settings:
    """They read their settings anew, and need not look again."""
    if settings.prepared_statements == "auto":
        settings = settings.model_copy(update={"prepared_statements": "off" if has_pooler else "on"})
        os.environ["PREPARED_STATEMENTS"] = settings.prepared_statements
    return settings


@contextmanager
def one_database(settings: Settings, *, direct: bool = False) -> Iterator[str]:
    """For a command, which may run beside a service or without one; `direct` is past any pooler."""
    if settings.database_url is not None:
        yield settings.require_direct_url() if direct else settings.dsn
        return
    if not direct and not embedded_postgres.cluster_dir(settings.data_dir).is_dir():
        raise NotReadyError("there is no embedded database here yet: make run makes one, DATABASE_URL names another")
    with embedded_postgres.reachable(settings.data_dir) as url:
        yield url


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A signal waits until this is done: yoyo answers an interruption with an error of its own about savepoints."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)


def migrate_embedded(settings: Settings) -> None:
    """While somebody works on the code: a migration is tried when it is saved, and may be wrong."""
    if settings.database_url is None:
        try:
            for migration_id in migrations.apply(embedded_postgres.url(settings.data_dir)):
                _log.info("applied migration %s", migration_id)
        except CommandError as error:
            _log.error("%s", error)


def completed(settings: Settings) -> Settings:
    """What `launched` has started, as any other process finds it."""
    if settings.database_url is not None:
        return settings
    embedded_postgres.make_private(settings.data_dir)
    update = {"database_url": SecretStr(embedded_postgres.url(settings.data_dir))}
    if settings.secret is None:
        update["better_auth_secret"] = SecretStr(embedded_postgres.generated_secret(settings.data_dir))
    return settings.model_copy(update=update)


def wait_for_database(settings: Settings) -> connect.Found:
    """Containers start in any order, and a server takes a moment to recover from a crash."""
    deadline = time.monotonic() + settings.database_wait
    while True:
        try:
            return connect.try_out(settings)
        except connect.AwayError as error:
            if time.monotonic() >= deadline:
                raise NotReadyError(f"{error} (waited for {settings.database_wait:g} s)") from None
            _log.warning("waiting for the database: %s", error)
        time.sleep(RETRY_WAIT)


def compare_connections(settings: Settings) -> None:
    """Behind a pooler the server's number is the pooler's to keep to."""
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
    """A schema ahead of this code is a rolling deploy, and fine."""
    behind = migrations.pending(settings.dsn)
    if behind:
        raise NotReadyError(f"the schema is behind ({', '.join(behind)}); run: python -m service migrate")


def where_data_lies(settings: Settings) -> str:
    if settings.database_url is None:
        return str(settings.data_dir.absolute())
    return f"the database {urlsplit(settings.dsn).path.strip('/')} of DATABASE_URL"
