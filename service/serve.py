"""The service as one command: the port, what has to be true before the first request, and Sanic."""

import errno
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sanic import Sanic
from sanic.worker.loader import AppLoader

from service import workers
from service.app import app_factory, create_app
from service.launch import launched
from service.migrations import MIGRATIONS
from service.settings import Settings, SettingsError
from service.statements import SQL


def serve(settings: Settings, *, reload: bool) -> None:
    # Until Sanic has handlers of its own, a signal ends the start in order, the embedded server with it.
    signal.signal(signal.SIGINT, _end_the_start)
    signal.signal(signal.SIGTERM, _end_the_start)
    with _listening(settings) as sock, launched(settings) as found:
        app = create_app(found)
        single = settings.workers == 1 and not reload
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
                app.main_process_ready(workers.mend_manager)
                Sanic.serve(app, app_loader=AppLoader(factory=app_factory))
        finally:
            # What is left to do is quick, and nothing may be left undone.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_the_start(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The port is taken first: nothing else is worth starting without it. It refuses connections until we serve."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, settings.port))
        except (TypeError, UnicodeError):
            raise SettingsError("HOST: should be an address of this machine") from None
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                raise SettingsError(
                    f"PORT: should be a free port; {settings.port} on {settings.host}: {error.strerror}"
                ) from None
            raise SettingsError(f"HOST: should be an address of this machine; {settings.host} is none") from None
        yield sock
