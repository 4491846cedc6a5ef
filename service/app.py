"""The application: its steps in the order a request meets them, and everything that has a route."""

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import Any

from sanic.exceptions import RequestCancelled

from service.api.contract import CONTRACT as API
from service.domain.services import close_services, open_services
from service.fair_queue import FairQueue
from service.http import access_log, root
from service.http.client_address import ProxyWarning
from service.http.cors import Cors
from service.http.error_handler import client_has_gone, error_handler
from service.http.headers import add_headers
from service.http.health import Health
from service.http.strict_handling import StrictHandling
from service.log import lines
from service.metrics.meters import Meters
from service.openapi.page import Documentation
from service.server import sanic_app
from service.server.metrics_extension import Metrics, WorkerMetrics
from service.server.sanic_app import ServerApp
from service.server.server_context import open_server
from service.server.traces_extension import Traces
from service.settings.all_settings import Settings
from service.traces.tracer import Tracer, tracer_of
from service.v1.contract import CONTRACT as V1

CONTRACTS = (API, V1)
PIECES_AT_ONCE = 2  # of long lists, made at the same time in one process
# Requests with many operations, in one process; of one user one at a time. Each keeps the process for the time of many
# requests, and those of one user would only wait for each other in the database.
BATCHES_AT_ONCE = 4
BATCHES_WAIT = "other batches took longer than POOL_TIMEOUT"

_log = logging.getLogger("service.app")


def create_app(
    settings: Settings,
    *,
    where_data_lies: str = "the database of DATABASE_URL",
    metrics: WorkerMetrics | None = None,
    worker: int | None = None,  # its number, if it is one of several
) -> ServerApp:
    output = lines.configure(settings.log_level, settings.log_format, worker=worker)
    app = sanic_app.new_app(settings)

    # Sanic runs request middleware in this order, and response middleware in reverse.
    app.on_response(access_log.log_requests(output))
    extensions: list[Any] = [
        Cors(settings.frontend_url),
        Health(),
        StrictHandling(CONTRACTS),
        Documentation(CONTRACTS),
    ]
    if metrics is not None:
        extensions.insert(0, Metrics(metrics, output))  # counts what the access log has a line for
    tracer = tracer_of(settings)
    if tracer is not None:
        extensions.insert(0, Traces(tracer, output))
    app.extend(extensions=extensions, built_in_extensions=False)
    app.on_response(add_headers)
    if settings.trusted_proxies == 0:
        app.on_request(ProxyWarning().look)

    for contract in CONTRACTS:
        for blueprint in contract.blueprints():  # with the authentication, if its routes need a token
            app.blueprint(blueprint)
    app.add_route(root.show, "/", ["GET", "HEAD"])
    # For paths of no contract, those below /v1 too, and for clients that have gone, on every path.
    app.exception(Exception)(error_handler(API.error_text))
    app.error_handler.add(RequestCancelled, client_has_gone)

    app.before_server_start(partial(_open, settings, None if metrics is None else metrics.meters, tracer))
    app.after_server_start(sanic_app.collect_garbage_rarely)
    app.after_server_start(partial(_say_ready, settings, where_data_lies))
    app.before_server_stop(partial(_drain, settings.drain))
    app.after_server_stop(_close)
    return app


async def _open(settings: Settings, meters: Meters | None, tracer: Tracer | None, app: ServerApp) -> None:
    await open_services(app.ctx, settings, meters, tracer)
    app.ctx.limit_hits = Counter()
    app.ctx.trusted_proxies = settings.trusted_proxies
    app.ctx.long_lists = FairQueue(PIECES_AT_ONCE, PIECES_AT_ONCE)
    app.ctx.batches = FairQueue(BATCHES_AT_ONCE, 1, settings.pool_timeout, timeout_reason=BATCHES_WAIT)
    open_server(app.ctx, settings)


async def _say_ready(settings: Settings, where_data_lies: str, app: ServerApp) -> None:
    api = app.get_server_location(app.state.server_info[0].settings)
    origins = ", ".join(settings.frontend_url)
    block = {
        "API base URL": api,
        "January's base URL": f"{api}/v1",
        "documentation": f"{api}/docs",
        "data": where_data_lies,
        "allowed origins": f"{origins} (FRONTEND_URL)",
    }
    as_text = "ready:" + "".join(f"\n  {name:20}{value}" for name, value in block.items())
    _log.info(
        "ready: API %s, documentation %s/docs, data in %s, January's API %s/v1, allowed origins %s (FRONTEND_URL)",
        api, api, where_data_lies, api, origins,
        extra={"as_text": as_text} if settings.workers == 1 else {},  # read by log/lines.py; several would repeat it
    )  # fmt: skip


async def _drain(seconds: float, app: ServerApp) -> None:
    """Unhealthy from here on, but still serving, until load balancers have noticed."""
    app.ctx.is_draining = True
    await asyncio.sleep(seconds)


async def _close(app: ServerApp) -> None:
    await close_services(app.ctx)
