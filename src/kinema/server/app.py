"""The server as a function of its settings."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from kinema import __version__
from kinema.errors import UserError
from kinema.server.database import Database
from kinema.server.dependencies import AppState
from kinema.server.errors import ApiError, bad_request, to_api_error
from kinema.server.insert_batcher import InsertBatcher
from kinema.server.metrics import Metrics
from kinema.server.middleware import GatewayMiddleware
from kinema.server.openapi import build_openapi
from kinema.server.routes import estimate, events, videos
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    InterpolateRequest,
    RemixRequest,
)
from kinema.server.settings import Settings, ensure_data_dir
from kinema.server.supervisor import Supervisor
from kinema.server.uploads import UploadReader
from kinema.server.webhooks import run_delivery

log = logging.getLogger("kinema.server")

DRAIN_TIMEOUT_S = 20.0
"""In which workers save what they are at when the server ends."""
REQUEST_BODIES = (CreateVideoRequest, RemixRequest, EditRequest, ExtendRequest, InterpolateRequest)


class KinemaApp:
    """The server as an ASGI application; `state` is what its routes share."""

    def __init__(self, asgi_app: ASGIApp, state: AppState, api: FastAPI) -> None:
        self._asgi_app, self.state, self.api = asgi_app, state, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self._asgi_app(scope, receive, send)


def create_app(settings: Settings) -> KinemaApp:
    """A server; its workers run from its start-up to its shutdown.

    Raises:
        UserError: the data folder can't be used.
    """
    ensure_data_dir(settings.data_dir)
    store = Database(settings.data_dir, durable=True)
    desk = AppState(
        settings=settings,
        database=store,
        supervisor=Supervisor(settings, store),
        insert_batcher=InsertBatcher(store, settings.limits),
        upload_reader=UploadReader(settings),
        metrics=Metrics(),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await desk.run_in_thread(desk.supervisor.start)
        try:
            async with run_delivery(settings.webhook, store):
                yield
        finally:
            desk.draining.set()
            await desk.run_in_thread(desk.supervisor.stop, DRAIN_TIMEOUT_S)
            store.close()

    api = FastAPI(
        title="Kinema", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    api.include_router(videos.router(desk))
    api.include_router(estimate.router(desk))
    api.include_router(events.router(desk))
    for kind in (ApiError, UserError, sqlite3.OperationalError, OSError):
        api.add_exception_handler(kind, _handle_known_error)
    api.add_exception_handler(RequestValidationError, _handle_validation_error)
    api.add_exception_handler(HTTPException, _handle_http_error)
    described: dict[str, object] = {}

    def openapi() -> dict[str, object]:
        if not described:
            described.update(build_openapi(api, REQUEST_BODIES, requires_api_key=bool(settings.keys)))
        return described

    api.openapi = openapi  # The way FastAPI documents for a document of one's own.
    return KinemaApp(GatewayMiddleware(api, settings, desk.metrics), desk, api)


async def _handle_known_error(_: Request, error: Exception) -> Response:
    known = to_api_error(error)
    if known is None:
        raise error
    return Response(known.body(), known.status, known.headers, "application/json")


async def _handle_validation_error(_: Request, error: Exception) -> Response:
    """FastAPI's own validation of addresses and queries."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    where = str(first.get("loc", ("", "request"))[-1])
    known = bad_request(
        f"Invalid value for '{where}': {first.get('msg', 'it is wrong')}.", param=where, code="invalid_value"
    )
    return Response(known.body(), known.status, known.headers, "application/json")


async def _handle_http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict((error.headers if isinstance(error, HTTPException) else None) or {})
    words = {404: "There is nothing at this address.", 405: "This address does not take this method."}
    known = ApiError(status, words.get(status, "The request failed."), headers=headers)
    return Response(known.body(), known.status, known.headers, "application/json")
