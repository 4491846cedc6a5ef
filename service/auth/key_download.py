"""The GET itself, and what of an answer is taken. Loaded by who has an issuer with keys to fetch."""

import time

import httpx

from service.settings.issuers import UnusableError

MAX_BYTES = 256 * 1024
MAX_PIECES = 5_000  # of a body in chunks of one byte, each piece costs more than it holds


def download(url: str, timeout: float) -> bytes:
    try:
        return _get(url, timeout)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnusableError(f"{type(error).__name__} {error}") from None


def _get(url: str, timeout: float) -> bytes:
    """No redirect is followed, no cookie kept, no more read than a list of keys can need."""
    deadline = time.monotonic() + timeout
    # A proxy of the environment sees nothing of https. Plain http is for this machine alone, and goes to no proxy.
    trust_env = url.startswith("https:")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    with (
        httpx.Client(headers=headers, follow_redirects=False, timeout=timeout, trust_env=trust_env) as client,
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
                raise UnusableError(f"more than {MAX_BYTES} bytes, {MAX_PIECES} pieces or {timeout:.0f} seconds")
    return bytes(body)
