"""What the application holds while it serves: request.app.ctx."""

from types import SimpleNamespace
from typing import NamedTuple, TypeAlias

from sanic import Sanic
from sanic.config import Config

from service.attempts import Attempts
from service.auth.outside import OutsideTokens
from service.auth.passwords import Passwords
from service.auth.tokens import Tokens
from service.auth.verifier import Verifier
from service.background import Background
from service.database import Database
from service.exchange import Departures, RoundRobin
from service.known_networks import KnownNetworks
from service.places import Places
from service.turns import Turns
from service.upkeep import Upkeep


class Patience(NamedTuple):
    """How long a client may take, in seconds."""

    body: float
    write: float


class Context(SimpleNamespace):
    tokens: Tokens
    outside: OutsideTokens
    verifier: Verifier
    passwords: Passwords
    attempts: Attempts
    known_networks: KnownNetworks
    upkeep: Upkeep
    background: Background
    trusted_proxies: int
    patience: Patience
    places: Places
    departures: Departures
    round_robin: RoundRobin
    long_lists: Turns
    database: Database
    max_tasks: int  # of one user
    draining: bool = False


App: TypeAlias = Sanic[Config, Context]
