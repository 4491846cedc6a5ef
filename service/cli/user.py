"""The commands for one user: show, reset-password, delete, erase. Operators need them, as the service sends no mail."""

import argparse
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bcrypt

from service import formats
from service.auth.token_users import FIND_OUTSIDE_USER
from service.cli import erasure
from service.cli.erasure import CHANGED_MEANWHILE, Identity
from service.cli.startup import one_database, settings_and_log
from service.db.admin_session import AdminConnection, CommandError, connected, rows
from service.db.statements import statement
from service.domain.account_changes import CHANGE_PASSWORD
from service.domain.accounts import FIND_CREDENTIALS
from service.field_rules import normal_email
from service.settings.all_settings import Settings

COUNT_TASKS = statement("tasks/count_tasks", "one")


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
    """The first half of `erase`: the same deletion, without the report."""
    with _user(settings_and_log(), options.email) as (connection, user):
        deleted = erasure.delete(connection, erasure.identity(connection, user["id"]))
    _print(f"deleted {user['email']}, tasks: {deleted.rows['tasks']}")


def erase_user(options: argparse.Namespace) -> None:
    """Says first what it erases: if it is interrupted, the id still finds what the email no longer does."""
    settings = settings_and_log()
    with one_database(settings) as url, connected(url) as connection:
        user = _named(connection, options.name, options.subject)
        _print(f"erasing {user}")
        deleted = erasure.delete(connection, user)
        proof = erasure.prove(connection, user)
    for line in erasure.report(user, deleted, proof, settings):
        _print(line)
    if proof.gaps:
        raise CommandError(f"not proven: {'; '.join(proof.gaps)}")


def _named(connection: AdminConnection, name: str, subject: str | None) -> Identity:
    """The user of an email, of an id, or of an issuer and a subject. An id is taken even if there is no such user."""
    if subject is not None:
        found = rows(connection, FIND_OUTSIDE_USER, issuer=name, subject=subject)
        if not found:
            raise CommandError(f"{name} has no user here with the subject {subject}")
        user_id = found[0]["id"]
    else:
        user_id = formats.parse_uuid(name) or _credentials(connection, name)["id"]
    return erasure.identity(connection, user_id)


@contextmanager
def _user(settings: Settings, email: str) -> Iterator[tuple[AdminConnection, dict[str, Any]]]:
    """The user who logs in with the email. Outside users cannot be found this way."""
    with one_database(settings) as url, connected(url) as connection:
        yield connection, _credentials(connection, email)


def _credentials(connection: AdminConnection, email: str) -> dict[str, Any]:
    found = rows(connection, FIND_CREDENTIALS, email=normal_email(email) or email)
    if not found:
        raise CommandError(f"no user logs in with {email}")
    return found[0]


def _print(line: str) -> None:
    print(line, flush=True)
