"""A whole response as the bytes that go over the connection.

Sanic looks up each character of each header and joins them one by one: a fifth of what a small response costs.
"""

from sanic.helpers import STATUS_CODES

from service.http.responses import JsonResponse

_STATUS_LINES = {status: f"HTTP/1.1 {status} {STATUS_CODES[status].decode()}" for status in STATUS_CODES}


def bytes_of(response: JsonResponse, connection: str) -> bytes | None:
    """None for a header whose value could begin another header: Sanic escapes it."""
    own = [f"{name}: {value}" for name, value in response.headers.items()] if response.headers else []
    if own and not "".join(own).isprintable():
        return None
    body: bytes = response.body or b""
    begin = f"{_STATUS_LINES[response.status]}\r\n{response.common}content-type: {response.content_type}"
    end = f"content-length: {len(body)}\r\nconnection: {connection}\r\n\r\n"
    return "\r\n".join([begin, *own, end]).encode() + body
