"""Where a request comes from: the peer, or what the trusted proxies say of it. What a client says is nothing."""

from ipaddress import IPv6Address, ip_address, ip_network

from service.request import Request

IPV6_PREFIX = 64  # what one customer is given: every address in it is the same somebody


def client_network(request: Request) -> str:
    """An IPv4 address, or the /64 of an IPv6 one."""
    hops = ",".join(request.headers.getall("x-forwarded-for", [])).split(",")
    trusted = request.app.ctx.trusted_proxies
    # Each proxy appends whom it was called by, so counted from the right they are the word of ever farther ones. With
    # fewer than there are proxies, somebody came past them.
    said = hops[-trusted] if 0 < trusted <= len(hops) else ""
    return network_of(said) or network_of(request.ip) or request.ip


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
