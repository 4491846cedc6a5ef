from datetime import UTC, datetime
from typing import Any

from sanic import HTTPResponse

from service import formats
from service.api import models
from service.api.tasks import task_body
from service.db.database import Row
from service.domain import account_changes, accounts, tasks, users
from service.http.client_address import client_network
from service.http.json_body import parse
from service.http.json_stream import Listing, answer_list
from service.http.request import Request
from service.http.responses import json_response, no_content

ALL_TASKS = Listing("tasks", tasks.list_tasks, task_body, None)


async def sign_up(request: Request) -> HTTPResponse:
    wanted = parse(models.SignUp, request)
    session = await accounts.sign_up(request.app.ctx, wanted.email, wanted.password, client_network(request))
    return json_response({"token": session.token, "user": user_body(session.user)}, 201)


async def log_in(request: Request) -> HTTPResponse:
    given = parse(models.LogIn, request)
    session = await accounts.log_in(request.app.ctx, given.email, given.password, client_network(request))
    return json_response({"token": session.token, "user": user_body(session.user)})


async def get_me(request: Request) -> HTTPResponse:
    user = await users.get_user(request.app.ctx.database, request.ctx.user_id)
    return json_response({"user": user_body(user)})


async def change_password(request: Request) -> HTTPResponse:
    given = parse(models.PasswordChange, request)
    session = await account_changes.change_password(
        request.app.ctx, request.ctx.user_id, given.current_password, given.new_password, client_network(request)
    )
    return json_response({"token": session.token, "user": user_body(session.user)})


async def log_out(_: Request) -> HTTPResponse:
    """204 with any token or none: the client drops its token, and a page calls this when its user leaves."""
    return no_content()


async def log_out_everywhere(request: Request) -> HTTPResponse:
    await account_changes.log_out_everywhere(request.app.ctx, request.ctx.user_id)
    return no_content()


async def delete_me(request: Request) -> HTTPResponse:
    def read_password() -> str:  # a user of another issuer sends no body
        return parse(models.DeleteAccountBody, request).password

    network = client_network(request)
    await account_changes.delete_account(request.app.ctx, request.ctx.user_id, read_password, network)
    return no_content()


async def export_me(request: Request) -> HTTPResponse | None:
    user = await users.get_user(request.app.ctx.database, request.ctx.user_id)
    before = {"exported_at": formats.time_text(datetime.now(UTC)), "user": user_body(user)}
    return await answer_list(request, ALL_TASKS, before)


def user_body(row: Row) -> dict[str, Any]:
    return {"id": str(row["id"]), "email": row["email"], "created_at": formats.time_from_postgresql(row["created_at"])}
