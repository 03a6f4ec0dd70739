"""Connections to hosts that a request names: only to public addresses, and to the address that was checked.

A server that calls any URL lets strangers reach hosts that only the server can reach (SSRF). So all addresses
of the host must be public, and the connection goes to one of those that were checked: a second DNS answer has
no effect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

HTTPS_PORT = 443


class HostError(Exception):
    """A host is unknown, or not public; the message says which."""


@dataclass(frozen=True, kw_only=True)
class PinnedUrl:
    """An https URL with a checked address in place of its host.

    Attributes:
        url: to call.
        host: of the original URL, for the certificate.
        authority: host and port, for the Host header.
    """

    url: str
    host: str
    authority: str

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the request needs."""
        return {"host": self.authority}

    @property
    def extensions(self) -> dict[str, str]:
        """Extensions of httpx that the request needs: the certificate must be that of the host."""
        return {"sni_hostname": self.host}


async def pin_url(url: str) -> PinnedUrl:
    """Resolve the host of an https URL.

    Raises:
        HostError: the host is unknown, or one of its addresses is not public.
        ValueError: this is not a URL.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = "" if parts.port in (None, HTTPS_PORT) else f":{parts.port}"
    address = await _resolve_public_address(host)
    url_host = f"[{address}]" if ":" in address else address
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return PinnedUrl(url=f"https://{url_host}{port}{path}", host=host, authority=f"{host}{port}")


async def _resolve_public_address(host: str) -> str:
    loop = asyncio.get_running_loop()
    try:
        entries = await loop.getaddrinfo(host, HTTPS_PORT, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise HostError("is unknown") from None
    addresses = [str(entry[4][0]) for entry in entries]
    # All addresses must be public, or a host could hide a private one among them.
    if not addresses or not all(is_public_address(address) for address in addresses):
        raise HostError("is not public")
    return addresses[0]


def is_public_address(address: str) -> bool:
    """Whether an IP address is on the public internet; IPv4 addresses inside IPv6 addresses are unwrapped."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is not None:
            return is_public_address(str(inner))
        if parsed in ipaddress.ip_network("64:ff9b::/96"):
            return is_public_address(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
    return parsed.is_global and not parsed.is_multicast
