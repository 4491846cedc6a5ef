"""The commands migrate, clean and sql. The latter is for DBAs."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from service.cli.startup import one_database, one_line_errors, settings_and_log
from service.db import migrations, schema_drift
from service.db.admin_session import CommandError, connected, rows
from service.domain.cleanup import EXPIRED_ROWS
from service.review.compare_plans import INCOMPLETE, compare
from service.review.explain import explain
from service.review.listing import listing

PARSER = "postgast"  # PostgreSQL's own, for `sql check` alone


def migrate(options: argparse.Namespace) -> None:
    with one_database(settings_and_log(), direct=True) as url:
        if options.action == "status":
            _print(_status(url))
        elif options.dry_run:
            _print(_would_run(url, options))
        else:
            verb, said = (migrations.roll_back, "rolled back") if options.rollback else (migrations.apply, "applied")
            _print(f"{said} {migration_id}" for migration_id in verb(url, options.to) or ["nothing"])


def _status(url: str) -> Iterator[str]:
    applied = {migration.migration_id: migration.at for migration in migrations.applied(url)}
    try:
        drift = schema_drift.of_database(url)
    except CommandError as error:
        drift = schema_drift.Drift([], [], [str(error)], [])
    notes = dict.fromkeys(drift.without_checksum, ", no checksum yet: the next migrate keeps that of the file")
    notes |= dict.fromkeys(drift.edited, ", edited since then: the file is not the one that was applied")
    for migration_id in sorted(set(migrations.known()) | set(applied)):
        state = f"applied {applied[migration_id]:%Y-%m-%d %H:%M:%S} UTC" if migration_id in applied else "pending"
        unknown = "" if migration_id in migrations.known() else " (unknown to this code)"
        yield f"{migration_id}: {state}{unknown}{notes.get(migration_id, '')}"
    yield from (f"schema: {line}" for line in drift.differences + drift.extra_indexes)


def _would_run(url: str, options: argparse.Namespace) -> Iterator[str]:
    """The output is valid SQL, to be reviewed or saved, so our own lines are SQL comments."""
    files = (migrations.files_to_roll_back if options.rollback else migrations.files_to_apply)(url, options.to)
    for file in files:
        yield f"-- would run migrations/{file.name}"
        yield file.read_text(encoding="utf-8")
    if not files:
        yield "-- would run nothing"


def clean(_: argparse.Namespace) -> None:
    """Each statement deletes a limited number of rows, in a short transaction, and is repeated until none are left."""
    with one_database(settings_and_log()) as url, connected(url) as connection:
        for table, walk in EXPIRED_ROWS.items():
            total = 0
            values: Mapping[str, object] | None = walk.start
            while values is not None:
                [row] = rows(connection, walk.statement, **values)
                total += row["deleted"]
                values = walk.after(row)
            _print([f"{table}: {total}"])


def list_statements(_: argparse.Namespace) -> None:
    _print(listing())


def check_statements(options: argparse.Namespace) -> None:
    try:
        from service.review.check import check, check_texts  # noqa: PLC0415 - the image has no parser
    except ModuleNotFoundError as error:
        if error.name != PARSER:
            raise
        raise CommandError(f"sql check needs {PARSER}: python -m pip install {PARSER}, or make lint") from None

    if options.no_server:
        findings = check_texts()
    else:
        with _database(options) as url:
            findings = check(url)
    _print(findings)
    if findings:
        sys.exit(1)


def explain_statement(options: argparse.Namespace) -> None:
    with _database(options) as url:
        _print(explain(url, options.name, dict(options.values)))


def compare_plans(options: argparse.Namespace) -> None:
    with one_line_errors(INCOMPLETE), _database(options) as url:
        report = compare(url)
    _print(report.lines)
    sys.exit(report.exit_code)


@contextmanager
def _database(options: argparse.Namespace) -> Iterator[str]:
    if options.database_url is not None:
        yield options.database_url
        return
    with one_database(settings_and_log()) as url:
        yield url


def _print(lines: Iterable[object]) -> None:
    for line in lines:
        print(line)
