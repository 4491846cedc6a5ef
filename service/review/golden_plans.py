"""The golden plans: the plan of each statement on a database of a realistic size, without what two runs differ in."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.db.statements import SQL, StatementError
from service.review.plans import Plan

PLANS = SQL / "plans"

SHOWN = (
    "Index Cond", "Recheck Cond", "Filter", "Join Filter", "Hash Cond", "Merge Cond", "One-Time Filter",
    "Sort Key", "Presorted Key", "Group Key", "Conflict Resolution", "Conflict Arbiter Indexes", "Conflict Filter",
)  # fmt: skip

# A line of a reduced plan that names a table: Insert on tasks, Index Scan using tasks_pkey on tasks as tasks_1.
_ON_TABLE = re.compile(r"(Insert|Update|Delete|Scan)\b.* on (\w+)")
_UPDATES_TOO = "Conflict Resolution: UPDATE"  # below the Insert


def golden(name: str, version: int | None = None) -> list[str]:
    """The lines of a statement's golden plan. Where an older version of PostgreSQL plans the same rows in another way,
    a second file has its plan: create_task.15.txt."""
    for file in (PLANS / f"{name}.{version}.txt", PLANS / f"{name}.txt"):
        if file.is_file():
            return file.read_text(encoding="utf-8").splitlines()
    raise StatementError(f"sql/plans/{name}.txt", 1, "is missing")


def is_of_older_version(file: Path) -> bool:
    return "." in file.stem


def reduced(plan: Plan, depth: int = 0) -> Iterator[str]:
    """One line for each node and each of its conditions, without costs, widths and row counts."""
    words = [plan.get("Parent Relationship", "") if "Subplan Name" in plan else ""]
    words.append(plan.get("Subplan Name", "").partition(" (returns ")[0])  # up to version 16: InitPlan 1 (returns $0)
    words += [plan.get("Join Type", "") if plan.get("Join Type") != "Inner" else "", plan.get("Strategy", "")]
    words.append(plan.get("Operation", plan["Node Type"]))
    if plan.get("Scan Direction") == "Backward":
        words.append("backward")
    if "Index Name" in plan:
        words.append(f"using {plan['Index Name']}")
    if "Relation Name" in plan:
        words.append(f"on {plan['Relation Name']}")
    if plan.get("Alias", plan.get("Relation Name")) != plan.get("Relation Name"):
        words.append(f"as {plan['Alias']}")
    indent = "  " * depth
    yield indent + " ".join(word for word in words if word)
    for key in SHOWN:
        if key in plan:
            value = ", ".join(plan[key]) if isinstance(plan[key], list) else plan[key]
            yield f"{indent}  {key}: {value}"
    for child in plan.get("Plans", []):
        yield from reduced(child, depth + 1)


def needed_privileges(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The privileges, each with its table, without which the server runs and explains no statement with this plan."""
    table = ""
    for line in lines:
        if match := _ON_TABLE.search(line):
            verb, table = match.groups()
            yield "SELECT", table  # also of an INSERT, for its RETURNING
            if verb != "Scan":
                yield verb.upper(), table
        elif line.strip() == _UPDATES_TOO:
            yield "UPDATE", table
