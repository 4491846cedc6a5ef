"""The whole review: every statement, one rule after the other."""

from pathlib import Path

from service.db import migrations
from service.db.admin_session import AdminConnection, CommandError, connected
from service.db.statements import SQL
from service.review import forbidden_objects, owner, prepared, static_rules, total_order
from service.review.catalog import Catalog
from service.review.plans import NotPermittedError, PlanError, generic_plan
from service.review.reviewed import Finding, Reviewed, read_all

# The owner rule is about conditions, not about costs: on a small table the server would read the whole of it first and
# look at the owner then, and a plan of bitmaps says the same in other words.
SETTINGS = {"enable_seqscan": "off", "enable_bitmapscan": "off", "lock_timeout": "'5s'", "statement_timeout": "'30s'"}

# Run by `migrate`, as the owner of the tables. The role of the running service may not run all of them.
BY_THE_OWNER = "migrations/"


def check_texts(root: Path = SQL) -> list[Finding]:
    reviewed, findings = read_all(root)
    return sorted(findings + [finding for each in reviewed for finding in static_rules.check(each)])


def check(url: str) -> list[Finding]:
    """Checks sql/ against a migrated database."""
    behind = migrations.pending(url)
    if behind:
        raise CommandError(f"the schema is behind ({', '.join(behind)}); run: python -m service migrate")
    return check_tree(url, SQL)


def check_tree(url: str, root: Path) -> list[Finding]:
    """Prepares and plans every statement below `root`. Runs none of them and changes nothing."""
    reviewed, findings = read_all(root)
    with connected(url) as connection:
        connection.read_only = True
        with connection.transaction():
            for name, value in SETTINGS.items():
                connection.execute(f"SET LOCAL {name} = {value}".encode())
            catalog = Catalog.of(connection)
            for each in reviewed:
                findings += static_rules.check(each)
                if static_rules.is_reviewable(each):
                    findings += _check(connection, each, catalog)
    return sorted(findings)


def _check(connection: AdminConnection, reviewed: Reviewed, catalog: Catalog) -> list[Finding]:
    """Nothing is planned that calls what we do not know: planning runs some functions."""
    hidden = list(forbidden_objects.check(reviewed, catalog))
    found = [*hidden, *total_order.check(reviewed, catalog)]
    try:
        found += prepared.check(reviewed, catalog)
        if hidden:
            return found
        plan = generic_plan(connection, reviewed.statement)
    except prepared.NotPreparedError as refused:
        return [*found, refused.finding(reviewed)]
    except PlanError as error:
        if isinstance(error, NotPermittedError) and reviewed.statement.name.startswith(BY_THE_OWNER):
            return found
        return [*found, reviewed.finding(str(error))]
    return [*found, *owner.check(reviewed, plan, catalog)]
