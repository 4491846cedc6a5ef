from typing import Any

from sanic import HTTPResponse

from service.db.database import Row
from service.domain import accounts
from service.http.client_address import client_network
from service.http.json_body import parse
from service.http.request import Request
from service.http.responses import json_response
from service.v1 import models


async def sign_up(request: Request) -> HTTPResponse:
    wanted = parse(models.SignUp, request)
    session = await accounts.sign_up(request.app.ctx, wanted.email, wanted.password, client_network(request))
    return json_response({"token": session.token, "user": user_body(session.user)}, 201)


async def log_in(request: Request) -> HTTPResponse:
    given = parse(models.LogIn, request)
    session = await accounts.log_in(request.app.ctx, given.email, given.password, client_network(request))
    return json_response({"token": session.token, "user": user_body(session.user)})


def user_body(row: Row) -> dict[str, Any]:
    return {"id": str(row["id"]), "email": row["email"]}
