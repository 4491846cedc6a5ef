"""The rules of each kind of field. The first rule that fails gives the error message.

Labels and some limits are arguments, because they differ between the contracts.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import date
from importlib.resources import files
from typing import Any, NamedTuple

from email_validator import EmailNotValidError, validate_email
from pydantic import Field, ValidationInfo
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

MAX_EMAIL_CHARACTERS = 255
MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_BYTES = 72
FIRST_DATE, LAST_DATE = date(1900, 1, 1), date(2999, 12, 31)
MAX_TAGS = 20
MAX_TAG_CHARACTERS = 50
NOT_KNOWN = "is not known here"  # of a field under strict handling
UNKNOWN_TIME_ZONE = "Time zone must be a name like Europe/Berlin"


class RuleBetweenFields(NamedTuple):
    """A CHECK of `tasks` over two columns: one needs the other. `field` is the one that breaks it: in `details`, and in
    the `refusal` of tasks/write_batch, which judges each operation."""

    constraint: str
    field: str
    needs: str
    message: str


RULES_BETWEEN_FIELDS = (
    RuleBetweenFields("tasks_due_time_needs_due_on", "due_time", "due_on", "Due time needs a due date"),
    RuleBetweenFields("tasks_time_zone_needs_due_time", "time_zone", "due_time", "Time zone needs a due time"),
)

# The names of the IANA database as the tzdata package has them: the same on every machine, and none of the POSIX rules
# and abbreviations that PostgreSQL takes as well.
TIME_ZONES = frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())

# ASCII digits: \\d and date.fromisoformat() take other forms too.
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
TIME_PATTERN = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
_TIME = re.compile(TIME_PATTERN)


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


# Removes the default of an optional field from the OpenAPI document. In a change an absent field stays unchanged, so a
# default would be wrong; and code generators read a default as a promise that the field is always present.
may_be_absent = Field(json_schema_extra=_drop_default)

# The OpenAPI pattern for a text with a character that str.strip() keeps. White space is listed, because JavaScript's \s
# lacks some characters that Python strips (U+001C to U+001F, U+0085) and has one more (U+FEFF).
NOT_BLANK: JsonDict = {"pattern": r"[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"}

# The rule counts bytes, while max_length counts characters: more than 72 characters are too many bytes in any case.
documented_password = Field(
    min_length=MIN_PASSWORD_CHARACTERS,
    max_length=MAX_PASSWORD_BYTES,
    description=f"At most {MAX_PASSWORD_BYTES} bytes in UTF-8",
)


def rule_error(message: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{message}", {"message": message})


def text(label: str, limit: int, *, empty: str) -> Callable[[object], str]:
    """A required text, trimmed. `empty` is the message for null and blank values."""

    def check(value: object) -> str:
        trimmed = _storable(label, "" if value is None else value).strip()
        if not trimmed:
            raise rule_error(empty)
        return _limited(label, trimmed, limit)

    return check


def optional_text(label: str, limit: int) -> Callable[[object], str | None]:
    """An optional text, trimmed. Null and blank both become None."""

    def check(value: object) -> str | None:
        if value is None:
            return None
        return _limited(label, _storable(label, value).strip(), limit) or None

    return check


def flag(name: str) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise rule_error(f"{name} must be true or false")
        return value

    return check


def due_date(value: object) -> str | None:
    if value is None or (isinstance(value, str) and is_date(value)):
        return value
    raise rule_error("Due date must be a date like 2026-12-24")


def due_time(value: object) -> str | None:
    if value is None or (isinstance(value, str) and _TIME.fullmatch(value)):
        return value
    raise rule_error("Due time must be a time like 09:30")


def time_zone(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value in TIME_ZONES):
        return value
    raise rule_error(UNKNOWN_TIME_ZONE)


def one_of(label: str, names: Sequence[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise rule_error(f"{label} must be one of {', '.join(names)}")

    return check


def tags(value: object) -> list[str]:
    """A list of tags, each trimmed. The database drops those that differ from an earlier one in case alone."""
    if not isinstance(value, list) or len(value) > MAX_TAGS or not all(isinstance(tag, str) for tag in value):
        raise rule_error(f"Tags must be a list of at most {MAX_TAGS} texts")
    if any("\0" in tag for tag in value):
        raise rule_error("A tag contains a character that cannot be stored")
    trimmed = [tag.strip() for tag in value]
    if not all(1 <= len(tag) <= MAX_TAG_CHARACTERS for tag in trimmed):
        raise rule_error(f"A tag must have 1 to {MAX_TAG_CHARACTERS} characters")
    return trimmed


def new_email(value: object) -> str:
    """The email of a sign-up, in the form in which it is stored."""
    email = _limited("Email", given_email(value).strip(), MAX_EMAIL_CHARACTERS)
    stored = normal_email(email)
    if stored is None:
        raise rule_error("Invalid email format")
    return stored


def given_email(value: object) -> str:
    """The email of a login: any text that is not blank. An invalid address fails later, like an unknown one."""
    email = _storable("Email", "" if value is None else value)
    if not email.strip():
        raise rule_error("Email is required")
    return email


def normal_email(email: str) -> str | None:
    """The form in which an email is stored and looked up; None if it is invalid. No other code does this."""
    email = email.strip()
    if len(email) > MAX_EMAIL_CHARACTERS:  # no account has it, and normalising a megabyte takes minutes
        return None
    try:
        address = validate_email(email, check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None
    # lower() may undo the composition of characters. Without NFC the stored form would not normalise to itself.
    return unicodedata.normalize("NFC", address)


def new_password(value: object, *, label: str = "Password") -> str:
    password = given_password(value, label=label)
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise rule_error(f"{label} must be at least {MIN_PASSWORD_CHARACTERS} characters")
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise rule_error(f"{label} must not exceed {MAX_PASSWORD_BYTES} bytes")
    return password


def given_password(value: object, *, label: str = "Password") -> str:
    """The password of a login. Never trimmed: blanks count as characters."""
    password = _storable(label, "" if value is None else value)
    if not password:
        raise rule_error(f"{label} is required")
    return password


def has_what_it_needs(value: Any, field: ValidationInfo) -> Any:
    """A validator of a new task's fields. Changes are left to the database, which knows the task's other fields. If the
    field that is needed is invalid, that is its error, and this one has none."""
    for rule in RULES_BETWEEN_FIELDS:
        if rule.field == field.field_name and value is not None and field.data.get(rule.needs, ...) is None:
            raise rule_error(rule.message)
    return value


def is_date(text: str) -> bool:
    """Whether a day of the calendar in the form 2026-12-24 lies between FIRST_DATE and LAST_DATE."""
    if not _DATE.fullmatch(text):
        return False
    try:
        return FIRST_DATE <= date.fromisoformat(text) <= LAST_DATE
    except ValueError:  # 30 February
        return False


def _storable(label: str, value: object) -> str:
    if not isinstance(value, str):
        raise rule_error(f"{label} must be a string")
    if "\0" in value:
        raise rule_error(f"{label} contains a character that cannot be stored")
    return value


def _limited(label: str, value: str, limit: int) -> str:
    if len(value) > limit:
        raise rule_error(f"{label} must not exceed {limit} characters")
    return value
