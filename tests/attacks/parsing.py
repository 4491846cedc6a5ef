"""Request smuggling and floods that are costly to parse: hidden requests answered, and waits of other clients."""

import asyncio
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests import support
from tests.attacks import Measurement
from tests.security.test_smuggling import BAD_CHUNKS, BAD_LINES, CHUNKED, HIDDEN, START
from tests.storm import BackgroundProcess, Client

SECONDS = 5
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE_SECONDS = 5.0

FLOODS = {
    "one connection sends chunks of a byte": CHUNKED + b"1\r\nx\r\n" * 160_000,
    "one connection sends chunks with long extensions": CHUNKED + (b"1;a=%b\r\nx\r\n" % (b"b" * 900)) * 1_000,
    "one connection sends heads of 100 fields": (LIVE[:-2] + b"A:\r\n" * 99 + b"\r\n") * 20,
    "one connection sends heads that end in white space": (LIVE[:-2] + b"A: %b\r\n\r\n" % (b" " * 8000)) * 10,
    "one connection sends heads that are refused": LIVE[:-2] + b"A: %b\x00\r\n\r\n" % (b" \t" * 4000),
}


async def answer_to(port: int, sent: bytes) -> tuple[bytes, bool]:
    """The answers until the service closes the connection, and whether it closed in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = b""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            while more := await reader.read(65536):
                answer += more
        closes = True
    except TimeoutError:
        closes = False
    except OSError:
        closes = True
    writer.close()
    return answer, closes


async def hide(port: int) -> tuple[int, int]:
    """The number of hidden requests answered, and of connections still open after a bad request."""
    sent = [START + line + b"\r\n\r\n" + HIDDEN for line in BAD_LINES.values()]
    sent += [CHUNKED + chunks + HIDDEN for chunks in BAD_CHUNKS.values()]
    answers = await asyncio.gather(*(answer_to(port, each) for each in sent))
    return sum(b'{"status":"alive"}' in answer for answer, _ in answers), sum(not closes for _, closes in answers)


async def flood(port: int, sent: bytes, seconds: float) -> None:
    async def send() -> None:
        while True:
            await answer_to(port, sent)

    try:
        async with asyncio.timeout(seconds):
            await send()
    except TimeoutError:
        pass


async def wait_beside(port: int, seconds: float) -> float:
    longest, end = 0.0, time.monotonic() + seconds
    async with Client(port) as client:
        while time.monotonic() < end:
            longest = max(longest, (await client.ask(LIVE))[1])
            await asyncio.sleep(0.002)
    return longest


def run() -> Iterable[Measurement]:
    with tempfile.TemporaryDirectory() as directory, support.running(Path(directory)) as service:
        hidden, open_ones = asyncio.run(hide(service.port))
        yield Measurement("hidden requests that are answered", "0", str(hidden), hidden == 0)
        yield Measurement("connections that stay open after a bad request", "0", str(open_ones), open_ones == 0)
        for name, sent in FLOODS.items():
            attack = BackgroundProcess(flood, service.port, sent, SECONDS + 2)
            time.sleep(1)
            longest = BackgroundProcess(wait_beside, service.port, SECONDS).result()
            attack.result()
            yield Measurement(
                f"longest wait of another while {name}", "< 50 ms", f"{longest * 1000:.0f} ms", longest < 0.05
            )
