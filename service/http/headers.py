"""Headers of every response."""

from sanic import HTTPResponse

from service.http.request import Request
from service.http.responses import JsonResponse

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
LINES = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())


def add_headers(request: Request, response: HTTPResponse) -> None:
    """A response middleware. Most responses get lines made once; a Cache-Control of a response's own is kept."""
    if isinstance(response, JsonResponse) and "Cache-Control" not in response.headers:
        response.common = f"X-Request-ID: {request.id}\r\n{LINES}"
        return
    response.headers["X-Request-ID"] = request.id
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
