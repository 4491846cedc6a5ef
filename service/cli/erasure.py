"""Deletes a user in pieces, and proves from the tables that are declared in sql/tables.md what is left of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from service.db.admin_session import AdminConnection, CommandError, in_one_snapshot, rows
from service.db.statements import SQL, statement
from service.domain.account_changes import BEFORE_ALL_IDS, DELETE_TASKS, DELETE_USER, MAX_TASKS_PER_DELETE
from service.domain.rate_limits import SIGN_UP_WINDOW
from service.review import tables
from service.review.catalog import Catalog
from service.settings.all_settings import Settings

GET_IDENTITY = statement("accounts/get_identity", "one")
COUNT_ROWS = statement("accounts/count_rows_of_user", "one")
FIND_DELETED_USER = statement("accounts/find_deleted_user", "one")

CHANGED_MEANWHILE = "the account was changed at the same moment; run it again"
OF_OUTSIDE_USERS = "deleted_outside_users"


class Identity(NamedTuple):
    """What identifies a user. `token_generation` is None if there is no such user, or if the user was deleted."""

    user_id: UUID
    email: str | None = None
    issuer: str | None = None
    subject: str | None = None
    token_generation: int | None = None

    def __str__(self) -> str:
        """Quoted, because an issuer may put anything into a subject."""
        known = {"email": self.email, "issuer": self.issuer, "subject": self.subject}
        return ", ".join([str(self.user_id), *(f"{name} {value!r}" for name, value in known.items() if value)])


class DeletedRows(NamedTuple):
    pieces: int
    rows: dict[str, int]  # by table, those that foreign keys take along included


class Proof(NamedTuple):
    counted: dict[str, int]  # by table
    without_users: dict[str, str]  # the other tables, and why their rows belong to no user
    remembered_until: datetime | None  # the deletion of an outside user
    gaps: list[str]  # why it is no proof


def identity(connection: AdminConnection, user_id: UUID) -> Identity:
    found = rows(connection, GET_IDENTITY, user_id=user_id)
    if not found:
        return Identity(user_id)
    [user] = found
    return Identity(user["id"], user["email"], user["issuer"], user["subject"], user["token_generation"])


def delete(connection: AdminConnection, user: Identity) -> DeletedRows:
    """Deletes a large account in pieces, each in its own transaction, and the account itself in the last one. If it is
    interrupted, a second run continues. It holds locks on this user's rows alone, so other users never wait."""
    if user.token_generation is None:
        return DeletedRows(0, {})
    known = {"user_id": user.user_id, "token_generation": user.token_generation}
    pieces, last = 0, rows(connection, DELETE_TASKS, after_id=BEFORE_ALL_IDS, max_tasks=MAX_TASKS_PER_DELETE, **known)
    while last:
        pieces, after_id = pieces + 1, last[0]["id"]
        last = rows(connection, DELETE_TASKS, after_id=after_id, max_tasks=MAX_TASKS_PER_DELETE, **known)

    def delete_the_rest() -> dict[str, int]:
        counted = _count(connection, user)
        if not rows(connection, DELETE_USER, user_id=user.user_id, token_generation=user.token_generation):
            raise CommandError(CHANGED_MEANWHILE)
        return counted

    deleted = in_one_snapshot(connection, delete_the_rest)
    deleted["tasks"] += pieces * MAX_TASKS_PER_DELETE
    return DeletedRows(pieces + 1, deleted)


def prove(connection: AdminConnection, user: Identity) -> Proof:
    """Counts the user's rows in every table that has an owner. A table that is not declared, or not counted, is a gap:
    it might hold some."""
    declared, findings = tables.read(SQL)
    findings += tables.check(declared, Catalog.of(connection))
    counted = _count(connection, user)
    gaps = [f"{table} has {count} rows" for table, count in counted.items() if count]
    uncounted = sorted(declared.with_owner - set(counted))
    gaps += [f"sql/{COUNT_ROWS.name}.sql does not count {table}" for table in uncounted]
    without_users = {name: table.why for name, table in declared.tables.items() if name not in declared.with_owner}
    remembered_until = None
    if user.issuer is not None:
        [remembered] = rows(connection, FIND_DELETED_USER, issuer=user.issuer, subject=user.subject) or [{}]
        remembered_until = remembered.get("remembered_until")
    return Proof(counted, without_users, remembered_until, gaps + [str(each) for each in findings])


def _count(connection: AdminConnection, user: Identity) -> dict[str, int]:
    [counted] = rows(connection, COUNT_ROWS, user_id=user.user_id)
    return {column.removeprefix("in_"): count for column, count in counted.items()}


def report(user: Identity, deleted: DeletedRows, proof: Proof, settings: Settings) -> Iterator[str]:
    if deleted.pieces:
        yield f"deleted, in {deleted.pieces} {'piece' if deleted.pieces == 1 else 'pieces'}:"
        yield from (f"  {table}: {count}" for table, count in deleted.rows.items())
    else:
        yield "deleted: nothing, there is no such user"
    yield "rows of the user in each table of sql/tables.md:"
    yield from (f"  {table}: {count}" for table, count in proof.counted.items())
    if proof.remembered_until is not None:
        yield f"  {OF_OUTSIDE_USERS}: 1"
    for table, why in proof.without_users.items():
        if table != OF_OUTSIDE_USERS or proof.remembered_until is None:
            yield f"  {table}: belongs to no user: {why}"
    yield "what remains:"
    yield from (f"  {what}" for what in _remains(user, proof, settings))
    yield f"after a restore repeat it: python -m service user erase {user.user_id}"


def _remains(user: Identity, proof: Proof, settings: Settings) -> Iterator[str]:
    window = max(timedelta(seconds=settings.login_window), SIGN_UP_WINDOW)
    last_end = datetime.now(UTC) + window
    yield f"attempts: keyed digests of the email, the id and addresses, which end by {_utc(last_end)}"
    if proof.remembered_until is not None:
        until = _utc(proof.remembered_until)
        yield f"{OF_OUTSIDE_USERS}: issuer {user.issuer!r}, subject {user.subject!r}, until {until}"
    elif user.token_generation is None:
        yield f"{OF_OUTSIDE_USERS}: the issuer and subject of an outside user who was deleted within the last day"
    yield f"tokens: refused by every process within {settings.token_recheck:g} s (TOKEN_RECHECK)"
    yield "logs: the id in the lines of requests, addresses in refusals, for as long as you keep them"
    yield "backups and the server's write-ahead log: everything, for as long as you keep them"


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
