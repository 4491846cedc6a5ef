"""TCP proxy between a service and its database, which can delay, silently drop and cut connections."""

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from tests.support import free_port


class DatabaseProxy:
    def __init__(self, server_url: str) -> None:
        self.server = urlsplit(server_url)
        self.port = free_port()
        self.connect_delay_seconds = 0.0  # seconds until a new connection reaches the server
        self.cut_on_bytes: bytes | None = None  # a message with these bytes is executed, but its answer is cut off
        self.cuts_left = 0
        self.cuts = 0
        self.connections: list[ProxiedConnection] = []
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept_connections, daemon=True).start()

    @property
    def url(self) -> str:
        user = self.server.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.port}{self.server.path}?sslmode=disable"

    def accept_connections(self) -> None:
        with suppress(OSError):
            while True:
                service, _ = self.listener.accept()
                self.connections.append(ProxiedConnection(self, service))

    def before_forwarding(self, connection: "ProxiedConnection", data: bytes) -> None:
        """Called with each piece of data before the server gets it."""

    def connect_to_server(self) -> socket.socket:
        asked = parse_qs(self.server.query)
        port = self.server.port or int(asked.get("port", ["5432"])[0])
        [directory] = asked.get("host", [""])
        if directory.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(f"{directory}/.s.PGSQL.{port}")
            return connection
        return socket.create_connection((directory or self.server.hostname or "127.0.0.1", port))

    def close_all(self) -> None:
        """Close every connection, as a suspended server does."""
        for connection in self.connections:
            connection.close()

    def drop_silently(self) -> None:
        """Drop all further data of every connection without closing it, as a firewall does."""
        for connection in self.connections:
            connection.is_dead = True

    def close(self) -> None:
        self.listener.close()
        self.close_all()


class ProxiedConnection:
    def __init__(self, proxy: DatabaseProxy, service: socket.socket) -> None:
        self.proxy = proxy
        self.service = service
        self.server: socket.socket | None = None
        self.is_dead = False
        self.is_cut = False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        time.sleep(self.proxy.connect_delay_seconds)
        self.server = self.proxy.connect_to_server()
        threading.Thread(target=self.forward_answers, args=[self.server], daemon=True).start()
        with suppress(OSError):
            while received := self.service.recv(65536):
                if self.is_dead:
                    continue
                self.proxy.before_forwarding(self, received)
                if self.proxy.cut_on_bytes is not None and self.proxy.cut_on_bytes in received and self.proxy.cuts_left:
                    self.is_cut = True
                    self.proxy.cuts += 1
                    self.proxy.cuts_left -= 1
                self.server.sendall(received)
        self.close()

    def forward_answers(self, server: socket.socket) -> None:
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
