"""Ids and times in the form of both contracts: UUIDs of 36 characters, ISO 8601 in UTC with six decimals."""

import re
from datetime import datetime

# asyncpg's subclass of uuid.UUID: it parses in a seventh of the time, and is the type of the ids in rows.
from asyncpg.pgproto.pgproto import UUID

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_uuid(text: str) -> UUID | None:
    """Accepts only the 36-character form, in either case. UUID() also accepts braces, `urn:uuid:`, non-ASCII digits."""
    return UUID(text) if _UUID.fullmatch(text) else None


def time_from_postgresql(text: str) -> str:
    """Converts PostgreSQL's text, such as 2026-01-31 12:00:00.123456+00, which may have fewer decimals, or none."""
    if len(text) == 29:  # all six decimals, as nine of ten have; this path takes half the time
        return f"{text[:10]}T{text[11:26]}Z"
    return f"{text[:10]}T{text[11:19]}.{text[20:-3]:0<6}Z"


def time_text(moment: datetime) -> str:
    """Formats a datetime in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
