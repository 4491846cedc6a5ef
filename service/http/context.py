"""request.app.ctx: the services of the use cases, and what only HTTP needs."""

from typing import TypeAlias

from sanic import Sanic
from sanic.config import Config

from service.domain.services import Services
from service.http.turns import Turns


class Context(Services):
    trusted_proxies: int
    long_lists: Turns
    is_draining: bool = False


App: TypeAlias = Sanic[Config, Context]
