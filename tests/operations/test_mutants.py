"""`make mutants`: the faults that it plants, and the tests that it runs for each file."""

import pytest

from tests.mutants.faults import faults
from tests.mutants.suites import SUITES, suite_of
from tests.support import ROOT


@pytest.mark.parametrize(
    ("source", "planted"),
    [
        ("f(a < b)", {"f((a <= b))", "pass"}),
        ("x = a and b or c", {"x = ((a and b) and c)", "x = (a and b)", "x = (c)", "x = (a or b) or c",
                              "x = (b) or c", "x = (a) or c"}),
        ("x = not a", {"x = (a)"}),
        ("x = 7", {"x = (8)", "x = (6)"}),
        ("x = True", {"x = (False)"}),
        ("x = 'ab'", {"x = ('a')"}),
        ("x = a + b", {"x = (a - b)"}),
        ("x = [a for a in b if a]", {"x = ([a for a in b])"}),
        ("x = a if b else c", {"x = (a)", "x = (c)"}),
        ("def f():\n    return a", {"def f():\n    return None"}),
        ("if a:\n    b.c = d", {"if False:\n    b.c = d", "if (not (a)):\n    b.c = d", "if a:\n    pass"}),
        ("x = max(a, b)", {"x = (min)(a, b)"}),
        ("x = f('é', not a)", {"x = f((''), not a)", "x = f('é', (a))"}),
    ],
)  # fmt: skip
def test_each_fault_of_a_source_is_planted_once(source: str, planted: set[str]) -> None:
    found = [fault.planted(source.encode()).decode() for fault in faults(source.encode())]

    assert sorted(found) == sorted(planted)


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "TIMEOUT = 5.0",
        "MAX_BYTES = 256 * 1024",
        "Clock = Callable[[], float]",
        "_log = logging.getLogger('a')",
        "def f(a: 'A | None' = None) -> list[int]:\n    _log.warning('%d', 1)",
        "class A:\n    __slots__ = ('a', 'b')",
        "class A:\n    def __init__(self, a):\n        self.a = a",
    ],
)
def test_a_source_without_behaviour_gets_no_fault(source: str) -> None:
    assert faults(source.encode()) == []


def test_every_row_names_files_that_exist() -> None:
    for pattern in SUITES:
        assert list(ROOT.glob(pattern)), pattern
        assert [test for test in suite_of(pattern) if not (ROOT / test).is_file()] == []
