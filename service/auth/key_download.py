"""Downloads a list of keys with strict limits. Imported only when an issuer has keys to fetch."""

import time

import httpx

from service.settings.issuers import UnusableError

MAX_BYTES = 256 * 1024
MAX_CHUNKS = 5_000  # each chunk costs time, even if it holds one byte


def download(url: str, timeout: float, headers: dict[str, str] | None = None) -> bytes:
    try:
        return _get(url, timeout, headers or {})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnusableError(f"{type(error).__name__} {error}") from None


def _get(url: str, timeout: float, more_headers: dict[str, str]) -> bytes:
    """Follows no redirect, keeps no cookie, and reads no more than a list of keys can need."""
    deadline = time.monotonic() + timeout
    # https may go through a proxy of the environment, which cannot read it. Plain http is allowed to this machine only.
    trust_env = url.startswith("https:")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"} | more_headers
    with (
        httpx.Client(headers=headers, follow_redirects=False, timeout=timeout, trust_env=trust_env) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != 200:
            raise UnusableError(f"answered {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise UnusableError("answered in an encoding that nobody asked for")
        body = bytearray()
        for number, chunk in enumerate(response.iter_raw()):
            body += chunk
            if len(body) > MAX_BYTES or number > MAX_CHUNKS or time.monotonic() > deadline:
                raise UnusableError(f"more than {MAX_BYTES} bytes, {MAX_CHUNKS} pieces or {timeout:.0f} seconds")
    return bytes(body)
