"""Facts from the operating system: unread bytes of a connection, and how many files may be open."""

import asyncio
import fcntl
import logging
import resource
import socket
import sys
import termios
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

OTHER_FILES = 100  # the log, the event loop, the documentation: beside the connections and the pool

_log = logging.getLogger("service.server.sockets")


@contextmanager
def socket_of(transport: asyncio.BaseTransport) -> Iterator[socket.socket]:
    """The socket, to set its options. It stays open. An option that fails because the client is gone is ignored."""
    own = socket.socket(fileno=transport.get_extra_info("socket").fileno())
    try:
        with suppress(OSError):
            yield own
    finally:
        own.detach()


def held_by_system(transport: Any) -> int:
    """Bytes in the socket's send buffer that the client has not confirmed. The system asks for more only when a third
    of them is gone: without this count, a client that reads slowly looks like one that reads nothing."""
    if sys.platform != "linux":
        return 0
    held = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
    return held[0]


def allow_files(connections: int, others: int) -> int:
    """The number of connections that the limit on open files permits, after raising it as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + others + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    possible = max(1, connections - (wanted - soft))
    _log.warning("the system allows %d open files: %d connections, not MAX_CONNECTIONS", soft, possible)
    return possible
