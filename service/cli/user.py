"""The commands for one user: show, reset-password, delete. Operators need them, as the service sends no mail."""

import argparse
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bcrypt

from service.cli.startup import one_database, settings_and_log
from service.db.admin_session import AdminConnection, CommandError, connected, rows
from service.db.statements import statement
from service.domain.account_changes import (
    BEFORE_ALL_IDS,
    CHANGE_PASSWORD,
    DELETE_TASKS,
    DELETE_USER,
    MAX_TASKS_PER_DELETE,
)
from service.domain.accounts import FIND_CREDENTIALS
from service.field_rules import normal_email
from service.settings.all_settings import Settings

COUNT_TASKS = statement("tasks/count_tasks", "one")

CHANGED_MEANWHILE = "the account was changed at the same moment; nothing was done, run it again"


def show_user(options: argparse.Namespace) -> None:
    with _user(settings_and_log(), options.email) as (connection, user):
        [counted] = rows(connection, COUNT_TASKS, user_id=user["id"])
    for name in ("id", "email", "created_at", "token_generation"):
        _print(f"{name}: {user[name]}")
    _print(f"tasks: {counted['task_count']}")


def reset_password(options: argparse.Namespace) -> None:
    """Prints a new password, and nothing else. Revokes every token of the user."""
    settings = settings_and_log()
    password = secrets.token_urlsafe(15)
    new_hash = bcrypt.hashpw(password.encode(), bcrypt.gensalt(settings.bcrypt_rounds)).decode()
    with _user(settings, options.email) as (connection, user):
        given = {"user_id": user["id"], "token_generation": user["token_generation"], "password_hash": new_hash}
        if not rows(connection, CHANGE_PASSWORD, **given):
            raise CommandError(CHANGED_MEANWHILE)
    _print(password)


def delete_user(options: argparse.Namespace) -> None:
    with _user(settings_and_log(), options.email) as (connection, user):
        [counted] = rows(connection, COUNT_TASKS, user_id=user["id"])
        _delete_in_pieces(connection, user)
        if not rows(connection, DELETE_USER, user_id=user["id"], token_generation=user["token_generation"]):
            raise CommandError(CHANGED_MEANWHILE)
    _print(f"deleted {user['email']}, tasks: {counted['task_count']}")


def _delete_in_pieces(connection: AdminConnection, user: dict[str, Any]) -> None:
    """Deletes all but the last tasks of a large account, each piece in its own transaction. A second run continues."""
    given = {"user_id": user["id"], "token_generation": user["token_generation"], "max_tasks": MAX_TASKS_PER_DELETE}
    last = rows(connection, DELETE_TASKS, after_id=BEFORE_ALL_IDS, **given)
    while last:
        last = rows(connection, DELETE_TASKS, after_id=last[0]["id"], **given)


@contextmanager
def _user(settings: Settings, email: str) -> Iterator[tuple[AdminConnection, dict[str, Any]]]:
    """The user who logs in with the email. Outside users cannot be found this way."""
    with one_database(settings) as url, connected(url) as connection:
        found = rows(connection, FIND_CREDENTIALS, email=normal_email(email) or email)
        if not found:
            raise CommandError(f"no user logs in with {email}")
        yield connection, found[0]


def _print(line: str) -> None:
    print(line)  # noqa: T201 - the command's output
