"""The client's network: that of the peer, or the one that trusted proxies report."""

import logging
import multiprocessing
import os
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from multiprocessing.connection import Connection

from service.http.context import App
from service.http.request import Request

FORWARDED = "x-forwarded-for"
IPV6_PREFIX = 64  # bits; a provider gives each customer such a network, so all its addresses count as one client

_log = logging.getLogger("service.http.client_address")


def client_network(request: Request) -> str:
    """An IPv4 address, or the /64 of an IPv6 one."""
    hops = ",".join(request.headers.getall(FORWARDED, [])).split(",")
    trusted = request.app.ctx.trusted_proxies
    # Each proxy appends the address of its caller, so the entry of the outermost trusted proxy is that many from the
    # right. A header with fewer entries did not come through all of them.
    said = hops[-trusted] if 0 < trusted <= len(hops) else ""
    return network_of(said) or network_of(request.ip) or request.ip


class ProxyWarning:
    """One warning where requests seem to come through a proxy that `TRUSTED_PROXIES` does not count."""

    def __init__(self) -> None:
        self._has_warned = False

    def look(self, request: Request) -> None:
        """A request middleware. A tenth of a microsecond a request, until the first with the header."""
        if not self._has_warned and FORWARDED in request.headers:
            self._has_warned = True
            token = getattr(request.app.shared_ctx, "proxy_warning", None)
            if token is None or os.read(token.fileno(), 1):
                _log.warning(
                    "a request brings X-Forwarded-For while TRUSTED_PROXIES=0: behind a proxy all clients count as one "
                    "address in the limits of logins and sign-ups; set it to the number of proxies if there are any"
                )


def warning_token() -> Connection:
    """Shared by several workers, so that one of them warns for all: a pipe with one byte in it, whose write end is
    closed. The first process that reads gets the byte, every other one the end of the file; none waits."""
    token, writer = multiprocessing.Pipe(duplex=False)
    os.write(writer.fileno(), b"1")
    writer.close()
    return token


async def share_warning(app: App) -> None:
    """In the main process of Sanic's own manager, which passes it on to its workers."""
    app.shared_ctx.proxy_warning = warning_token()


@lru_cache(maxsize=4096)
def network_of(text: str) -> str | None:
    """None for what is no address. Some proxies add the port. Kept, because each line of the log asks for it."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), IPV6_PREFIX), strict=False))
    return str(address)
