"""Fetching a picture from an address a caller names: only from hosts the operator allows.

A server that fetches whatever address it is given lets strangers reach what only the server can reach. So the
host must be allowed by name, its address must be public, and the connection goes to the very address that was
checked: a name that answers differently the second time gains nothing. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

import httpx

from kinema.server.errors import ApiError, bad_request

FETCH_TIMEOUT_S = 15.0


async def fetch_image(url: str, allowed_hosts: tuple[str, ...], max_bytes: int) -> bytes:
    """The bytes at an address.

    Raises:
        ApiError: the host is not allowed, is not public, does not answer, or sends too much.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise bad_request("image_url is no address.", code="invalid_image_url") from None
    if not allowed_hosts:
        raise bad_request("image_url takes data URLs (data:image/png;base64,...); this server fetches nothing.",
                  code="invalid_image_url")  # fmt: skip
    if (
        parts.scheme != "https"
        or host.lower() not in allowed_hosts
        or port not in (None, 443)
        or parts.username
    ):
        raise bad_request(
            f"image_url takes data URLs, and https addresses of: {', '.join(allowed_hosts)}.",
            code="invalid_image_url",
        )
    address = await _resolve_public_address(host)
    shown = f"[{address}]" if ":" in address else address
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            return await _download(f"https://{shown}{path}", host, max_bytes)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise bad_request(
            f"The picture could not be fetched ({type(error).__name__}).", code="invalid_image_url"
        ) from None


async def _download(url: str, host: str, max_bytes: int) -> bytes:
    data = b""
    async with httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=FETCH_TIMEOUT_S) as client:
        request = client.build_request(
            "GET", url, headers={"host": host, "accept": "image/*", "accept-encoding": "identity"},
            extensions={"sni_hostname": host},
        )  # fmt: skip
        answer = await client.send(request, stream=True)
        try:
            if answer.status_code != 200:
                raise bad_request(
                    f"The picture's host answered {answer.status_code}.", code="invalid_image_url"
                )
            async for chunk in answer.aiter_raw():
                data += chunk
                if len(data) > max_bytes:
                    raise ApiError(413, f"The picture is larger than the {max_bytes >> 20} MiB allowed.",
                                   code="too_large", retry=False)  # fmt: skip
        finally:
            await answer.aclose()
    return data


async def _resolve_public_address(host: str) -> str:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise bad_request("The picture's host is not known.", code="invalid_image_url") from None
    addresses = [str(entry[4][0]) for entry in found]
    # All of them, or a host could hide a private one among public ones.
    if not addresses or not all(is_public_address(address) for address in addresses):
        raise bad_request("The picture's host is not public.", code="invalid_image_url")
    return addresses[0]


def is_public_address(address: str) -> bool:
    """Whether an address is one of the open network, also behind IPv6's ways of writing IPv4."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(known, ipaddress.IPv6Address):
        inner = known.ipv4_mapped or known.sixtofour or (known.teredo[1] if known.teredo else None)
        if inner is not None:
            return is_public_address(str(inner))
        if known in ipaddress.ip_network("64:ff9b::/96"):
            return is_public_address(str(ipaddress.IPv4Address(int(known) & 0xFFFFFFFF)))
    return known.is_global and not known.is_multicast
