"""The port: taken before anything else is started, and shared by the workers."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from service.settings.all_settings import Settings, SettingsError

# Elsewhere SO_REUSEPORT means something else, and all connections would be one worker's.
CAN_BE_DIVIDED = sys.platform == "linux"


def of_worker(taken: socket.socket) -> socket.socket:
    """The socket that a worker listens on. On Linux each opens its own on the same port, and the system divides new
    connections among them. On a shared one the worker that wakes first takes all that have come: of a hundred
    connections at once most, or all. A socket that no other process has open also ends with its worker, and with it the
    connections that were not accepted yet: their clients see a reset, not silence."""
    if not CAN_BE_DIVIDED:
        return taken
    own = socket.socket(taken.family)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(taken.getsockname())
    taken.close()
    return own


@contextmanager
def taken(settings: Settings, *, divided: bool) -> Iterator[socket.socket]:
    """The port, bound and not listening: connections are refused until a process listens. `divided` lets workers open
    sockets of their own on it."""
    divided = divided and CAN_BE_DIVIDED
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
        if divided:
            # Only now, so that another service on this port was noticed, and with nothing left that would let a second
            # one take it while our workers are still starting.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield sock
