"""One GET of a list of keys, in a thread of its own: a name server that hangs holds up neither loop nor exit."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx

TIMEOUT = 5.0
MAX_BYTES = 256 * 1024
MAX_PIECES = 5_000  # of a body in chunks of one byte, each piece costs more than it holds
MAX_STUCK = 3  # threads of one issuer that wait for something that knows no timeout

Fetch = Callable[[], Awaitable[bytes]]


class UnusableError(Exception):
    """What was answered is nothing that could be used."""


EXPECTED = (httpx.HTTPError, httpx.InvalidURL, OSError, UnusableError)


def fetcher(url: str) -> Fetch:
    threads: list[threading.Thread] = []

    async def fetch() -> bytes:
        threads[:] = [thread for thread in threads if thread.is_alive()]
        if len(threads) >= MAX_STUCK:
            raise UnusableError("the fetches before this one still hang")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        threads.append(threading.Thread(target=_work, args=[url, loop, answer], daemon=True))
        threads[-1].start()
        async with asyncio.timeout(TIMEOUT):
            return await answer

    return fetch


def _work(url: str, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[bytes]") -> None:
    outcome = _outcome(url)
    with suppress(RuntimeError):  # the loop is closed: the service has ended meanwhile
        loop.call_soon_threadsafe(_settle, answer, outcome)


def _outcome(url: str) -> bytes | Exception:
    try:
        return get(url)
    except EXPECTED as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever a stranger's answer may cause, it is no answer
        return UnusableError(type(error).__name__)


def _settle(answer: "asyncio.Future[bytes]", outcome: bytes | Exception) -> None:
    if answer.done():  # nobody waits any more
        return
    if isinstance(outcome, bytes):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)


def get(url: str) -> bytes:
    """No redirect is followed, no cookie kept, no more read than a list of keys can need."""
    deadline = time.monotonic() + TIMEOUT
    # A proxy of the environment sees nothing of https. Plain http is for this machine alone, and goes to no proxy.
    trust_env = url.startswith("https:")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    with (
        httpx.Client(headers=headers, follow_redirects=False, timeout=TIMEOUT, trust_env=trust_env) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != 200:
            raise UnusableError(f"answered {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise UnusableError("answered in an encoding that nobody asked for")
        body = bytearray()
        for number, piece in enumerate(response.iter_raw()):
            body += piece
            if len(body) > MAX_BYTES or number > MAX_PIECES or time.monotonic() > deadline:
                raise UnusableError(f"more than {MAX_BYTES} bytes, {MAX_PIECES} pieces or {TIMEOUT:.0f} seconds")
    return bytes(body)
