"""Download of an image from a URL in a request, only from hosts that the operator allows.

A server that downloads any URL lets strangers reach hosts that only the server can reach (SSRF). The host
must be allowed by name, its address must be public, and the connection goes to the address that was checked,
so that a second DNS answer has no effect. Redirects are not followed.
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
    """The data at a URL.

    Raises:
        ApiError: the host is not allowed, not public, not reachable, or sends too much.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise bad_request("image_url is not a URL.", code="invalid_image_url") from None
    if not allowed_hosts:
        raise bad_request("This server downloads no images; send a data URL (data:image/png;base64,...).",
                  code="invalid_image_url")  # fmt: skip
    if (
        parts.scheme != "https"
        or host.lower() not in allowed_hosts
        or port not in (None, 443)
        or parts.username
    ):
        raise bad_request(
            f"image_url must be a data URL, or an https URL of: {', '.join(allowed_hosts)}.",
            code="invalid_image_url",
        )
    address = await _resolve_public_address(host)
    url_host = f"[{address}]" if ":" in address else address
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            return await _download(f"https://{url_host}{path}", host, max_bytes)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise bad_request(
            f"The image could not be downloaded ({type(error).__name__}).", code="invalid_image_url"
        ) from None


async def _download(url: str, host: str, max_bytes: int) -> bytes:
    data = b""
    async with httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=FETCH_TIMEOUT_S) as client:
        request = client.build_request(
            "GET", url, headers={"host": host, "accept": "image/*", "accept-encoding": "identity"},
            extensions={"sni_hostname": host},
        )  # fmt: skip
        response = await client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise bad_request(
                    f"The image's host answered {response.status_code}.", code="invalid_image_url"
                )
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > max_bytes:
                    raise ApiError(413, f"The image is larger than the {max_bytes >> 20} MiB allowed.",
                                   code="too_large", retry=False)  # fmt: skip
        finally:
            await response.aclose()
    return data


async def _resolve_public_address(host: str) -> str:
    loop = asyncio.get_running_loop()
    try:
        entries = await loop.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise bad_request("The image's host is unknown.", code="invalid_image_url") from None
    addresses = [str(entry[4][0]) for entry in entries]
    # All addresses must be public, or a host could hide a private one among them.
    if not addresses or not all(is_public_address(address) for address in addresses):
        raise bad_request("The image's host is not public.", code="invalid_image_url")
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
