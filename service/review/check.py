"""Runs every rule on every statement."""

from pathlib import Path

from service.db import migrations
from service.db.admin_session import AdminConnection, CommandError, connected
from service.db.statements import SQL
from service.review import (
    batch_key,
    children,
    forbidden_objects,
    index_line,
    owner,
    prepared,
    reach,
    static_rules,
    tables,
    total_order,
)
from service.review.catalog import Catalog
from service.review.plans import PLANNER_SETTINGS, PlanError, PlanNotPermittedError, generic_plan
from service.review.reviewed import Reviewed, ReviewFinding, read_all
from service.review.tables import DeclaredTables

SETTINGS = PLANNER_SETTINGS | {"lock_timeout": "'5s'", "statement_timeout": "'30s'"}

# Run by `migrate`, as the owner of the tables. The role of the running service may not run all of them.
BY_THE_OWNER = "migrations/"


def check_texts(root: Path = SQL) -> list[ReviewFinding]:
    reviewed, findings = read_all(root)
    _, in_tables = tables.read(root)
    return sorted(findings + in_tables + [finding for each in reviewed for finding in static_rules.check(each)])


def check(url: str) -> list[ReviewFinding]:
    """Checks sql/ against a migrated database. Raises CommandError when a migration is missing."""
    behind = migrations.pending(url)
    if behind:
        raise CommandError(f"the schema is behind ({', '.join(behind)}); run: python -m service migrate")
    return check_tree(url, SQL)


def check_tree(url: str, root: Path) -> list[ReviewFinding]:
    """Prepares and plans every statement below `root`. Runs none of them and changes nothing."""
    reviewed, findings = read_all(root)
    declared, in_tables = tables.read(root)
    findings += in_tables
    with connected(url) as connection:
        connection.read_only = True
        with connection.transaction():
            for name, value in SETTINGS.items():
                connection.execute(f"SET LOCAL {name} = {value}".encode())
            catalog = Catalog.of(connection)
            findings += tables.check(declared, catalog)
            for each in reviewed:
                findings += static_rules.check(each)
                if static_rules.is_reviewable(each):
                    findings += _check(connection, each, catalog, declared)
    return sorted(findings)


def _check(
    connection: AdminConnection, reviewed: Reviewed, catalog: Catalog, declared: DeclaredTables
) -> list[ReviewFinding]:
    """A statement with a forbidden object is not planned, because planning runs some functions."""
    hidden = list(forbidden_objects.check(reviewed, catalog))
    found = [*hidden, *total_order.check(reviewed, catalog)]
    try:
        described = prepared.describe(reviewed, catalog)
        found += prepared.check(reviewed, described)
        if hidden:
            return found
        plan = generic_plan(connection, reviewed.statement)
    except prepared.NotPreparedError as refused:
        return [*found, refused.finding(reviewed)]
    except PlanError as error:
        if isinstance(error, PlanNotPermittedError) and reviewed.statement.name.startswith(BY_THE_OWNER):
            return found
        return [*found, reviewed.finding(str(error))]
    return [
        *found,
        *owner.check(reviewed, plan, catalog),
        *batch_key.check(reviewed, plan, described, catalog),
        *children.check(reviewed, plan, catalog, declared),
        *reach.check(reviewed, plan, catalog, declared),
        *index_line.check(reviewed, plan, catalog),
    ]
