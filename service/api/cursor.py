"""Cursors: the place in a list where the next page begins, as a text that is opaque to clients.

A cursor is valid for one user and one list (order and filters), which its digest covers. The digest has no key: a
client that computes a cursor itself can only choose a position in its own list. Each value in a cursor is checked, so
that the database never gets a value that no task can have.
"""

import base64
import re
import struct
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

import orjson

from service.domain.task_lists import ListWanted, Position
from service.domain.tasks import PRIORITIES

MAX_CURSOR_CHARACTERS = 300  # of the contract

VERSION = 1
# Version, order, microseconds of created_at and updated_at, due_on as a day, due_time in minutes, priority, id.
_PLACE = struct.Struct(">BBqqihH16s")
_DIGEST_BYTES = 12
_LENGTH = (_PLACE.size + _DIGEST_BYTES) * 4 // 3
_TEXT = re.compile(f"[A-Za-z0-9_-]{{{_LENGTH}}}")  # 54 bytes: no bit of the last character is left over

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_DAY, _NO_MINUTE = 0, 24 * 60


class Cursor(NamedTuple):
    sort: int
    place: bytes
    digest: bytes
    position: Position

    @classmethod
    def read(cls, text: str) -> "Cursor | None":
        """None if it cannot be a cursor of any list."""
        if not _TEXT.fullmatch(text):
            return None
        data = base64.urlsafe_b64decode(text)
        place, digest = data[: _PLACE.size], data[_PLACE.size :]
        try:
            return cls(place[1], place, digest, _position(place))
        except (ValueError, OverflowError):
            return None

    def belongs_to(self, user_id: UUID, listed: ListWanted) -> bool:
        return self.sort == listed.sort.number and self.digest == _digest(self.place, user_id, listed)


def write(position: Position, user_id: UUID, listed: ListWanted) -> str:
    place = _PLACE.pack(
        VERSION,
        listed.sort.number,
        _microseconds(position.created_at),
        _microseconds(position.updated_at),
        _NO_DAY if position.due_on is None else date.fromisoformat(position.due_on).toordinal(),
        _NO_MINUTE if position.due_time is None else int(position.due_time[:2]) * 60 + int(position.due_time[3:5]),
        position.priority,
        position.id.bytes,
    )
    return base64.urlsafe_b64encode(place + _digest(place, user_id, listed)).decode()


def _position(place: bytes) -> Position:
    """ValueError or OverflowError for a value that no task has."""
    version, _, created_at, updated_at, day, minute, priority, task_id = _PLACE.unpack(place)
    if version != VERSION or not 0 <= minute <= _NO_MINUTE or priority >= len(PRIORITIES):
        raise ValueError
    return Position(
        created_at=_time(created_at),
        updated_at=_time(updated_at),
        due_on=None if day == _NO_DAY else date.fromordinal(day).isoformat(),
        due_time=None if minute == _NO_MINUTE else f"{minute // 60:02}:{minute % 60:02}",
        priority=priority,
        id=UUID(bytes=task_id),
    )


def _digest(place: bytes, user_id: UUID, listed: ListWanted) -> bytes:
    """Filters that are not given are left out, so that one of a later release changes no cursor of this one."""
    filters = {name: value for name, value in sorted(listed.filters._asdict().items()) if value is not None}
    return blake2b(place + user_id.bytes + orjson.dumps(filters), digest_size=_DIGEST_BYTES).digest()


def _microseconds(postgresql_text: str) -> int:
    return (datetime.fromisoformat(postgresql_text) - _EPOCH) // _MICROSECOND


def _time(microseconds: int) -> str:
    return (_EPOCH + microseconds * _MICROSECOND).isoformat()
