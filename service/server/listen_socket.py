"""The port: taken before anything else is started, and shared by the workers."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.settings.all_settings import Settings, SettingsError

# Elsewhere SO_REUSEPORT means something else, and all connections would be one worker's.
CAN_BE_DIVIDED = sys.platform == "linux"


class DividedPort(socket.socket):
    """A worker, to which it is passed on, has a socket of its own on the same port, and the system chooses one of them
    for each new connection. Where all wait at the same socket, who wakes first takes what has come: of a hundred
    connections at once most, or all."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_another, (self.family, self.getsockname())


def _open_another(family: int, address: tuple[Any, ...]) -> socket.socket:
    own = socket.socket(family)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(address)
    return own


@contextmanager
def taken(settings: Settings, *, divided: bool) -> Iterator[socket.socket]:
    """Nothing else is worth starting without it. It refuses connections until somebody listens."""
    divided = divided and CAN_BE_DIVIDED
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with (DividedPort if divided else socket.socket)(family) as sock:
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
