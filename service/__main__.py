"""The command line: python -m service [serve | migrate]."""

import argparse
import errno
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sanic import Sanic
from sanic.worker.loader import AppLoader

from service import access_log, embedded, migrations, workers
from service.app import app_factory, create_app
from service.launch import launched, one_line_errors
from service.migrations import MIGRATIONS
from service.settings import Settings, SettingsError, load_settings
from service.statements import SQL


def main(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    with one_line_errors():
        settings = load_settings()
        access_log.configure(settings.log_level, settings.log_format)
        if options.command == "migrate":
            migrate(settings, options)
        else:
            serve(settings, reload=getattr(options, "reload", False))


def serve(settings: Settings, *, reload: bool) -> None:
    # Until Sanic has handlers of its own, a signal ends the start in order, the embedded server with it.
    signal.signal(signal.SIGINT, _end_the_start)
    signal.signal(signal.SIGTERM, _end_the_start)
    with _listening(settings) as sock, launched(settings):
        app = create_app(settings)
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
                Sanic.serve_single(app)
            else:
                app.main_process_ready(workers.mend_manager)
                Sanic.serve(app, app_loader=AppLoader(factory=app_factory))
        finally:
            # What is left to do is quick, and nothing may be left undone.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_the_start(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


def migrate(settings: Settings, options: argparse.Namespace) -> None:
    with _database_to_migrate(settings) as url:
        if options.action == "status":
            for line in _status(url):
                print(line)  # noqa: T201 - the command's output
            return
        verb, said = (migrations.roll_back, "rolled back") if options.rollback else (migrations.apply, "applied")
        for migration_id in verb(url, options.to) or ["nothing"]:
            print(f"{said} {migration_id}")  # noqa: T201 - as above


def _status(url: str) -> Iterator[str]:
    applied = {migration.migration_id: migration.at for migration in migrations.applied(url)}
    for migration_id in sorted(set(migrations.known()) | set(applied)):
        state = f"applied {applied[migration_id]:%Y-%m-%d %H:%M:%S} UTC" if migration_id in applied else "pending"
        unknown = "" if migration_id in migrations.known() else " (unknown to this code)"
        yield f"{migration_id}: {state}{unknown}"


@contextmanager
def _database_to_migrate(settings: Settings) -> Iterator[str]:
    if settings.database_url is not None:
        yield settings.require_direct_url()
        return
    with embedded.reachable(settings.data_dir) as url:
        yield url


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="A todo backend.")
    commands = parser.add_subparsers(dest="command")
    serving = commands.add_parser("serve", help="serve the API (the default)")
    serving.add_argument("--reload", action="store_true", help="restart when a .py or .sql file changes")
    migrating = commands.add_parser("migrate", help="apply, roll back or show migrations")
    migrating.add_argument("action", nargs="?", choices=["apply", "status"], default="apply")
    migrating.add_argument("--rollback", action="store_true", help="undo the last one, or with --to all after ID")
    migrating.add_argument("--to", metavar="ID", help="the last migration that shall be applied afterwards")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
