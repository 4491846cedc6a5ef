"""The rules of each kind of query parameter. A parameter arrives as text; the error messages start with its name."""

import re
from collections.abc import Callable, Sequence
from datetime import date

from service.field_rules import rule_error

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_DATE = re.compile(r"(19|2[0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}")
_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")  # lone surrogates: query_string.py makes them of bytes that are no UTF-8


def number(name: str, least: int, most: int) -> Callable[[str], int]:
    def check(value: str) -> int:
        if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
            raise rule_error(f"{name} must be a number from {least} to {most}")
        return int(value)

    return check


def choice(name: str, choices: Sequence[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in choices:
            raise rule_error(f"{name} must be one of {', '.join(choices)}")
        return value

    return check


def true_or_false(name: str) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        if value not in {"true", "false"}:
            raise rule_error(f"{name} must be true or false")
        return value == "true"

    return check


def calendar_date(name: str) -> Callable[[str], date]:
    """The years of due_on: 1900 to 2999."""

    def check(value: str) -> date:
        try:
            found = date.fromisoformat(value) if _DATE.fullmatch(value) else None
        except ValueError:
            found = None
        if found is None:
            raise rule_error(f"{name} must be a date like 2026-12-24")
        return found

    return check


def text(name: str, most: int) -> Callable[[str], str]:
    """Not trimmed: a blank may be what is looked for."""

    def check(value: str) -> str:
        if _UNSTORABLE.search(value):
            raise rule_error(f"{name} contains a character that cannot be stored")
        if not 1 <= len(value) <= most:
            raise rule_error(f"{name} must have 1 to {most} characters")
        return value

    return check


def trimmed_texts(name: str, most: int, most_characters: int) -> Callable[[list[str]], list[str]]:
    """Of a parameter that may be given several times. One that is given twice counts once."""
    check_text = text(name, most_characters)

    def check(values: list[str]) -> list[str]:
        if len(values) > most:
            raise rule_error(f"{name} must be given at most {most} times")
        return list(dict.fromkeys(check_text(value.strip()) for value in values))

    return check
