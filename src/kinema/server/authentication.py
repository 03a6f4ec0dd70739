"""Who may call: API keys and browser sessions, the throttle of wrong keys, and hosts and origins."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from kinema.server.browser_session import COOKIE_NAME, BrowserSessions
from kinema.server.connections import address_group
from kinema.server.errors import ApiError
from kinema.server.settings import ApiKey, Settings, hash_key, is_loopback

LOCAL_OWNER = "local"
"""Owner of the videos of a server without API keys."""
PUBLIC_PATHS = ("/", "/docs", "/health", "/healthz", "/readyz", "/openapi.json", "/studio")
PUBLIC_PREFIXES = ("/studio/", "/files/")
"""The files of the page, and downloads whose address is signed; the route checks the signature."""
KEY_SCHEMES = ("bearer", "key")
MAX_WRONG_KEYS = 20
"""Wrong keys of an address in a minute, after which only keys are accepted that it has used before."""
_WINDOW_S = 60.0
_MAX_REMEMBERED = 10_000


class AuthMiddleware:
    """Finds the owner of a request's API key; a server without keys accepts local callers only."""

    def __init__(self, app: ASGIApp, settings: Settings, sessions: BrowserSessions) -> None:
        self._app, self._settings, self._sessions = app, settings, sessions
        self._throttle = KeyThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            state = scope["state"]
            state["owner"], state["api_key"] = LOCAL_OWNER, None
            if self._settings.api_keys:
                key = self._authenticate(scope, headers)
                state["owner"], state["api_key"] = "" if key is None else key.owner, key
            else:
                self._check_local(scope["method"], headers)
        await self._app(scope, receive, send)

    def _authenticate(self, scope: Scope, headers: Headers) -> ApiKey | None:
        """The caller's key; None where none is needed."""
        scheme, _, text = headers.get("authorization", "").partition(" ")
        text = text.strip()
        if not text:
            key = self._session_key(scope["method"], headers)
            if key is None and not is_public(scope["method"], scope["path"]):
                raise _wrong_key_error()
            return key
        digest = hash_key(text)
        client = scope.get("client")
        address = address_group(client[0] if client else "")
        self._throttle.check(address, digest)
        key = None
        # All keys are compared, so that the time does not depend on which one matches.
        for api_key in self._settings.api_keys:
            if hmac.compare_digest(api_key.sha256, digest):
                key = api_key
        if key is None or scheme.lower() not in KEY_SCHEMES:
            self._throttle.note_wrong(address)
            raise _wrong_key_error()
        self._throttle.note_right(address, digest)
        return key

    def _session_key(self, method: str, headers: Headers) -> ApiKey | None:
        """The key of the session of a browser, for requests of the server's own pages."""
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE_NAME)
        except CookieError:
            return None
        key = None if cookie is None else self._sessions.find_key(cookie.value)
        if key is None:
            return None
        site = headers.get("sec-fetch-site")
        is_own = site in ("same-origin", "none") or (
            site is None and is_same_origin(headers.get("origin"), headers.get("host", ""))
        )
        if not is_own and not (site is None and method in ("GET", "HEAD") and "origin" not in headers):
            raise ApiError(
                403, "Scripts of other web pages may not call this server.", param="origin", retry=False
            )
        return key

    def _check_local(self, method: str, headers: Headers) -> None:
        """Refuse foreign hosts and origins: any web page could call the server otherwise.

        Starlette's TrustedHostMiddleware has no pattern for all loopback addresses.
        """
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin in self._settings.origins:
            return
        try:
            host_name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            host_name = ""
        if host_name and not is_loopback(host_name):
            raise ApiError(
                403, "Without API keys this server answers to 127.0.0.1 and localhost only.",
                param="host", retry=False,
            )  # fmt: skip
        # Browsers send no origin with images and forms by GET, but they say where a request comes from.
        is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        is_link = method == "GET" and headers.get("sec-fetch-dest") == "document"
        if (origin is not None and not is_same_origin(origin, host)) or (is_foreign and not is_link):
            raise ApiError(
                403, "Scripts of other web pages may not call this server.", param="origin", retry=False
            )


def is_public(method: str, path: str) -> bool:
    """Whether a path needs no key: health, documents, the page's files, and signed downloads."""
    if path == "/studio/session":
        return method == "DELETE"
    return method in ("GET", "HEAD") and (path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES))


def is_same_origin(origin: str | None, host: str) -> bool:
    """Whether the Origin header names the host that the request was sent to."""
    return origin in (f"http://{host}", f"https://{host}")


def _wrong_key_error() -> ApiError:
    return ApiError(
        401, "This server requires an API key; send it as: Authorization: Bearer KEY",
        code="invalid_api_key", param="authorization", headers={"www-authenticate": "Bearer"}, retry=False,
    )  # fmt: skip


class KeyThrottle:
    """Limits how many keys an address can try.

    Keys that the address has used before stay valid while it is throttled, so that somebody who guesses keys
    behind the same proxy does not lock out those who have one.
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def check(self, address: str, digest: str) -> None:
        """Refuse unknown keys of an address that has tried too many.

        Raises:
            ApiError: the address has to wait.
        """
        begin, count = self._wrong.get(address, (0.0, 0))
        remaining = _WINDOW_S - (time.monotonic() - begin)
        if count < MAX_WRONG_KEYS or remaining <= 0 or (address, digest) in self._known:
            return
        seconds = str(int(remaining) + 1)
        raise ApiError(
            429, f"Too many wrong API keys came from your address; try again in {seconds} seconds.",
            code="too_many_wrong_keys", param="authorization",
            headers={"retry-after": seconds, "retry-after-ms": str(int(remaining * 1000) + 1)},
        )  # fmt: skip

    def note_wrong(self, address: str) -> None:
        """Count a wrong key."""
        now = time.monotonic()
        begin, count = self._wrong.get(address, (now, 0))
        self._wrong[address] = (now, 1) if now - begin > _WINDOW_S else (begin, count + 1)
        _forget_oldest(self._wrong)

    def note_right(self, address: str, digest: str) -> None:
        """Remember a key that the address has."""
        self._known[address, digest] = None
        self._known.move_to_end((address, digest))
        _forget_oldest(self._known)


def _forget_oldest(entries: OrderedDict) -> None:
    while len(entries) > _MAX_REMEMBERED:
        entries.popitem(last=False)
