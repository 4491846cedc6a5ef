"""The client's network: that of the peer, or the one that trusted proxies report."""

import logging
import multiprocessing
from ipaddress import IPv6Address, ip_address, ip_network

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
            lock = getattr(request.app.shared_ctx, "proxy_warning", None)
            if lock is None or lock.acquire(block=False):
                _log.warning(
                    "a request brings X-Forwarded-For while TRUSTED_PROXIES=0: behind a proxy all clients count as one "
                    "address in the limits of logins and sign-ups; set it to the number of proxies if there are any"
                )


async def warn_once(app: App) -> None:
    """In the main process of several workers: the first of them that takes this lock keeps it, and warns for all."""
    app.shared_ctx.proxy_warning = multiprocessing.get_context("spawn").Lock()


def network_of(text: str) -> str | None:
    """None for what is no address. Some proxies add the port."""
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
