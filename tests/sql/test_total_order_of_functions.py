"""The order of rows that come from a function or a sub-select: total only if nothing is left to chance."""

import pytest

from service.review.check import check_tree
from service.review.total_order import NOT_TOTAL
from tests.sql.faults import Plant

STATEMENT = """\
-- name: new_statement :many
-- A statement of the test.
-- $1 user_id   uuid
-- $2 task_ids  uuid[]
-- -> id       uuid
-- -> user_id  uuid
-- index: tasks_pkey
-- buffers: 4
SELECT /* tasks/new_statement */ found.id, found.user_id
FROM
    unnest($2::uuid[]) WITH ORDINALITY AS wanted (id),
    LATERAL (
        SELECT tasks.id, tasks.user_id
        FROM tasks
        WHERE tasks.user_id = $1 AND tasks.id = wanted.id ORDER BY tasks.id LIMIT 1
    ) AS found
ORDER BY wanted.ordinality
LIMIT 9
"""
ONE_ROW = "ORDER BY tasks.id LIMIT 1"
ORDER = "ORDER BY wanted.ordinality"


@pytest.mark.parametrize("order", [ORDER, "ORDER BY ordinality", "ORDER BY wanted.ordinality DESC, found.id"])
def test_numbered_rows_of_a_function_with_one_row_each_are_in_a_total_order(
    small_url: str, plant: Plant, order: str
) -> None:
    assert order_findings(small_url, plant, (ORDER, order)) == []


@pytest.mark.parametrize(
    "changes",
    [
        [(ORDER, "ORDER BY wanted.id")],
        [(ORDER, "ORDER BY found.id")],
        # The values of the array, under the name of their numbers.
        [("AS wanted (id)", "AS wanted (ordinality, number)"), ("= wanted.id", "= wanted.ordinality")],
        [(" WITH ORDINALITY AS wanted (id)", " AS wanted (ordinality)"), ("= wanted.id", "= wanted.ordinality")],
        [(ONE_ROW, "ORDER BY tasks.id LIMIT 2")],
        [(ONE_ROW, "ORDER BY tasks.id FETCH FIRST 1 ROWS WITH TIES")],
        [(ONE_ROW, "")],
        [(ONE_ROW, "ORDER BY tasks.id LIMIT cardinality($2)")],
        # A second function, whose numbers are not in the order.
        [("\n    LATERAL", "\n    unnest($2::uuid[]) WITH ORDINALITY AS other (id),\n    LATERAL")],
    ],
    ids=str,
)
def test_rows_that_could_change_places_are_a_finding(
    small_url: str, plant: Plant, changes: list[tuple[str, str]]
) -> None:
    assert order_findings(small_url, plant, *changes) == [NOT_TOTAL]


def order_findings(url: str, plant: Plant, *changes: tuple[str, str]) -> list[str]:
    text = STATEMENT
    for good, bad in changes:
        assert good in text
        text = text.replace(good, bad)
    found = [finding.message for finding in check_tree(url, plant("tasks/new_statement", new=text))]
    assert [message for message in found if "cannot be prepared" in message] == []
    return [message for message in found if message == NOT_TOTAL]
