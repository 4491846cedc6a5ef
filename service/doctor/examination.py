"""All checks in their order: settings, host, issuers, database."""

from collections.abc import Iterator

from service.db import connect
from service.db.admin_session import CommandError, NotPermittedError, connected, rows
from service.db.concurrent_migrations import SET_TIME_LIMITS
from service.db.statements import statement
from service.doctor import (
    activity_checks,
    host_checks,
    issuer_checks,
    role_checks,
    schema_checks,
    server_checks,
    settings_checks,
)
from service.doctor.examined import ExaminedDatabase, Surroundings, Thresholds
from service.doctor.finding import Diagnosis, Finding, error
from service.settings.all_settings import Settings

GET_SERVER = statement("doctor/get_server", "one")

TIME_LIMITS = {"lock_timeout": "1s", "statement_timeout": "5s"}
TRY_PSQL = 'try: psql "$DATABASE_URL" -c "SELECT 1"'


def examine(settings: Settings, around: Surroundings, thresholds: Thresholds | None = None) -> Diagnosis:
    """Without DATABASE_URL the database is left out."""
    found = [*settings_checks.check(settings, around.environment, is_embedded=around.is_embedded)]
    found += host_checks.check(settings, around.root)
    found += issuer_checks.check(settings)
    if settings.database_url is not None:
        found += _of_database(settings, around, thresholds or Thresholds())
    return Diagnosis(found)


def _of_database(settings: Settings, around: Surroundings, thresholds: Thresholds) -> Iterator[Finding]:
    try:
        # As with `auto`, so that a pooler is noticed whatever PREPARED_STATEMENTS says.
        facts = connect.probe(settings.model_copy(update={"prepared_statements": "auto"}))
        with connected(settings.dsn) as connection:
            before = around.clock()
            [server] = rows(connection, GET_SERVER)
            seconds_off = server["unix_seconds"] - (before + around.clock()) / 2
            database = ExaminedDatabase(settings, connection, server, facts.has_pooler, around.is_embedded, thresholds)
            yield from server_checks.check(database, seconds_off)
            yield from role_checks.limits(database)
            yield from server_checks.pooler(database)
            if refusals := list(server_checks.refuses_transactions(connection)):
                yield from refusals
                return
            connection.read_only = True
            with connection.transaction():
                rows(connection, SET_TIME_LIMITS, **TIME_LIMITS, is_local=True)
                yield from activity_checks.check(database)
                yield from schema_checks.check(database)
    except NotPermittedError as failure:
        yield error("database/privileges", str(failure), "what needs it fails", role_checks.MIGRATE_GRANTS)
    except CommandError as failure:
        yield error("database/unreachable", str(failure), "what needs the database fails", TRY_PSQL)
