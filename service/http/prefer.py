"""Parser for the Prefer header of a request (RFC 7240)."""

import re
from collections.abc import Iterable

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # noqa: S105 - of the grammar
_WORD = rf'(?:{_TOKEN}|"(?:[^"\\]|\\.)*+")'
# One member of the list with its parameters and the comma behind it. The quantifiers are possessive, so that no header
# makes the search go back.
_PREFERENCE = re.compile(
    rf"[ \t,]*+(?P<name>{_TOKEN})[ \t]*+(?:=[ \t]*+(?P<value>{_WORD})?+[ \t]*+)?+"
    rf"(?:;[ \t]*+(?:{_TOKEN}[ \t]*+(?:=[ \t]*+(?:{_WORD})?+[ \t]*+)?+)?+)*+(?:,|\Z)"
)


def preference(lines: Iterable[str], name: str) -> str | None:
    """The value of a preference in lower case, "" if it has none, None if it is absent. The first of its name counts.
    A line is ignored from where it breaks the grammar."""
    for line in lines:
        position = 0
        while found := _PREFERENCE.match(line, position):
            if found["name"].lower() == name:
                return _unquoted(found["value"] or "").lower()
            position = found.end()
    return None


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word
