"""The rules of a field: the first that fails is its message. Limits and names come from the contract that asks."""

import unicodedata
from collections.abc import Callable
from typing import Any

from email_validator import EmailNotValidError, validate_email
from pydantic import Field
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

MAX_EMAIL = 255
MIN_PASSWORD = 8
MAX_PASSWORD_BYTES = 72


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


# In the documentation a field that may be left out has no default. In a change, what is absent stays as it is; and
# generators take a default for a promise that the field is always there.
may_be_absent = Field(json_schema_extra=_drop_default)

# In the documentation a text with a character that str.strip() leaves. White space is spelled out, because JavaScript's
# \s lacks some characters of Python's (U+001C to U+001F, U+0085) and has one more (U+FEFF).
NOT_BLANK: JsonDict = {"pattern": r"[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"}

# The rule counts bytes. More characters than that are too many bytes in any case.
documented_password = Field(
    min_length=MIN_PASSWORD, max_length=MAX_PASSWORD_BYTES, description=f"At most {MAX_PASSWORD_BYTES} bytes in UTF-8"
)


def broken(message: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{message}", {"message": message})


def text(label: str, limit: int, *, empty: str) -> Callable[[object], str]:
    """Trimmed, and not empty: `empty` is what a null or a blank is told."""

    def check(value: object) -> str:
        trimmed = _storable(label, "" if value is None else value).strip()
        if not trimmed:
            raise broken(empty)
        return _limited(label, trimmed, limit)

    return check


def optional_text(label: str, limit: int) -> Callable[[object], str | None]:
    """Trimmed; null and blank are both none."""

    def check(value: object) -> str | None:
        if value is None:
            return None
        return _limited(label, _storable(label, value).strip(), limit) or None

    return check


def flag(name: str) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise broken(f"{name} must be true or false")
        return value

    return check


def new_email(value: object) -> str:
    """An address as it is stored."""
    email = _limited("Email", given_email(value).strip(), MAX_EMAIL)
    stored = normal_email(email)
    if stored is None:
        raise broken("Invalid email format")
    return stored


def given_email(value: object) -> str:
    """An address at login: any text that is one, because what is no address belongs to nobody."""
    email = _storable("Email", "" if value is None else value)
    if not email.strip():
        raise broken("Email is required")
    return email


def normal_email(email: str) -> str | None:
    """The one place where an address is brought into the form it is stored in and looked up by."""
    email = email.strip()
    if len(email) > MAX_EMAIL:  # none is so long, and to look at a megabyte of accents takes minutes
        return None
    try:
        address = validate_email(email, check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None
    # Lowering may leave letters apart that belong together; then the stored form would not find itself.
    return unicodedata.normalize("NFC", address)


def new_password(value: object, *, label: str = "Password") -> str:
    password = given_password(value, label=label)
    if len(password) < MIN_PASSWORD:
        raise broken(f"{label} must be at least {MIN_PASSWORD} characters")
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise broken(f"{label} must not exceed {MAX_PASSWORD_BYTES} bytes")
    return password


def given_password(value: object, *, label: str = "Password") -> str:
    """Never trimmed: blanks are characters like others."""
    password = _storable(label, "" if value is None else value)
    if not password:
        raise broken(f"{label} is required")
    return password


def _storable(label: str, value: object) -> str:
    if not isinstance(value, str):
        raise broken(f"{label} must be a string")
    if "\0" in value:
        raise broken(f"{label} contains a character that cannot be stored")
    return value


def _limited(label: str, value: str, limit: int) -> str:
    if len(value) > limit:
        raise broken(f"{label} must not exceed {limit} characters")
    return value
