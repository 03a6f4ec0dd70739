"""Download of an image from a URL in a request, only from hosts that the operator allows.

The host must be allowed by name, and its address must be public. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx

from kinema.server.errors import ApiError, bad_request
from kinema.server.public_hosts import HTTPS_PORT, HostError, PinnedUrl, pin_url

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
        or port not in (None, HTTPS_PORT)
        or parts.username
    ):
        raise bad_request(
            f"image_url must be a data URL, or an https URL of: {', '.join(allowed_hosts)}.",
            code="invalid_image_url",
        )
    try:
        pinned = await pin_url(url)
    except HostError as error:
        raise bad_request(f"The image's host {error}.", code="invalid_image_url") from None
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            return await _download(pinned, max_bytes)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise bad_request(
            f"The image could not be downloaded ({type(error).__name__}).", code="invalid_image_url"
        ) from None


async def _download(url: PinnedUrl, max_bytes: int) -> bytes:
    data = b""
    async with httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=FETCH_TIMEOUT_S) as client:
        headers = {**url.headers, "accept": "image/*", "accept-encoding": "identity"}
        request = client.build_request("GET", url.url, headers=headers, extensions=url.extensions)
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
