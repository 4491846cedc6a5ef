"""Fetches a list of keys in a daemon thread, so that a hanging DNS lookup blocks neither event loop nor exit."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.settings.issuers import UnusableError
from service.traces.tracer import Tracer

TIMEOUT_SECONDS = 5.0
FETCH_SPAN = "fetch keys"
MAX_STUCK_THREADS = 3  # for each issuer; a DNS lookup has no timeout

Fetch = Callable[[], Awaitable[bytes]]


def fetcher(url: str, tracer: Tracer | None = None) -> Fetch:
    threads: list[threading.Thread] = []

    async def fetch() -> bytes:
        threads[:] = [thread for thread in threads if thread.is_alive()]
        if len(threads) >= MAX_STUCK_THREADS:
            raise UnusableError("the fetches before this one still hang")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        headers = tracer.headers() if tracer else {}
        threads.append(threading.Thread(target=_download_in_thread, args=[url, headers, loop, answer], daemon=True))
        threads[-1].start()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await answer

    return tracer.timed(FETCH_SPAN, "client", fetch) if tracer else fetch


def _download_in_thread(
    url: str, headers: dict[str, str], loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[bytes]"
) -> None:
    outcome = _download_or_error(url, headers)
    with suppress(RuntimeError):  # the loop is closed: the service has stopped meanwhile
        loop.call_soon_threadsafe(_resolve, answer, outcome)


def _download_or_error(url: str, headers: dict[str, str]) -> bytes | Exception:
    from service.auth.key_download import download  # noqa: PLC0415 - importing httpx would slow every start down

    try:
        return download(url, TIMEOUT_SECONDS, headers)
    except (OSError, UnusableError) as error:
        return error
    except Exception as error:  # noqa: BLE001 - any error that the answer causes means no keys
        return UnusableError(type(error).__name__)


def _resolve(answer: "asyncio.Future[bytes]", outcome: bytes | Exception) -> None:
    if answer.done():  # the caller timed out
        return
    if isinstance(outcome, bytes):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
