"""sql/plans/ holds the plan of each statement, so a change that alters a plan shows it in its diff."""

from service.db.statements import names, read
from service.review.golden_plans import PLANS, is_of_older_version, reduced
from tests.plans import indexes_of, plans_of


def test_the_plans_are_those_that_sql_plans_shows(seeded_url: str) -> None:
    files = [file for file in PLANS.rglob("*.txt") if not is_of_older_version(file)]
    shown = {file.relative_to(PLANS).with_suffix("").as_posix(): file.read_text() for file in files}

    assert {name: "\n".join([*reduced(plan), ""]) for name, plan in plans_of(seeded_url).items()} == shown


def test_a_header_names_the_indexes_that_its_statement_uses(seeded_url: str) -> None:
    plans = plans_of(seeded_url)

    assert {name: read(name).index for name in names()} == {name: indexes_of(plans[name]) for name in names()}
