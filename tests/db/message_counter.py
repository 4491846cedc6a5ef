"""Counts the protocol messages that a service sends to its database."""

from collections import Counter

from tests.db.database_proxy import DatabaseProxy, ProxiedConnection

NAMES = {b"B": "Bind", b"E": "Execute", b"S": "Sync", b"P": "Parse", b"D": "Describe", b"Q": "Query", b"C": "Close"}


class MessageCounter(DatabaseProxy):
    """Proxy that counts the service's messages by type."""

    def __init__(self, server_url: str) -> None:
        self.sent: Counter[str] = Counter()
        self.unread: dict[ProxiedConnection, bytes] = {}
        super().__init__(server_url)

    def before_forwarding(self, connection: ProxiedConnection, data: bytes) -> None:
        started = connection in self.unread
        unread = self.unread.get(connection, b"") + data
        while message := self.first_message(unread, started):
            if started:
                self.sent[NAMES.get(message[:1], repr(message[:1]))] += 1
            unread, started = unread[len(message) :], True
        self.unread[connection] = unread

    @staticmethod
    def first_message(buffer: bytes, started: bool) -> bytes:
        """The first whole message: a type and a length; the first of a connection has no type."""
        skipped = 1 if started else 0
        if len(buffer) < skipped + 4:
            return b""
        length = skipped + int.from_bytes(buffer[skipped : skipped + 4], "big")
        return buffer[:length] if len(buffer) >= length else b""
