"""A small load balancer: it forwards each new connection to a healthy copy, in turn, and never retries."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class LoadBalancer:
    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.healthy: list[int] = []  # the one chosen longest ago comes first
        self.port = 0

    async def serve(self, is_up: threading.Event, stop: threading.Event) -> None:
        async with await asyncio.start_server(self._connect, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            is_up.set()
            while not stop.is_set():
                await asyncio.gather(*map(self._check_health, self.ports))
                await asyncio.sleep(0.1)

    async def _check_health(self, port: int) -> None:
        answer = b""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.healthy = [each for each in self.healthy if each != port]
        elif port not in self.healthy:
            self.healthy.append(port)

    async def _connect(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        port = self.healthy.pop(0)
        self.healthy.append(port)
        from_copy, to_copy = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(from_client, to_copy), _pass_on(from_copy, to_client))


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


@contextmanager
def load_balancer_for(*ports: int) -> Iterator[LoadBalancer]:
    balancer, is_up, stop = LoadBalancer(list(ports)), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(balancer.serve(is_up, stop)))
    thread.start()
    try:
        assert is_up.wait(30)
        yield balancer
    finally:
        stop.set()
        thread.join()
