"""The application: its steps in the order a request meets them, and everything that has a route."""

import asyncio
import atexit
import gc
import logging
from argparse import Namespace
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from sanic.config import Config
from sanic.exceptions import RequestCancelled

from service import NAME, access_log, docs, health, index, processors, workers
from service.address import ProxyWarning, warn_once
from service.api.contract import CONTRACT as API
from service.application import Application, Configuration
from service.attempts import Attempts
from service.auth import users
from service.auth.outside import OutsideTokens
from service.auth.passwords import Passwords
from service.auth.tokens import Tokens
from service.auth.verifier import Verifier
from service.background import Background
from service.context import App, Context, Patience
from service.database import Database
from service.error_handler import client_has_gone, error_handler
from service.exchange import Departures, RoundRobin
from service.headers import add_headers, answer_preflight
from service.known_networks import KnownNetworks
from service.launch import completed, launched, migrate_embedded, one_line_errors, where_data_lies
from service.log_output import unblock_stderr
from service.places import Places, spare_of
from service.request import MAX_BODY, Request
from service.settings import Settings, load_settings
from service.sockets import allow_files
from service.tasks import NO_QUOTA
from service.turns import Turns
from service.upkeep import Upkeep
from service.v1.contract import CONTRACT as V1

CONTRACTS = (API, V1)
A_DAY = 24 * 3600
MOST_STATEMENTS = 20  # of one request; a login has seven, and what reads may be sent again
OBJECTS_BETWEEN_LOOKS = 20_000
CLOSE_TIMEOUT = 1.0
LONG_LISTS = 2  # pieces of them are made at once

_log = logging.getLogger("service.app")


def create_app(settings: Settings) -> App:
    output = access_log.configure(settings.log_level, settings.log_format)
    request_class: Any = Request  # Sanic's type has no room for the context of ours
    app: App = Application(NAME, _config(settings), Context(), request_class=request_class, configure_logging=False)

    app.on_request(answer_preflight)
    if settings.trusted_proxies == 0:
        app.on_request(ProxyWarning().look)
    for contract in CONTRACTS:
        for blueprint in contract.blueprints():  # with the auth middleware, where a token is needed
            app.blueprint(blueprint)
    app.add_route(index.show, "/", ["GET", "HEAD"])
    for handler, path in zip((health.health, health.live), health.PATHS, strict=True):
        app.add_route(handler, path, ["GET", "HEAD"])
    app.add_route(docs.page, "/docs", ["GET", "HEAD"])
    app.add_route(docs.document(CONTRACTS), "/docs/openapi.json", ["GET", "HEAD"], name="openapi")
    for number, name in enumerate(docs.ASSETS):
        app.add_route(docs.asset(name), f"/docs/{name}", ["GET", "HEAD"], name=f"asset_{number}")
    app.exception(Exception)(error_handler(API.error_text))
    app.error_handler.add(RequestCancelled, client_has_gone)

    app.on_response(access_log.log_requests(output))  # Sanic takes the last one first
    app.on_response(add_headers(settings.frontend_url))

    app.before_server_start(partial(_open, settings))
    app.after_server_start(workers.end_with_parent)
    app.after_server_start(_collect_rarely)
    app.after_server_start(partial(_say_ready, settings))
    app.before_server_stop(partial(_drain, settings.drain))
    app.after_server_stop(_close)
    return app


def app_factory(_: Namespace | None = None) -> App:
    """For Sanic's own command line, which calls it with its arguments, and for every worker of several."""
    unblock_stderr()
    workers.end_quietly_while_starting()
    workers.keep_helper()
    with one_line_errors():
        settings = load_settings()
    app = create_app(settings)
    running = ExitStack()

    async def launch(_: App) -> None:
        with one_line_errors():
            running.enter_context(launched(settings))

    async def launch_without_manager(app: App) -> None:
        if not workers.is_worker():
            atexit.register(running.close)
            await launch(app)

    async def end(_: App) -> None:
        running.close()

    async def migrate(_: App) -> None:
        migrate_embedded(settings)

    app.main_process_start(launch)
    app.main_process_start(warn_once)
    app.main_process_ready(workers.mend_manager)
    app.main_process_stop(end)
    app.before_server_start(launch_without_manager, priority=1)  # before the pool is opened
    app.before_reload_trigger(migrate)
    app.before_server_stop(workers.ignore_more_signals)
    return app


async def _open(settings: Settings, app: App) -> None:
    settings = completed(settings)
    threads = settings.hash_threads or max(1, processors.usable() // settings.workers)
    app.ctx.tokens = Tokens(settings.require_secret(), settings.old_secret, settings.jwt_expiration_hours)
    app.ctx.passwords = Passwords(settings.bcrypt_rounds, threads, settings.pool_timeout)
    app.ctx.background = Background()
    app.ctx.database = await Database.connect(settings, app.ctx.background)
    app.ctx.upkeep = Upkeep(app.ctx.database, app.ctx.background)
    app.ctx.attempts = Attempts(app.ctx.database, app.ctx.background, app.ctx.upkeep, settings)
    app.ctx.known_networks = KnownNetworks(app.ctx.database, app.ctx.background, settings)
    app.ctx.trusted_proxies = settings.trusted_proxies
    app.ctx.patience = Patience(settings.body_timeout, settings.write_timeout)
    beside = settings.pool_max + 2 * spare_of(settings.max_connections)
    connections = allow_files(settings.max_connections, beside)
    app.ctx.places = Places(connections, settings.places_per_address(connections))
    app.ctx.max_tasks = settings.tasks_per_user or NO_QUOTA
    app.ctx.departures = Departures(asyncio.get_running_loop())
    app.ctx.round_robin = RoundRobin(asyncio.get_running_loop())
    app.ctx.long_lists = Turns(LONG_LISTS)
    find_user = partial(users.outside_user, app.ctx.database)
    app.ctx.outside = OutsideTokens(settings.auth_issuers, find_user)
    app.ctx.outside.start()
    check = partial(users.require_current, app.ctx.database)
    app.ctx.verifier = Verifier(app.ctx.tokens, app.ctx.outside, check, settings.token_recheck)


async def _collect_rarely(_: App) -> None:
    """A look through all that a process has loaded takes 35 ms, in which nobody is answered, and finds nothing. And a
    list of tasks is so many objects that a look for each 700 of them, as by default, is much of what it costs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS, 20, 50)


async def _say_ready(settings: Settings, app: App) -> None:
    api = app.get_server_location(app.state.server_info[0].settings)
    data, origins = where_data_lies(settings), ", ".join(settings.frontend_url)
    as_text = {
        "API base URL": api,
        "January's base URL": f"{api}/v1",
        "documentation": f"{api}/docs",
        "data": data,
        "allowed origins": f"{origins} (FRONTEND_URL)",
    }
    lines = "".join(f"\n  {name:20}{value}" for name, value in as_text.items())
    _log.info(
        "ready: API %s, documentation %s/docs, data in %s, January's API %s/v1, allowed origins %s (FRONTEND_URL)",
        api, api, data, api, origins,
        extra={"as_text": f"ready:{lines}"} if settings.workers == 1 else {},
    )  # fmt: skip


async def _drain(seconds: float, app: App) -> None:
    """Unhealthy from here on, but still serving, until whoever sends us requests has noticed."""
    app.ctx.draining = True
    await asyncio.sleep(seconds)


async def _close(app: App) -> None:
    app.ctx.passwords.close()
    app.ctx.outside.close()
    with suppress(TimeoutError):  # a database that does not answer keeps nobody here
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await app.ctx.background.close()
            await app.ctx.database.close()


def _config(settings: Settings) -> Config:
    config = Configuration(env_prefix=None)  # only our settings count, no SANIC_* of the environment
    config.AUTO_EXTEND = False
    config.MOTD = False
    config.REQUEST_MAX_SIZE = MAX_BODY
    config.REQUEST_MAX_HEADER_SIZE = settings.max_header_size
    # Never the first to give up: a body, a connection, a statement and an answer each have a limit of their own.
    statements = MOST_STATEMENTS * (settings.pool_timeout + settings.statement_timeout)
    waits = settings.body_timeout + statements + settings.write_timeout
    config.update(
        REQUEST_TIMEOUT=settings.header_timeout,
        KEEP_ALIVE_TIMEOUT=settings.idle_timeout,
        RESPONSE_TIMEOUT=10 + waits,
        GRACEFUL_TCP_CLOSE_TIMEOUT=A_DAY,  # our connections end by themselves where nobody reads
    )
    config.GRACEFUL_SHUTDOWN_TIMEOUT = settings.statement_timeout + 0.5  # after the drain, for what is under way
    config.LONGEST_STOP = settings.drain + config.GRACEFUL_SHUTDOWN_TIMEOUT + CLOSE_TIMEOUT + 1.5
    return config
