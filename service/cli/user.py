"""The commands about one user: show, reset-password, delete. For operators: there is no mail that could help a user."""

import argparse
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bcrypt

from service.cli.startup import one_database, settings_and_log
from service.db.admin_session import AdminConnection, CommandError, connected, rows
from service.db.statements import statement
from service.domain.account_changes import BEFORE_ALL_IDS, CHANGE_PASSWORD, DELETE_TASKS, DELETE_USER, TASKS_AT_ONCE
from service.domain.accounts import FIND_CREDENTIALS
from service.field_rules import normal_email
from service.settings.all_settings import Settings

COUNT_TASKS = statement("tasks/count_tasks", "one")

MEANWHILE = "somebody else changed the account at this moment; nothing was done, run it again"


def show_user(options: argparse.Namespace) -> None:
    with _user(settings_and_log(), options.email) as (connection, user):
        [counted] = rows(connection, COUNT_TASKS, user_id=user["id"])
    for name in ("id", "email", "created_at", "token_generation"):
        _print(f"{name}: {user[name]}")
    _print(f"tasks: {counted['task_count']}")


def reset_password(options: argparse.Namespace) -> None:
    """Prints a new one, and nothing else. Every token of the user is void by it."""
    settings = settings_and_log()
    password = secrets.token_urlsafe(15)
    new_hash = bcrypt.hashpw(password.encode(), bcrypt.gensalt(settings.bcrypt_rounds)).decode()
    with _user(settings, options.email) as (connection, user):
        given = {"user_id": user["id"], "token_generation": user["token_generation"], "password_hash": new_hash}
        if not rows(connection, CHANGE_PASSWORD, **given):
            raise CommandError(MEANWHILE)
    _print(password)


def delete_user(options: argparse.Namespace) -> None:
    with _user(settings_and_log(), options.email) as (connection, user):
        [counted] = rows(connection, COUNT_TASKS, user_id=user["id"])
        _delete_in_pieces(connection, user)
        if not rows(connection, DELETE_USER, user_id=user["id"], token_generation=user["token_generation"]):
            raise CommandError(MEANWHILE)
    _print(f"deleted {user['email']}, tasks: {counted['task_count']}")


def _delete_in_pieces(connection: AdminConnection, user: dict[str, Any]) -> None:
    """All but the last tasks of an account with many, each piece in a transaction of its own. Run again, it goes on."""
    given = {"user_id": user["id"], "token_generation": user["token_generation"], "max_tasks": TASKS_AT_ONCE}
    last = rows(connection, DELETE_TASKS, after_id=BEFORE_ALL_IDS, **given)
    while last:
        last = rows(connection, DELETE_TASKS, after_id=last[0]["id"], **given)


@contextmanager
def _user(settings: Settings, email: str) -> Iterator[tuple[AdminConnection, dict[str, Any]]]:
    """Who logs in with the email. A user of an outside issuer is not known by one."""
    with one_database(settings) as url, connected(url) as connection:
        found = rows(connection, FIND_CREDENTIALS, email=normal_email(email) or email)
        if not found:
            raise CommandError(f"nobody logs in with {email}")
        yield connection, found[0]


def _print(line: str) -> None:
    print(line)  # noqa: T201 - the command's output
