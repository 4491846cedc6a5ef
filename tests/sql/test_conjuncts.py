"""conjuncts() splits the condition of a plan at its top-level ANDs."""

import pytest

from service.review.plans import conjuncts


@pytest.mark.parametrize(
    ("condition", "parts"),
    [
        ("(user_id = $1)", ["(user_id = $1)"]),
        ("((a = $1) AND (b = $2))", ["(a = $1)", "(b = $2)"]),
        ("((a = $1) AND (b = $2) AND (c = $3))", ["(a = $1)", "(b = $2)", "(c = $3)"]),
        ("((a = $1) OR ((b = $2) AND (c = $3)))", ["((a = $1) OR ((b = $2) AND (c = $3)))"]),
        ("((a = ') AND (b = $2'::text) AND (c = $3))", ["(a = ') AND (b = $2'::text)", "(c = $3)"]),
        ("((a = ' AND '::text) AND (c = $3))", ["(a = ' AND '::text)", "(c = $3)"]),
        ('(("x) AND (y".a = $1) AND (c = $3))', ['("x) AND (y".a = $1)', "(c = $3)"]),
        ("((a = '\"'::text) AND (c = $3))", ["(a = '\"'::text)", "(c = $3)"]),
        ("(a AND (NOT b))", ["a", "(NOT b)"]),
        ("()", ["()"]),
    ],
)
def test_a_condition_is_taken_apart_at_its_ands_alone(condition: str, parts: list[str]) -> None:
    assert conjuncts(condition) == parts
