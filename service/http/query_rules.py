"""The rules of each kind of query parameter. Parameters are texts; the error messages start with their names."""

import re
from collections.abc import Callable

from service.field_rules import is_date, rule_error

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")  # lone surrogates: query_string.py makes them of bytes that are no UTF-8


def number(name: str, least: int, most: int) -> Callable[[str], int]:
    def check(value: str) -> int:
        if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
            raise rule_error(f"{name} must be a number from {least} to {most}")
        return int(value)

    return check


def true_or_false(name: str) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        if value not in {"true", "false"}:
            raise rule_error(f"{name} must be true or false")
        return value == "true"

    return check


def calendar_date(name: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not is_date(value):
            raise rule_error(f"{name} must be a date like 2026-12-24")
        return value

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
