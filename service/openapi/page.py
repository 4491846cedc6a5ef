"""The reference: the OpenAPI document, and a page around it that needs nothing from the network."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import orjson
from sanic import HTTPResponse
from sanic_ext import Extension

from service.http.contract import Contract, Handler
from service.http.request import Request
from service.http.responses import JsonResponse
from service.openapi.document import openapi

# Nothing but this host's own files; `data:` is for the icons that the style sheet carries in itself.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# Found and not imported: of the package only these files are used.
_SWAGGER_UI = Path(str(distribution("swagger-ui-py").locate_file("swagger_ui/static")))
_OURS = Path(__file__).parent
METHODS = ["GET", "HEAD"]
ASSETS = {
    "page.js": (_OURS, "text/javascript"),
    "page.css": (_OURS, "text/css"),
    "swagger-ui-bundle.js": (_SWAGGER_UI, "text/javascript"),
    "swagger-ui.css": (_SWAGGER_UI, "text/css"),
    "favicon-32x32.png": (_SWAGGER_UI, "image/png"),
}


class Documentation(Extension):
    name = "documentation"

    def __init__(self, contracts: Sequence[Contract]) -> None:
        self._contracts = contracts

    def startup(self, _: Any) -> None:
        self.app.add_route(page, "/docs", METHODS)
        self.app.add_route(document(self._contracts), "/docs/openapi.json", METHODS, name="openapi")
        for number, name in enumerate(ASSETS):
            self.app.add_route(asset(name), f"/docs/{name}", METHODS, name=f"asset_{number}")


async def page(_: Request) -> HTTPResponse:
    return HTTPResponse(_read("page.html"), headers=_headers(), content_type="text/html; charset=utf-8")


def asset(name: str) -> Handler:
    async def show(_: Request) -> HTTPResponse:
        return HTTPResponse(_read(name), headers=_headers(), content_type=ASSETS[name][1])

    return show


def document(contracts: Sequence[Contract]) -> Handler:
    body = orjson.dumps(openapi(contracts))  # once: it is large

    async def show(_: Request) -> HTTPResponse:
        return JsonResponse(body, headers=_headers(), content_type="application/json")

    return show


def _headers() -> dict[str, str]:
    return {"Cache-Control": "no-cache", "Content-Security-Policy": PAGE_POLICY}


@cache
def _read(name: str) -> bytes:
    folder = ASSETS[name][0] if name in ASSETS else _OURS
    return (folder / name).read_bytes()
