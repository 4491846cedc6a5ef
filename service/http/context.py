"""request.app.ctx: the services of the use cases, and what only HTTP needs."""

from collections import Counter
from typing import TypeAlias

from sanic import Sanic
from sanic.config import Config

from service.domain.services import Services
from service.fair_queue import FairQueue


class Context(Services):
    """One object for each process, in three classes: filled by open_services(), by app.py and by open_server()."""

    trusted_proxies: int
    long_lists: FairQueue[None]  # slots for making a piece of one, fair by user
    batches: FairQueue[None]  # slots for POST /api/tasks/batch, one for each user
    is_draining: bool = False
    limit_hits: Counter[str]  # requests that a limit has refused, by its name


App: TypeAlias = Sanic[Config, Context]
