"""The application for Sanic's own command line: sanic service.cli.factory:app_factory --factory."""

import atexit
import multiprocessing
from argparse import Namespace
from contextlib import ExitStack

from service.app import create_app
from service.cli.startup import completed, launched, migrate_embedded, one_line_errors, where_data_lies
from service.http.client_address import share_warning
from service.log.line_writer import unblock_stderr
from service.server import stop_signals
from service.server.metrics_extension import warn_without_metrics
from service.server.sanic_app import ServerApp
from service.settings.all_settings import load_settings
from service.traces.tracer import warn_without_extra


def app_factory(_: Namespace | None = None) -> ServerApp:
    """Sanic calls it with its arguments, in the main process and in each worker."""
    unblock_stderr()
    is_worker = multiprocessing.parent_process() is not None
    if is_worker:
        stop_signals.exit_at_once()  # until Sanic has handlers of its own
    with one_line_errors():
        settings = load_settings()
        app = create_app(completed(settings), where_data_lies=where_data_lies(settings))
    if not is_worker:
        warn_without_metrics(settings)
        warn_without_extra(settings)
    running = ExitStack()

    async def launch(_: ServerApp) -> None:
        with one_line_errors():
            running.enter_context(launched(settings))

    async def launch_without_manager(app: ServerApp) -> None:
        if not is_worker:
            atexit.register(running.close)
            await launch(app)

    async def end(_: ServerApp) -> None:
        running.close()

    async def migrate(_: ServerApp) -> None:
        migrate_embedded(settings)

    app.main_process_start(launch)
    app.main_process_start(share_warning)
    app.main_process_ready(stop_signals.let_manager_stop)
    app.main_process_stop(end)
    app.before_server_start(launch_without_manager, priority=1)  # before the pool is opened
    app.before_reload_trigger(migrate)
    app.before_server_stop(stop_signals.ignore_more_signals)
    return app
