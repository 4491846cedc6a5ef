"""Decoder for the chunked transfer coding, strictly by RFC 9112 section 7.1."""

import re

from sanic.exceptions import BadRequest, PayloadTooLarge

from service.server.http_head import TOKEN, parse_fields, refuse_control_characters

MAX_LINE = 1024  # bytes of a chunk's size and extensions
MAX_TRAILER_BYTES = 8192
MAX_FRAMING_BYTES = 1024 * 1024  # of a body: what is no data
CHUNKS_AT_ONCE = 1000  # 2 ms

_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_EXTENSIONS = rf"(?:[ \t]*+;[ \t]*+{TOKEN}(?:[ \t]*+=[ \t]*+(?:{TOKEN}|{_QUOTED}))?)*+"
_FIRST_LINE = re.compile(rf"([0-9A-Fa-f]++){_EXTENSIONS}\r\n".encode("latin-1"))
_LINE = re.compile(rf"\r\n([0-9A-Fa-f]++){_EXTENSIONS}\r\n".encode("latin-1"))  # the CRLF before it ends the data
_BEGIN_OF_FIRST_LINE = re.compile(rb"(?:[0-9A-Fa-f]++[\t -~\x80-\xff]*+\r?)?")
_BEGIN_OF_LINE = re.compile(rb"\r?|\r\n(?:[0-9A-Fa-f]++[\t -~\x80-\xff]*+\r?)?")


class ChunkedBody:
    """Takes the data out of a buffer as it arrives. Well-formed trailers are dropped: RFC 9110 section 6.5.1 allows it,
    proxies pass them on, and nothing here would use them."""

    __slots__ = ("_begin_of_line", "_framing", "_is_in_trailers", "_left", "_line", "is_complete", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes of data that the chunks so far announce
        self.is_complete = False
        self._left = 0  # bytes of the chunk that have not arrived
        self._framing = 0
        self._is_in_trailers = False
        self._line, self._begin_of_line = _FIRST_LINE, _BEGIN_OF_FIRST_LINE

    def take(self, buffer: bytearray, max_size: float) -> bytes:
        """The data that is there. A buffer of very many small chunks is not emptied in one go."""
        data = bytearray()
        place = 0
        for _ in range(CHUNKS_AT_ONCE):
            if self._left:
                piece = buffer[place : place + self._left]
                data += piece
                place += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            elif self._is_in_trailers:
                break
            line = self._line.match(buffer, place)
            if line is None or line.end() - place > MAX_LINE:
                self._refuse_unless_arriving(buffer, place)
                break
            self._count_framing(line.end() - place)
            place = line.end()
            self._line, self._begin_of_line = _LINE, _BEGIN_OF_LINE
            self._left = int(line[1], 16)
            self.size += self._left
            if self.size > max_size:
                raise PayloadTooLarge("the chunks are too large")
            self._is_in_trailers = self._left == 0
        del buffer[:place]
        if self._is_in_trailers:
            self._drop_trailers(buffer)
        return bytes(data)

    def _refuse_unless_arriving(self, buffer: bytearray, place: int) -> None:
        if len(buffer) - place > MAX_LINE or not self._begin_of_line.fullmatch(buffer, place):
            raise BadRequest("bad chunk")

    def _drop_trailers(self, buffer: bytearray) -> None:
        if buffer.startswith(b"\r\n"):
            end = 0
        else:
            end = buffer.find(b"\r\n\r\n", 0, MAX_TRAILER_BYTES) + 2
            if end == 1:
                if len(buffer) >= MAX_TRAILER_BYTES:
                    raise BadRequest("trailers too large")
                refuse_control_characters(buffer, 0)
                return
            trailers = b"\r\n" + buffer[: end - 2]
            parse_fields(trailers, trailers.decode(errors="surrogateescape"))
        del buffer[: end + 2]
        self.is_complete = True

    def _count_framing(self, count: int) -> None:
        self._framing += count
        if self._framing > MAX_FRAMING_BYTES:
            raise PayloadTooLarge("chunks that are nearly all framing")
