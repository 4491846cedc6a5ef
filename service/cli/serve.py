"""The service as one command: its port, what has to be true before the first request, and the processes that serve."""

import gc
import logging
import signal
import socket
from contextlib import nullcontext
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType

from sanic import Sanic
from sanic.worker.loader import AppLoader

from service.app import create_app
from service.cli.factory import app_factory
from service.cli.startup import completed, launched, one_line_errors, where_data_lies
from service.db.migrations import MIGRATIONS
from service.db.statements import SQL
from service.http.client_address import share_warning, warning_token
from service.log.line_writer import unblock_stderr
from service.server import listen_socket, stop_signals
from service.server.metrics_extension import SharedMetrics, shared_metrics, warn_without_metrics
from service.server.sanic_app import ServerApp, longest_stop
from service.server.supervisor import Supervisor
from service.settings.all_settings import Settings
from service.traces.tracer import warn_without_extra

BACKLOG = 2048


def serve(settings: Settings, *, reload: bool) -> None:
    unblock_stderr()
    # Until there are other handlers, a signal ends the start in order, the embedded server with it.
    signal.signal(signal.SIGINT, _end_the_start)
    signal.signal(signal.SIGTERM, _end_the_start)
    divided = settings.workers > 1 and not reload
    with (
        listen_socket.taken(listen_socket.of_api(settings), divided=divided) as sock,
        nullcontext() if reload else shared_metrics(settings, divided=divided) as metrics,
        launched(settings) as found,
    ):
        warn_without_extra(settings)
        create = partial(create_app, completed(found), where_data_lies=where_data_lies(settings))
        try:
            if reload:
                warn_without_metrics(settings)
                _serve_and_reload(create(), sock, settings.workers)
            elif settings.workers == 1:
                _serve(create(metrics=metrics.of_worker(0) if metrics else None), sock)
            else:
                _serve_with_workers(create, sock, metrics, found)
        finally:
            stop_signals.ignore()  # what is left to do is quick, and nothing may be left undone


def _serve(app: ServerApp, sock: socket.socket) -> None:
    app.prepare(
        sock=sock, single_process=True, register_sys_signals=False, motd=False, access_log=False, backlog=BACKLOG
    )
    app.after_server_start(stop_signals.stop_in_order, priority=1)
    logging.getLogger("sanic.error").addFilter(stop_signals.is_no_stop)
    with stop_signals.left_alone_by_sanic():
        Sanic.serve_single(app)


def _serve_with_workers(
    create: "partial[ServerApp]", sock: socket.socket, metrics: SharedMetrics | None, settings: Settings
) -> None:
    token = warning_token()

    def work(number: int, told: Connection) -> None:
        with one_line_errors():
            app = create(metrics=metrics.of_worker(number) if metrics else None, worker=number + 1)
            app.shared_ctx.proxy_warning = token
            stop_signals.stop_at_end_of_file(app, told)
            _serve(app, listen_socket.of_worker(sock))

    gc.collect()
    gc.freeze()  # a collection in a worker would copy the pages that it shares with the others
    supervisor = Supervisor(settings.workers, work, metrics.worker_ended if metrics else lambda _: None)
    supervisor.run()
    sock.close()  # where the workers share it, connections are refused once they have closed it
    supervisor.end(longest_stop(settings))


def _serve_and_reload(app: ServerApp, sock: socket.socket, workers: int) -> None:
    """By Sanic's own manager, which watches the files and replaces its workers when one changes."""
    app.prepare(
        sock=sock,
        workers=workers,
        auto_reload=True,
        reload_dir=[str(SQL), str(MIGRATIONS)],
        motd=False,
        access_log=False,
        backlog=BACKLOG,
    )
    app.main_process_start(share_warning)
    app.main_process_ready(stop_signals.let_manager_stop)
    Sanic.serve(app, app_loader=AppLoader(factory=app_factory))


def _end_the_start(_: int, __: FrameType | None) -> None:
    stop_signals.ignore_from_handler()  # another one would end the process before the embedded server has stopped
    raise SystemExit(0)
