"""GET /: what this service is, and where its documentation is."""

from sanic import HTTPResponse

from service import NAME, VERSION
from service.http.request import Request
from service.http.responses import json_response


async def show(_: Request) -> HTTPResponse:
    return json_response({"name": NAME, "version": VERSION, "docs": "/docs"})
