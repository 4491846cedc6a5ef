"""A finding of the doctor: one line with the fault, its effect and the cure."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

EXIT_CODES = {"note": 0, "warning": 1, "error": 2}


class Finding(NamedTuple):
    """A note is for reading: something that was not looked at, or that is right in some setups only."""

    severity: Literal["error", "warning", "note"]
    check: str  # area/name, for programs; never changes its meaning
    wrong: str
    effect: str
    cure: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.check}: {self.wrong}; {self.effect}; {self.cure}"


class Diagnosis(NamedTuple):
    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        return max((EXIT_CODES[each.severity] for each in self.findings), default=0)

    def lines(self) -> Iterator[str]:
        yield from (str(each) for each in self.findings)
        counts = self._counts()
        yield ", ".join(f"{name}: {count}" for name, count in counts.items())

    def as_dict(self) -> dict[str, Any]:
        return {**self._counts(), "findings": [each._asdict() for each in self.findings]}

    def _counts(self) -> dict[str, int]:
        counts = Counter(each.severity for each in self.findings)
        return {"errors": counts["error"], "warnings": counts["warning"], "notes": counts["note"]}


def error(check: str, wrong: str, effect: str, cure: str) -> Finding:
    return Finding("error", check, wrong, effect, cure)


def warning(check: str, wrong: str, effect: str, cure: str) -> Finding:
    return Finding("warning", check, wrong, effect, cure)


def note(check: str, wrong: str, effect: str, cure: str) -> Finding:
    return Finding("note", check, wrong, effect, cure)
