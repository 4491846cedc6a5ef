"""Entity tags (RFC 9110): a task has the tag of its version, a list the weak tag of the owner's highest number."""

import re
from typing import NamedTuple

from sanic import HTTPResponse

from service.errors import Code, Problem
from service.http.request import Request

# A member of the list may be empty: RFC 9110, 5.6.1.2.
_TAGS = re.compile(r"""[\s,]*(?:(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*(?:,[\s,]*|$))+""", re.ASCII)
_TAG = re.compile(r"""(W/)?"([^"]*)\"""")
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")  # as versions are written; 18 digits always fit into a bigint


class Tags(NamedTuple):
    """The tags of a header."""

    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()


ANY = Tags()  # `*`; a header with tags has one at least


def task_tag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def list_tag(version: int) -> dict[str, str]:
    return {"ETag": f'W/"{version}"'}


def expected_versions(request: Request) -> list[str] | None:
    """The versions that If-Match lets a write happen to, or None for any. A weak tag is never one: RFC 9110, 13.1.1."""
    tags = _read(request, "If-Match")
    if tags is None or tags is ANY:
        return None
    return sorted(tag for tag in tags.strong if _VERSION.fullmatch(tag))


def creates(request: Request) -> bool:
    """Whether a PUT is to create its task, and not to change one: `If-None-Match: *`."""
    tags = _read(request, "If-None-Match")
    if tags is None:
        return False
    if tags is not ANY or "if-match" in request.headers:
        raise Problem(Code.INVALID_REQUEST, "If-None-Match of a PUT must be *, without an If-Match")
    return True


def wants_news(request: Request) -> bool:
    """Whether the client has an answer already, and asks for another one only."""
    return "if-none-match" in request.headers


def not_modified(request: Request, tag: dict[str, str]) -> HTTPResponse | None:
    """304 if the client has the answer with this tag."""
    if not wants_news(request):
        return None
    tags = _read(request, "If-None-Match")
    if tags is None or not (tags is ANY or tag["ETag"].strip('W/"') in tags.strong | tags.weak):
        return None
    return HTTPResponse(status=304, headers=tag)


def _read(request: Request, name: str) -> Tags | None:
    """None if the header is absent."""
    lines = request.headers.getall(name, [])
    if not lines:
        return None
    value = ", ".join(lines).encode(errors="surrogateescape").decode("latin-1")  # Sanic reads headers as UTF-8
    if value == "*":
        return ANY
    if not _TAGS.fullmatch(value):
        raise Problem(Code.INVALID_REQUEST, f"{name} must be * or entity tags")
    found = _TAG.findall(value)
    return Tags(frozenset(tag for weak, tag in found if not weak), frozenset(tag for weak, tag in found if weak))
