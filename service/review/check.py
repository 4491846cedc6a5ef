"""The whole review: every statement, one rule after the other."""

from pathlib import Path

from service import migrations
from service.review import order, owner, prepared, texts
from service.review.catalog import Catalog
from service.review.plans import generic_plan
from service.review.reviewed import Finding, Reviewed, read_all
from service.session import CommandError, Connection, connected
from service.statements import SQL

# The owner rule is about conditions, not about costs: on a small table the server would read the whole of it first and
# look at the owner then, and a plan of bitmaps says the same in other words.
PLANNER = {"enable_seqscan": "off", "enable_bitmapscan": "off"}


def check_texts(root: Path = SQL) -> list[Finding]:
    reviewed, findings = read_all(root)
    return sorted(findings + [finding for each in reviewed for finding in texts.check(each)])


def check(url: str, root: Path = SQL) -> list[Finding]:
    """Reads, prepares and plans; runs nothing and changes nothing."""
    behind = migrations.pending(url)
    if behind:
        raise CommandError(f"the schema is behind ({', '.join(behind)}); run: python -m service migrate")
    reviewed, findings = read_all(root)
    with connected(url) as connection:
        connection.read_only = True
        with connection.transaction():
            for name, value in PLANNER.items():
                connection.execute(f"SET LOCAL {name} = {value}".encode())
            catalog = Catalog.of(connection)
            for each in reviewed:
                findings += list(texts.check(each)) or _check(connection, each, catalog)
    return sorted(findings)


def _check(connection: Connection, reviewed: Reviewed, catalog: Catalog) -> list[Finding]:
    """Only what can be prepared has a plan."""
    refused = list(prepared.check(reviewed, catalog))
    if any(finding.message.startswith("cannot be prepared") for finding in refused):
        return refused
    plan = generic_plan(connection, reviewed.statement)
    return [*refused, *owner.check(reviewed, plan, catalog), *order.check(reviewed, catalog)]
