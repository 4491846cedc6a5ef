"""The wire between a service and its database, in the hands of a test: it listens, delays, goes dead and cuts."""

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from tests.support import free_port


class Line:
    def __init__(self, server_url: str) -> None:
        self.server = urlsplit(server_url)
        self.port = free_port()
        self.delay = 0.0  # seconds until a new connection reaches the server
        self.cut_at: bytes | None = None  # what is sent with this in it is done, and nobody is told: it is cut there
        self.cuts_left = 0
        self.cuts = 0
        self.connections: list[Connection] = []
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self) -> str:
        user = self.server.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.port}{self.server.path}?sslmode=disable"

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                service, _ = self.listener.accept()
                self.connections.append(Connection(self, service))

    def sends(self, connection: "Connection", data: bytes) -> None:
        """Called before the server gets it."""

    def reach(self) -> socket.socket:
        asked = parse_qs(self.server.query)
        port = self.server.port or int(asked.get("port", ["5432"])[0])
        [directory] = asked.get("host", [""])
        if directory.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(f"{directory}/.s.PGSQL.{port}")
            return connection
        return socket.create_connection((directory or self.server.hostname or "127.0.0.1", port))

    def close_all(self) -> None:
        """As a server does that is suspended."""
        for connection in self.connections:
            connection.close()

    def forget_all(self) -> None:
        """As a firewall does: without a word, and for good."""
        for connection in self.connections:
            connection.is_dead = True

    def close(self) -> None:
        self.listener.close()
        self.close_all()


class Connection:
    def __init__(self, line: Line, service: socket.socket) -> None:
        self.line = line
        self.service = service
        self.server: socket.socket | None = None
        self.is_dead = False
        self.is_cut = False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        time.sleep(self.line.delay)
        self.server = self.line.reach()
        threading.Thread(target=self.pass_back, args=[self.server], daemon=True).start()
        with suppress(OSError):
            while received := self.service.recv(65536):
                if self.is_dead:
                    continue
                self.line.sends(self, received)
                if self.line.cut_at is not None and self.line.cut_at in received and self.line.cuts_left:
                    self.is_cut = True
                    self.line.cuts += 1
                    self.line.cuts_left -= 1
                self.server.sendall(received)
        self.close()

    def pass_back(self, server: socket.socket) -> None:
        with suppress(OSError):
            while received := server.recv(65536):
                if self.is_cut:
                    break
                if not self.is_dead:
                    self.service.sendall(received)
        self.close()

    def close(self) -> None:
        for end in (self.service, self.server):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
