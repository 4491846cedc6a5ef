"""The port of the metrics: GET /metrics, for Prometheus. Any worker answers, for all of them."""

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias

from sanic.exceptions import SanicException

from service.server import http_head

PATH = b"/metrics"
MAX_HEAD_BYTES = 16 * 1024
MAX_CLIENTS = 10  # at a time; a further one is closed at once
MAX_SECONDS = 10.0  # for a request and its answer

Text: TypeAlias = Callable[[str], tuple[bytes, str]]  # from an `Accept` field to the text and its media type

CLIENT_ERRORS = (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError)


class MetricsPort:
    def __init__(self, sock: socket.socket, refresh: Callable[[], None], text: Text) -> None:
        """For each answer `refresh` is called in the event loop, then `text` in a thread."""
        self._sock = sock
        self._refresh = refresh
        self._text = text
        self._gathering = asyncio.Lock()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, sock=self._sock, limit=MAX_HEAD_BYTES)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) == MAX_CLIENTS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(MAX_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head.removesuffix(b"\r\n\r\n")))
                writer.close()
                await writer.wait_closed()
        except CLIENT_ERRORS:
            pass
        finally:
            writer.transport.abort()  # what a client has not taken in by now is dropped

    async def _answer(self, head: bytes) -> bytes:
        try:
            method, target, _, fields = http_head.parse_head(head)
        except SanicException:
            return _response(HTTPStatus.BAD_REQUEST)
        if target.partition(b"?")[0] != PATH:
            return _response(HTTPStatus.NOT_FOUND)
        if method != "GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, fields="Allow: GET\r\n")
        accept = next((value for name, value in fields if name.lower() == "accept"), "")
        self._refresh()
        async with self._gathering:
            # In a thread: it takes some milliseconds, in which requests go on.
            text, media_type = await asyncio.to_thread(self._text, accept)
        return _response(HTTPStatus.OK, text, f"Content-Type: {media_type}\r\n")


def _response(status: HTTPStatus, body: bytes = b"", fields: str = "") -> bytes:
    """Without keep-alive: a scraper comes every few seconds."""
    line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
    return f"{line}{fields}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
