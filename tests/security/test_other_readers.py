"""Differential test with h11 and llhttp: an accepted request has the same end and the same body for all parsers.

Each byte of a good request is replaced, doubled, left out, or has one of these put before it.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import h11
import httptools
import pytest
from sanic.compat import Header
from sanic.exceptions import SanicException

from service.server.chunked_body import ChunkedBody
from service.server.http_head import CHUNKED, body_of, check_host, keeps_alive, parse_head

INSERTED = [bytes([byte]) for byte in b'\x00\x01\t\n\x0b\x0c\r\x1f !"#+,-./0:;=Xx_\x7f\x80\xa0\xff']
INSERTED += [b"\r\n", b"\r\n ", b"0x", b"\n\r", b"\xc2\x85"]

HEAD = b"POST /a HTTP/1.1\r\nHost: h\r\n"
SAMPLES = {
    "length": HEAD + b"Content-Length: 5\r\nX: y\r\n\r\nhello",
    "zero": HEAD + b"Content-Length: 0\r\n\r\n",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nyou\r\n0\r\n\r\n",
    "trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n05\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "both": HEAD + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}
WHITE_SPACE_BEFORE_EXTENSION = re.compile(rb"\d[ \t];")  # allowed, and refused by h11
NEXT = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"


class Message(NamedTuple):
    method: str
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes


def read_here(sent: bytes) -> list[Message] | None:
    """The messages in the bytes, without an incomplete last one; None if any is refused."""
    buffer, messages = bytearray(sent), []
    try:
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            method, target, version, fields = parse_head(bytes(buffer[:end]))
            headers = Header(fields)
            check_host(version, headers)
            body_length = body_of(version, headers)
            del buffer[: end + 4]
            if body_length == CHUNKED:
                chunks = ChunkedBody()
                body = chunks.take(buffer, 1000)
                if not chunks.is_complete:
                    break
            else:
                length = int(body_length or 0)
                body = bytes(buffer[:length])
                del buffer[:length]
                if len(body) < length:
                    break
            lines = [(name.lower().encode(), value.encode(errors="surrogateescape")) for name, value in fields]
            messages.append(Message(method, target, lines, body))
            if not keeps_alive(version, headers):
                break
    except SanicException:
        return None
    return messages


def read_by_h11(sent: bytes) -> list[Message] | None:
    connection, messages = h11.Connection(h11.SERVER), []
    connection.receive_data(sent)
    body = b""
    request: Any = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                messages.append(Message(request.method.decode(), request.target, list(request.headers), body))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return messages
                connection.start_next_cycle()
            else:
                return messages
    except h11.RemoteProtocolError:
        return None


class LlhttpReader:
    """Callbacks of llhttp that collect messages."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.parser: Any = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.target, self.body, self.is_over = b"", b"", False
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_over:
            self.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_over = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages.append(Message(self.parser.get_method().decode(), self.target, self.fields, self.body))


def read_by_llhttp(sent: bytes) -> list[Message] | None:
    reader = LlhttpReader()
    try:
        reader.parser.feed_data(sent)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return reader.messages


def variants(sample: bytes) -> Iterator[bytes]:
    for place in range(len(sample) + 1):
        before, byte, after = sample[:place], sample[place : place + 1], sample[place + 1 :]
        yield before + after
        yield before + byte + byte + after
        for inserted in INSERTED:
            yield before + inserted + byte + after
            yield before + inserted + after


@pytest.mark.parametrize("sample", SAMPLES)
def test_requests_accepted_here_are_accepted_by_h11_and_parsed_identically(sample: str) -> None:
    for sent in variants(SAMPLES[sample]):
        here = read_here(sent + NEXT)
        if here and not WHITE_SPACE_BEFORE_EXTENSION.search(sent):
            assert here == read_by_h11(sent + NEXT), sent


@pytest.mark.parametrize("sample", SAMPLES)
def test_requests_accepted_here_and_by_llhttp_are_parsed_identically(sample: str) -> None:
    """llhttp refuses methods outside its list, so only requests that both accept are compared."""
    for sent in variants(SAMPLES[sample]):
        here, there = read_here(sent + NEXT), read_by_llhttp(sent + NEXT)
        if here and there is not None:
            assert here == there, sent


@pytest.mark.parametrize("sample", ["length", "zero", "chunks", "trailers"])
def test_samples_are_parsed_identically_by_all_parsers(sample: str) -> None:
    here = read_here(SAMPLES[sample] + NEXT)

    assert here is not None
    assert [message.target for message in here] == [b"/a", b"/hidden"]
    assert here == read_by_h11(SAMPLES[sample] + NEXT) == read_by_llhttp(SAMPLES[sample] + NEXT)


def test_chunked_body_is_parsed_identically_however_it_is_split() -> None:
    sent = b'00005 ; a=b;c\t=\t"d\\"\xff;"\r\nhello\r\nA;x\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\nGET'
    for step in range(1, len(sent)):
        for first in range(step):
            chunks, buffer, body = ChunkedBody(), bytearray(), b""
            for place in [0, *range(first or step, len(sent), step)]:
                buffer += sent[place : first or step] if place == 0 else sent[place : place + step]
                if not chunks.is_complete:
                    body += chunks.take(buffer, 15)
            assert (body, chunks.is_complete, bytes(buffer)) == (b"hello0123456789", True, b"GET")
