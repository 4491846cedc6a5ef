"""Cursors of changes: a place in the feed of a user's changes, as a text that is opaque to clients.

As in cursor.py, a digest without a key binds a cursor to its user, and each value in it is checked.
"""

import base64
import re
import struct
from hashlib import blake2b
from uuid import UUID

from service.domain.change_feed import Place

VERSION = 1
# Version, number, deletions, seconds, history, id.
_PLACE = struct.Struct(">Bqqq16s16s")
_DIGEST_BYTES = 12
_LENGTH = (_PLACE.size + _DIGEST_BYTES) * 4 // 3
_TEXT = re.compile(f"[A-Za-z0-9_-]{{{_LENGTH}}}")  # 69 bytes: no bit of the last character is left over


def read(text: str, user_id: UUID) -> Place | None:
    """None if it is no cursor of this user's changes."""
    if not _TEXT.fullmatch(text):
        return None
    data = base64.urlsafe_b64decode(text)
    place, digest = data[: _PLACE.size], data[_PLACE.size :]
    form, version, deletions, good_until, history, task_id = _PLACE.unpack(place)
    if form != VERSION or version < -1 or deletions < 0 or good_until < 0 or digest != _digest(place, user_id):
        return None
    return Place(version, UUID(bytes=task_id), deletions, UUID(bytes=history), good_until)


def write(place: Place, user_id: UUID) -> str:
    packed = _PLACE.pack(VERSION, place.version, place.deletions, place.good_until, place.history.bytes, place.id.bytes)
    return base64.urlsafe_b64encode(packed + _digest(packed, user_id)).decode()


def _digest(place: bytes, user_id: UUID) -> bytes:
    return blake2b(place + user_id.bytes, digest_size=_DIGEST_BYTES, person=b"changes").digest()
