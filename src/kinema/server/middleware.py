"""The outermost layer: who calls, how much they send, and answers in the API's own form whatever happens."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kinema.server.errors import ApiError, error_body, to_api_error
from kinema.server.metrics import Metrics
from kinema.server.settings import Settings, hash_key, is_loopback

log = logging.getLogger("kinema.server")

LOCAL_OWNER = "local"
"""The owner of films where the server asks for no keys."""
PUBLIC_PATHS = ("/healthz", "/openapi.json")
BODY_TIMEOUT_S = 120.0
"""In which a request's body must have come in, so that slow senders don't gather."""
_REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class GatewayMiddleware:
    """Wraps the app."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        answer = _ResponseSender(
            send, _resolve_request_id(headers), self._cors_headers(headers), scope["method"] == "HEAD"
        )
        begun = time.perf_counter()
        try:
            await self._handle_request(scope, receive, answer, headers)
        except Exception as error:
            known = to_api_error(error)
            if known is None:
                log.error("request %s", answer.request_id, exc_info=error)
                message = f"The server made a mistake; its log says more under {answer.request_id}."
                known = ApiError(500, message, code="server_error")
            if not answer.status:
                await answer.send_error(known)
            elif not answer.error_sent:
                # Too late for an error: breaking off tells the client that the film is not whole.
                raise
        finally:
            route = scope.get("route")
            path = getattr(route, "camera_path", "other")
            self._metrics.observe(scope["method"], path, answer.status, time.perf_counter() - begun)

    async def _handle_request(
        self, scope: Scope, receive: Receive, response: _ResponseSender, headers: dict[bytes, bytes]
    ) -> None:
        if (
            scope["method"] == "OPTIONS"
            and b"access-control-request-method" in headers
            and response.cors_headers
        ):
            await response.send({"type": "http.response.start", "status": 204, "headers": [
                (b"access-control-allow-methods", b"GET, POST, DELETE"),
                (b"access-control-allow-headers", b"authorization, content-type, idempotency-key, range"),
                (b"access-control-max-age", b"600"),
            ]})  # fmt: skip
            await response.send({"type": "http.response.body", "body": b""})
            return
        self._check_origin(headers, bool(response.cors_headers))
        scope.setdefault("state", {})["owner"] = self._authenticate(scope["path"], headers)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._settings.limits.max_body_bytes:
            raise self._too_large_error()
        await self._app(scope, self._limit_body(receive), response.send)

    def _authenticate(self, path: str, headers: dict[bytes, bytes]) -> str:
        keys = self._settings.keys
        if not keys:
            return LOCAL_OWNER
        if path in PUBLIC_PATHS:
            return ""
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        digest = hash_key(key.strip())
        owner = None
        # All keys are compared, so that the time taken says nothing about which was nearly right.
        for known in keys:
            if hmac.compare_digest(known.digest, digest):
                owner = known.owner
        if owner is None or scheme.lower() != "bearer":
            raise ApiError(
                401, "This server asks for an API key; send it as: Authorization: Bearer KEY",
                code="invalid_api_key", headers={"www-authenticate": "Bearer"}, retry=False,
            )  # fmt: skip
        return owner

    def _check_origin(self, headers: dict[bytes, bytes], cors_allowed: bool) -> None:
        """A server without keys would obey every web page that its user has open, but for this."""
        if self._settings.keys:
            return
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin")
        if cors_allowed:
            return
        try:
            named = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            named = ""
        if not (is_loopback(named) or named == ""):
            raise ApiError(
                403, "Without API keys this server answers to 127.0.0.1 and localhost only.", retry=False
            )
        if origin is not None and origin.decode("latin-1") not in (f"http://{host}", f"https://{host}"):
            raise ApiError(403, "Scripts of other web pages may not call this server.", retry=False)

    def _cors_headers(self, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        origin = headers.get(b"origin", b"")
        if origin.decode("latin-1") not in self._settings.origins:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"x-request-id, openai-poll-after-ms, retry-after-ms"),
            (b"vary", b"Origin"),
        ]

    def _limit_body(self, receive: Receive) -> Receive:
        limit = self._settings.limits.max_body_bytes
        seen, deadline, whole = 0, time.monotonic() + BODY_TIMEOUT_S, False

        async def receive_limited() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.01, deadline - time.monotonic()))
            except TimeoutError:
                raise ApiError(
                    408, f"The request's body did not come in within {BODY_TIMEOUT_S:g} seconds."
                ) from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if seen > limit:
                    raise self._too_large_error()
            return message

        return receive_limited

    def _too_large_error(self) -> ApiError:
        limit = self._settings.limits.max_body_bytes
        return ApiError(413, f"The request is larger than the {limit >> 20} MiB allowed.", code="too_large",
                        headers={"connection": "close"}, retry=False)  # fmt: skip


class _ResponseSender:
    """What goes back: with a request id, and in the API's form where a framework answered in its own."""

    def __init__(
        self, send: Send, request_id: str, cors_headers: list[tuple[bytes, bytes]], is_head: bool
    ) -> None:
        self._send, self.request_id, self.cors_headers, self._is_head = (
            send,
            request_id,
            cors_headers,
            is_head,
        )
        self.status = 0
        self.error_sent = False

    async def send(self, message: Message) -> None:
        """Pass a part of an answer on."""
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = list(message.get("headers", []))
            kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
            if status >= 400 and not kind.startswith(b"application/json"):
                kept = {
                    name.decode("latin-1"): value.decode("latin-1")
                    for name, value in headers
                    if name.lower() in (b"allow", b"content-range")
                }
                await self.send_error(
                    ApiError(status, _STATUS_MESSAGES.get(status, "The request failed."), headers=kept)
                )
                return
            self.status = status
            headers += [(b"x-request-id", self.request_id.encode()), (b"x-content-type-options", b"nosniff")]
            message = {**message, "headers": [*headers, *self.cors_headers]}
        elif self.error_sent:
            return
        await self._send(message)

    async def send_error(self, error: ApiError) -> None:
        """Answer with an error, before anything else was sent."""
        self.status, self.error_sent = error.status, True
        body = error_body(error.status, error.message, code=error.code, param=error.param)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", self.request_id.encode()),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items()),
            *self.cors_headers,
        ]
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"" if self._is_head else body})


_STATUS_MESSAGES = {
    400: "The request can't be understood.",
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    500: "The server made a mistake; its log says more.",
    416: "The film has no such range of bytes.",
}


def _resolve_request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's, if it is harmless, else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID_PATTERN.fullmatch(given) else f"req_{secrets.token_hex(12)}"
