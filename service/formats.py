"""Ids and times as both contracts write them: UUIDs of 36 characters, ISO 8601 in UTC with six digits of a second."""

import re
from datetime import datetime

# The driver's own, which is a uuid.UUID as well: read at a seventh of the price, and compared with those of the rows.
from asyncpg.pgproto.pgproto import UUID

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_uuid(text: str) -> UUID | None:
    """The 36-character form, either case. UUID() itself takes braces, `urn:uuid:` and digits of other scripts."""
    return UUID(text) if _UUID.fullmatch(text) else None


def time_from_postgresql(text: str) -> str:
    """From the server's text, 2026-01-31 12:00:00.123456+00, which may have fewer digits, or none."""
    if len(text) == 29:  # all six digits, as nine of ten have: half the price
        return f"{text[:10]}T{text[11:26]}Z"
    return f"{text[:10]}T{text[11:19]}.{text[20:-3]:0<6}Z"


def time_text(moment: datetime) -> str:
    """From a datetime in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
