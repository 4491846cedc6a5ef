"""The service as one command: its port, what has to be true before the first request, and Sanic."""

import signal
from types import FrameType

from sanic import Sanic
from sanic.worker.loader import AppLoader

from service.app import create_app
from service.cli.factory import app_factory
from service.cli.startup import completed, launched, where_data_lies
from service.db.migrations import MIGRATIONS
from service.db.statements import SQL
from service.http.client_address import warn_once
from service.log.line_writer import unblock_stderr
from service.server import listen_socket, workers
from service.settings.all_settings import Settings


def serve(settings: Settings, *, reload: bool) -> None:
    unblock_stderr()
    # Until Sanic has handlers of its own, a signal ends the start in order, the embedded server with it.
    signal.signal(signal.SIGINT, _end_the_start)
    signal.signal(signal.SIGTERM, _end_the_start)
    single = settings.workers == 1 and not reload
    with listen_socket.taken(settings, divided=not single) as sock, launched(settings) as found:
        app = create_app(completed(found), where_data_lies=where_data_lies(settings))
        app.prepare(
            sock=sock,
            workers=settings.workers,
            single_process=single,
            auto_reload=reload,
            reload_dir=[str(SQL), str(MIGRATIONS)],
            motd=False,
            access_log=False,
            backlog=2048,
        )
        try:
            if single:
                app.before_server_stop(workers.ignore_more_signals)
                Sanic.serve_single(app)
            else:
                workers.note_signals()
                workers.keep_helper()
                app.main_process_start(warn_once)
                app.main_process_ready(workers.mend_manager)
                Sanic.serve(app, app_loader=AppLoader(factory=app_factory))
        finally:
            # What is left to do is quick, and nothing may be left undone.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_the_start(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)
