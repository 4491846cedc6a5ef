"""What counts as an id."""

import re
from uuid import UUID

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_uuid(text: str) -> UUID | None:
    """The 36-character form, either case. UUID() itself takes braces, `urn:uuid:` and digits of other scripts."""
    return UUID(text) if _UUID.fullmatch(text) else None
