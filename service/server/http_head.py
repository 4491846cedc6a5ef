"""Parser for the head of an HTTP/1 request, strictly by RFC 9112.

Two servers that disagree on where a request ends let a client hide one request inside another (request smuggling), so
nothing is corrected or guessed: a head that breaks a rule is refused, and its connection ends.
"""

import re
from functools import lru_cache
from typing import Literal, TypeAlias

from sanic.compat import Header
from sanic.exceptions import BadRequest, SanicException

MAX_FIELDS = 100
MAX_LENGTH_DIGITS = 18  # of a Content-Length

CHUNKED: Literal["chunked"] = "chunked"
Body: TypeAlias = int | Literal["chunked"] | None  # a length in bytes, chunks, or no body

# Possessive quantifiers (`++`): a head that does not match is never tried a second way.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # noqa: S105 - of HTTP's grammar
_ORIGIN_FORM = r"/[!\"$-~]*+"  # visible ASCII without `#`; browsers send `|` and others as they are
_ABSOLUTE_FORM = r"(?i:https?)://[\w\-.~!$&'()*+,;=:%\[\]]++/[!\"$-~]*+"
_REQUEST_LINE = re.compile(rf"({TOKEN}) ({_ORIGIN_FORM}|{_ABSOLUTE_FORM}|\*) HTTP/(1\.[01])(?=\r\n|\Z)", re.ASCII)
_FIELD_LINE = re.compile(rf"\r\n({TOKEN}):[ \t]*+([^\r]*+)(?<![ \t])")
_PADDED_FIELD_LINE = re.compile(rf"\r\n({TOKEN}):[ \t]*+([^\r]*+)")  # white space after the value is no part of it
_NO_CONTROLS = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_NAME = r"[\w\-.~!$&'()*+,;=]*+"
_HOST = re.compile(rf"(?:{_NAME}(?:%[0-9A-Fa-f]{{2}}{_NAME})*+|\[[\w.:~!$&'()*+,;=\-]++\])(?::[0-9]*+)?", re.ASCII)
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n")

# The answer to a refused request depends on these of its fields.
_ANSWER_FIELDS = ("origin", "x-request-id")


class HeadTooLarge(SanicException):
    status_code = 431
    quiet = True


class TargetTooLong(SanicException):
    status_code = 414
    quiet = True


Fields: TypeAlias = list[tuple[str, str]]


def parse_head(head: bytes) -> tuple[str, bytes, str, Fields]:
    """Method, target, version ("1.0" or "1.1") and fields, of a head without the empty line that ends it."""
    text = head.decode(errors="surrogateescape")
    line = _REQUEST_LINE.match(text)
    if line is None:
        raise BadRequest("bad request line")
    method, target, version = line.groups()
    if target == "*" and method != "OPTIONS":  # RFC 9112, 3.2.4
        raise BadRequest("bad request line")
    fields = parse_fields(head, text, line.end())
    if len(fields) > MAX_FIELDS:
        raise HeadTooLarge("too many header fields")
    return method, target.encode("ascii"), version, fields


def parse_fields(raw: bytes, text: str, start: int = 0) -> Fields:
    """Field lines, each after a CRLF. Without all that may stand in a line only the line ends are left, and each match
    takes one of them: then no line breaks a rule, and no CR or LF stands alone."""
    line_ends = raw.translate(None, _NO_CONTROLS)
    lines = len(line_ends) // 2
    fields: Fields = _FIELD_LINE.findall(text, start)
    if len(fields) != lines:
        fields = [(name, value.rstrip(" \t")) for name, value in _PADDED_FIELD_LINE.findall(text, start)]
    if len(fields) != lines or line_ends != b"\r\n" * lines:
        raise BadRequest("bad field line")
    return fields


def refuse_control_characters(buffer: bytearray, start: int) -> None:
    """For a head or a trailer section that is still arriving: a bare LF would never end it, nor a TLS handshake."""
    if _CONTROL.search(buffer, start):
        raise BadRequest("control character")


def check_host(version: str, headers: Header) -> None:
    hosts = headers.getall("host", ())
    if len(hosts) != 1:
        if hosts or version == "1.1":
            raise BadRequest("no Host, or several")
    elif not _is_host(hosts[0]):
        raise BadRequest("bad Host")


@lru_cache(maxsize=256)  # nearly all requests bring the same one
def _is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None


def keeps_alive(version: str, headers: Header) -> bool:
    if "connection" not in headers:
        return version == "1.1"
    options = {each.strip(" \t").lower() for each in ",".join(headers.getall("connection")).split(",")}
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


def body_of(version: str, headers: Header) -> Body:
    """RFC 9112 section 6.3. Where that lets a server choose between repair and refusal, the request is refused."""
    if "transfer-encoding" in headers:
        codings = headers.getall("transfer-encoding")
        if "content-length" in headers or version == "1.0" or len(codings) > 1 or codings[0].lower() != "chunked":
            raise BadRequest("bad Transfer-Encoding")
        return CHUNKED
    if "content-length" not in headers:
        return None
    lengths = headers.getall("content-length")
    length = lengths[0]
    if len(lengths) > 1 or not (length.isascii() and length.isdigit()):
        raise BadRequest("bad Content-Length")
    return int(length) if len(length) <= MAX_LENGTH_DIGITS else 10**MAX_LENGTH_DIGITS


def fields_for_the_answer(buffer: bytearray) -> Fields:
    """Fields of a refused head that its answer depends on, each only where exactly one good line has it."""
    head, end, _ = buffer.partition(b"\r\n\r\n")
    if not end:
        head = head.rpartition(b"\r\n")[0]  # the last line is still arriving
    lines = _PADDED_FIELD_LINE.findall(head.decode(errors="replace"))
    wanted = [(name.lower(), value.rstrip(" \t")) for name, value in lines if name.lower() in _ANSWER_FIELDS]
    names = [name for name, _ in wanted]
    return [field for field in wanted if names.count(field[0]) == 1]
