from sanic import HTTPResponse

from service import NAME, VERSION
from service.answers import answer
from service.request import Request


async def show(_: Request) -> HTTPResponse:
    return answer({"name": NAME, "version": VERSION, "docs": "/docs"})
