"""Times, the way both contracts write them: ISO 8601 in UTC, with six digits of a second and Z."""

from datetime import datetime


def from_postgresql(text: str) -> str:
    """Of 2026-01-31 12:00:00.123456+00, or with fewer digits, or none."""
    if len(text) == 29:  # all six, which nine of ten have: half the price
        return f"{text[:10]}T{text[11:26]}Z"
    return f"{text[:10]}T{text[11:19]}.{text[20:-3]:0<6}Z"


def of(moment: datetime) -> str:
    """A moment of UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
