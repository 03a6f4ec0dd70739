"""Receivers of events that a request names, and in whose shape they get them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request

from kinema.pipeline.request import check_text
from kinema.server.dialects.signed_links import base_url
from kinema.server.errors import bad_request
from kinema.server.settings import Settings
from kinema.server.submit import JobWebhook

MAX_URL_CHARS = 2000


def parse_webhook(
    settings: Settings, url: object, *, param: str, shape: Literal["openrouter", "fal"], request: Request
) -> JobWebhook | None:
    """The receiver that a request names; None if it names none.

    Args:
        settings: of the server; `callback_hosts` are the hosts that may be named.
        url: of the receiver.
        param: the request's name for it.
        shape: of the events.
        request: the events have links to the host that it calls.

    Raises:
        ApiError: the URL is not https, or its host is not allowed.
    """
    if url in (None, ""):
        return None
    try:
        parts = urlsplit(str(url)[:MAX_URL_CHARS])
        host, is_plain = (parts.hostname or "").lower(), parts.scheme == "https" and not parts.username
        check_text(str(url))
        is_plain = is_plain and len(str(url)) <= MAX_URL_CHARS
    except ValueError:
        host, is_plain = "", False
    if not is_plain or host not in settings.callback_hosts:
        allowed = ", ".join(settings.callback_hosts)
        hint = (
            f"it must be an https URL of: {allowed}" if allowed else "this server calls no URLs of requests"
        )
        raise bad_request(f"{param}: {hint}.", param=param, code="invalid_callback_url")
    return JobWebhook(url=str(url), format=f"{shape} {base_url(request)}")
