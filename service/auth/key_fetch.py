"""One GET of a list of keys, in a thread of its own: a name server that hangs holds up neither loop nor exit."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.settings.issuers import UnusableError

TIMEOUT = 5.0
MAX_STUCK = 3  # threads of one issuer that wait for something that knows no timeout

Fetch = Callable[[], Awaitable[bytes]]


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
    from service.auth.key_download import download  # noqa: PLC0415 - its client is a good part of every start otherwise

    try:
        return download(url, TIMEOUT)
    except (OSError, UnusableError) as error:
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
