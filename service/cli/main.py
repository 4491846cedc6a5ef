"""The command line: python -m service [serve | migrate | doctor | sql | user | clean]."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from service import VERSION
from service.cli import commands, user
from service.cli.serve import serve
from service.cli.startup import one_line_errors, settings_and_log
from service.settings.all_settings import A_POSTGRESQL_URL
from service.settings.database_url import is_postgresql_url


def main(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    with one_line_errors(), _output_may_close():
        options.run(options)


@contextmanager
def _output_may_close() -> Iterator[None]:
    """The reader of the output may leave before its end, as `head` does: no reason for a traceback."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        raise SystemExit(1) from None


def _serve(options: argparse.Namespace) -> None:
    serve(settings_and_log(serves=True), reload=options.reload)


def _doctor(options: argparse.Namespace) -> None:
    from service.cli.doctor import doctor  # noqa: PLC0415 - serving needs neither it nor the HTTP client that it imports

    doctor(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="A todo backend.")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.set_defaults(run=_serve, reload=False)
    verbs = parser.add_subparsers(dest="command")
    serving = verbs.add_parser("serve", help="serve the API (the default)")
    serving.add_argument("--reload", action="store_true", help="restart when a .py or .sql file changes")
    migrating = verbs.add_parser("migrate", help="apply, roll back or show migrations")
    migrating.set_defaults(run=commands.migrate)
    migrating.add_argument("action", nargs="?", choices=["apply", "status"], default="apply")
    migrating.add_argument("--rollback", action="store_true", help="undo the last one, or with --to all after ID")
    migrating.add_argument("--to", metavar="ID", help="the last migration that shall be applied afterwards")
    migrating.add_argument("--dry-run", action="store_true", help="print what would run, as SQL, and run nothing")
    _add_user(verbs.add_parser("user", help="show a user, set a new password, delete or erase the account"))
    cleaning = verbs.add_parser("clean", help="delete the rows whose time is over, as the service does by itself")
    cleaning.set_defaults(run=commands.clean)
    diagnosing = verbs.add_parser(
        "doctor", help="what is wrong with settings, database, issuers and host; changes nothing"
    )
    diagnosing.set_defaults(run=_doctor)
    diagnosing.add_argument("--json", action="store_true", help="for a program")
    _add_sql(verbs.add_parser("sql", help="list, check or explain the statements under sql/, or compare their plans"))
    return parser


def _add_user(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True)
    for name, run, what in (
        ("show", user.show_user, "who logs in with an email, and how many tasks they have"),
        ("reset-password", user.reset_password, "print a new password; the user is logged out everywhere"),
        ("delete", user.delete_user, "delete the account and its tasks"),
    ):
        verb = verbs.add_parser(name, help=what)
        verb.set_defaults(run=run)
        verb.add_argument("email", metavar="EMAIL")
    what = "delete the account and its tasks, and prove what is left of the user: exit code 0 if no row is"
    erasing = verbs.add_parser("erase", help=what, description=what)
    erasing.set_defaults(run=user.erase_user)
    erasing.add_argument("name", metavar="EMAIL", help="or the user's id, or, for an outside user, the issuer")
    erasing.add_argument("subject", metavar="SUBJECT", nargs="?", help="of an outside user, behind the issuer")


def _add_sql(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True)
    listing = verbs.add_parser("list", help="one row for each statement: what goes in, what comes out, its index")
    listing.set_defaults(run=commands.list_statements)
    checking = verbs.add_parser("check", help="prove the statements against a database; reads, and changes nothing")
    checking.set_defaults(run=commands.check_statements)
    checking.add_argument("--no-server", action="store_true", help="only what the files alone show")
    explaining = verbs.add_parser("explain", help="the generic plan; with parameters, what really happens, rolled back")
    explaining.set_defaults(run=commands.explain_statement)
    explaining.add_argument("name", metavar="NAME", help="tasks/list_tasks, or list_tasks")
    explaining.add_argument("values", nargs="*", metavar="param=value", type=_value, help="NULL is NULL")
    comparing = verbs.add_parser(
        "plans",
        help="a database's plans of today beside those of sql/plans/; reads, and changes nothing",
        description="Compares the generic plans that a database makes today of the requests' statements with "
        "sql/plans/. Reads the catalogue and runs EXPLAIN without ANALYZE in read-only transactions. "
        "Exits with 0: all plans are those of sql/plans/, 1: some differ, 2: some or all could not be made.",
    )
    comparing.set_defaults(run=commands.compare_plans)
    for each in (checking, explaining, comparing):
        each.add_argument(
            "--database-url", metavar="URL", type=_url, help="instead of DATABASE_URL or the embedded database"
        )


def _url(text: str) -> str:
    if not is_postgresql_url(text):
        raise argparse.ArgumentTypeError(f"should be {A_POSTGRESQL_URL}")
    return text


def _value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"should be param=value, not {text}")
    return name, value
