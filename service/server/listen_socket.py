"""The port: taken before anything else is started, and shared by the workers."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

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


class Address(NamedTuple):
    """An address to listen on, with the names of its two settings."""

    host: str
    port: int
    host_setting: str
    port_setting: str


def of_api(settings: Settings) -> Address:
    return Address(settings.host, settings.port, "HOST", "PORT")


def of_metrics(settings: Settings) -> Address | None:
    if settings.metrics_port is None:
        return None
    return Address(settings.metrics_host, settings.metrics_port, "METRICS_HOST", "METRICS_PORT")


@contextmanager
def taken(address: Address, *, divided: bool) -> Iterator[socket.socket]:
    """The port, bound and not listening: connections are refused until a process listens. `divided` lets workers open
    sockets of their own on it."""
    host, port, host_setting, port_setting = address
    divided = divided and CAN_BE_DIVIDED
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except (TypeError, UnicodeError):
            raise SettingsError(f"{host_setting}: should be an address of this machine") from None
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                raise SettingsError(
                    f"{port_setting}: should be a free port; {port} on {host}: {error.strerror}"
                ) from None
            raise SettingsError(f"{host_setting}: should be an address of this machine; {host} is none") from None
        if divided:
            # Only now, so that another service on this port was noticed, and with nothing left that would let a second
            # one take it while our workers are still starting.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield sock
