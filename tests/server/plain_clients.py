"""Clients with plain sockets, for requests that no HTTP client sends, and the rows of a long answer."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.support import Service, User

HEAD = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

FILL = """
INSERT INTO tasks (user_id, title, description)
SELECT %s, 'Task ' || n, repeat('x', 2000) FROM generate_series(1, 1000) AS n
"""


@contextmanager
def connected(service: Service, count: int = 1) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 30)) for _ in range(count)]


@contextmanager
def paused_process(service: Service) -> Iterator[None]:
    """Stop the process, so that all bytes sent meanwhile have arrived when it continues."""
    service.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.process.send_signal(signal.SIGCONT)


def as_user_of(service: Service, user: User) -> User:
    return User(service.http, user.id, user.email, user.token)


def with_known_token(service: Service, user: User) -> User:
    """Whose next request asks the database nothing about the token."""
    user = as_user_of(service, user)
    assert user.get("/api/tasks").status_code == 200
    return user


def read_to_end(connection: socket.socket) -> bytes:
    """All bytes until the service closes the connection, by a reset if it had not read everything."""
    received = b""
    with suppress(ConnectionResetError):
        while more := connection.recv(65536):
            received += more
    return received
