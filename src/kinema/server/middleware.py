"""Middleware around the API: request ids and metrics, CORS, error responses, size limits."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kinema.server.authentication import AuthMiddleware
from kinema.server.browser_session import BrowserSessions
from kinema.server.dialects.errors import error_body
from kinema.server.errors import ApiError, to_api_error
from kinema.server.metrics import Metrics
from kinema.server.open_bodies import OpenBodies
from kinema.server.settings import Settings
from kinema.server.tracing import Tracing

log = logging.getLogger("kinema.server")

BODY_TIMEOUT_S = 120.0
"""Time limit of a request's body, so that slow senders do not accumulate."""
BODY_STALL_TIMEOUT_S = 20.0
"""Time limit between two parts of a body."""
STATUS_MESSAGES = {
    400: "The request is malformed.",
    404: "There is nothing at this path.",
    405: "This path does not support this method.",
    416: "The file has no such byte range.",
    500: "The server has failed; its log has details.",
}
PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; font-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of the studio: it loads nothing from elsewhere, and no other page can frame or open it."""
_REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def add_middleware(
    app: FastAPI, settings: Settings, metrics: Metrics, tracing: Tracing, sessions: BrowserSessions
) -> None:
    """Add all middleware, the outermost last."""
    limits = settings.limits
    app.add_middleware(BodyLimitMiddleware, max_bytes=limits.max_body_bytes, open_bodies=OpenBodies(limits))
    app.add_middleware(AuthMiddleware, settings=settings, sessions=sessions)
    app.add_middleware(ErrorMiddleware)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("authorization", "content-type", "idempotency-key", "range"),
            expose_headers=("x-request-id", "openai-poll-after-ms", "retry-after-ms"),
        )
    app.add_middleware(RequestMiddleware, metrics=metrics, tracing=tracing)


class RequestMiddleware:
    """Gives each request an id, the caller's if it is well-formed, counts and traces the response."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app, self._metrics, self._tracing = app, metrics, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection; WebSockets are not supported."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get("x-request-id", "")
        if not _REQUEST_ID_PATTERN.fullmatch(request_id):
            request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        status, started_at = 0, time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
                if scope["path"] == "/studio" or scope["path"].startswith("/studio/"):
                    headers.update(PAGE_HEADERS)
            await send(message)

        method = scope["method"]
        with self._tracing.request(method, Headers(scope=scope)) as span:
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                path = getattr(scope.get("route"), "path", "other")
                self._metrics.observe(method, path, status, time.perf_counter() - started_at)
                self._tracing.finish_request(span, method=method, route=path, status=status)


class ErrorMiddleware:
    """Answers exceptions, and errors that the framework answers as text, in the API's form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = is_replaced = False

        async def send_error(error: ApiError) -> None:
            nonlocal is_started, is_replaced
            is_started = is_replaced = True
            body = error_body(scope["path"], error)
            headers = MutableHeaders(headers={**error.headers, "content-type": "application/json"})
            headers["content-length"] = str(len(body))
            await send({"type": "http.response.start", "status": error.status, "headers": headers.raw})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

        async def send_checked(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                status, headers = message["status"], Headers(raw=message.get("headers", []))
                if status >= 400 and not headers.get("content-type", "").startswith("application/json"):
                    kept = {name: headers[name] for name in ("allow", "content-range") if name in headers}
                    text = STATUS_MESSAGES.get(status, "The request failed.")
                    await send_error(ApiError(status, text, headers=kept))
                    return
                is_started = True
            elif is_replaced:
                return
            await send(message)

        try:
            await self._app(scope, receive, send_checked)
        except ClientDisconnect:
            return  # Nobody waits for an answer, and it is no fault of the server.
        except Exception as error:
            api_error = to_api_error(error)
            if api_error is None:
                request_id = scope["state"]["request_id"]
                log.error("request %s", request_id, exc_info=error)
                message = f"The server has failed; its log has details under {request_id}."
                api_error = ApiError(500, message, code="server_error")
            if not is_started:
                await send_error(api_error)
            elif not is_replaced:
                # Too late for an error response: a broken connection tells the client that data is missing.
                raise


class BodyLimitMiddleware:
    """Limits the size of a request's body, of all open bodies together, and the time they take to arrive."""

    def __init__(self, app: ASGIApp, max_bytes: int, open_bodies: OpenBodies) -> None:
        self._app, self._max_bytes, self._open_bodies = app, max_bytes, open_bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large_error()
        owner, num_bytes, is_complete = scope["state"]["owner"], 0, False
        deadline = time.monotonic() + BODY_TIMEOUT_S

        async def receive_limited() -> Message:
            nonlocal num_bytes, is_complete
            if is_complete:
                return await receive()
            remaining = deadline - time.monotonic()
            try:
                # Unlike `asyncio.wait_for`, this needs no task for each part of a body.
                async with asyncio.timeout(max(0.01, min(remaining, BODY_STALL_TIMEOUT_S))):
                    message = await receive()
            except TimeoutError:
                raise ApiError(
                    408, f"The request's body did not arrive within {BODY_TIMEOUT_S:g} seconds, or paused "
                    f"for {BODY_STALL_TIMEOUT_S:g} seconds.",
                    param="body", headers={"connection": "close"},
                ) from None  # fmt: skip
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                self._open_bodies.add(owner, size)
                num_bytes += size
                is_complete = not message.get("more_body", False)
                if num_bytes > self._max_bytes:
                    raise self._too_large_error()
            return message

        try:
            await self._app(scope, receive_limited, send)
        finally:
            self._open_bodies.remove(owner, num_bytes)

    def _too_large_error(self) -> ApiError:
        return ApiError(413, f"The request is larger than the {self._max_bytes >> 20} MiB allowed.",
                        code="too_large", param="body", headers={"connection": "close"},
                        retry=False)  # fmt: skip
