"""The ASGI application of the server, built from its settings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

from kinema import __version__
from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.server.browser_session import SESSION_SECRET_FILE, BrowserSessions, read_secret
from kinema.server.data_dir import ensure_data_dir, require_intact_database
from kinema.server.dependencies import AppState
from kinema.server.dialects import fal, openrouter
from kinema.server.dialects.errors import error_body
from kinema.server.dialects.signed_links import SECRET_FILE, LinkSigner
from kinema.server.errors import ApiError, bad_request, to_api_error
from kinema.server.file_store import DamagedFileError
from kinema.server.insert_batcher import InsertBatcher
from kinema.server.job_store import StoreBusyError
from kinema.server.live.sessions import LiveSessions
from kinema.server.metrics import Metrics
from kinema.server.middleware import STATUS_MESSAGES, add_middleware
from kinema.server.open_stores import open_file_store, open_job_store
from kinema.server.openapi_schema import build_openapi
from kinema.server.routes import (
    check,
    estimate,
    events,
    health,
    home,
    library,
    live,
    models,
    session,
    studio,
    sync,
    videos,
)
from kinema.server.routes import files as file_links
from kinema.server.settings import Settings
from kinema.server.supervisor import Supervisor
from kinema.server.tracing import open_tracing
from kinema.server.uploads import UploadReader
from kinema.server.webhooks import run_delivery

if TYPE_CHECKING:
    from kinema.server.mcp_server import McpEndpoint

DRAIN_TIMEOUT_S = 20.0
"""Time that workers have to save their jobs when the server shuts down."""


def create_app(settings: Settings) -> FastAPI:
    """The application, with its `AppState` as `app.state.server`. It starts and stops the workers.

    Raises:
        UserError: the data folder can't be used.
    """
    ensure_data_dir(settings.data_dir)
    if not settings.database:
        require_intact_database(settings.data_dir)
    store = open_job_store(settings.data_dir, settings.database, durable=True)
    files = open_file_store(settings.data_dir, settings.storage)
    for name in (SECRET_FILE, SESSION_SECRET_FILE):
        own = read_secret(settings.data_dir / name)
        if (shared := store.shared_secret(name, own)) != own:
            write_bytes(settings.data_dir / name, shared)
            (settings.data_dir / name).chmod(0o600)
    signer = LinkSigner(settings.data_dir)
    live_sessions = LiveSessions(settings, store)
    state = AppState(
        settings=settings,
        store=store,
        files=files,
        supervisor=Supervisor(settings, store, files),
        insert_batcher=InsertBatcher(store, settings.limits),
        upload_reader=UploadReader(settings),
        metrics=Metrics(),
        tracing=open_tracing(settings.tracing, "kinema-server"),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await state.run_in_thread(state.supervisor.start)
        try:
            async with (
                run_delivery(settings, store, signer),
                live_sessions.run(),
                contextlib.AsyncExitStack() as stack,
            ):
                if mcp_endpoint is not None:
                    await stack.enter_async_context(mcp_endpoint.run())
                yield
        finally:
            state.draining.set()
            await state.run_in_thread(state.supervisor.stop, DRAIN_TIMEOUT_S)
            await state.run_in_thread(state.tracing.close)
            store.close()

    api = FastAPI(
        title="Kinema", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    api.state.server = state
    mcp_endpoint = _mcp_endpoint(api)
    if mcp_endpoint is not None:
        api.router.routes.extend(mcp_endpoint.routes)
    # The order matters: /v1/videos/{video_id} would match /v1/videos/estimate.
    for group in (home, estimate, sync, library, check, videos, events, models, health):
        api.include_router(group.router(state))
    api.include_router(live.router(state, live_sessions))
    for dialect in (openrouter, fal, file_links):
        api.include_router(dialect.router(state, signer))
    sessions = BrowserSessions(settings.data_dir, settings.api_keys)
    if settings.studio:
        api.include_router(session.router(sessions))
        api.include_router(studio.router())
    for error_type in (ApiError, UserError, StoreBusyError, DamagedFileError, OSError):
        api.add_exception_handler(error_type, _handle_known_error)
    api.add_exception_handler(RequestValidationError, _handle_validation_error)
    api.add_exception_handler(HTTPException, _handle_http_error)
    document: dict[str, object] = {}

    def openapi() -> dict[str, object]:
        if not document:
            document.update(build_openapi(api, requires_api_key=bool(settings.api_keys)))
        return document

    api.openapi = openapi  # FastAPI's documented way to replace the document.
    add_middleware(api, settings, state.metrics, state.tracing, sessions)
    return api


def _mcp_endpoint(api: FastAPI) -> McpEndpoint | None:
    """`/mcp`, where the package is installed."""
    try:
        from kinema.server.mcp_server import McpEndpoint
    except ModuleNotFoundError:
        return None
    return McpEndpoint(api)


def _error_response(request: Request, error: ApiError) -> Response:
    return Response(error_body(request.url.path, error), error.status, error.headers, "application/json")


async def _handle_known_error(request: Request, error: Exception) -> Response:
    api_error = to_api_error(error)
    if api_error is None:
        raise error
    return _error_response(request, api_error)


async def _handle_validation_error(request: Request, error: Exception) -> Response:
    """FastAPI's own validation of paths and queries."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    param = str(first.get("loc", ("", "request"))[-1])
    message = f"Invalid value for '{param}': {first.get('msg', 'it is invalid')}."
    return _error_response(request, bad_request(message, param=param, code="invalid_value"))


async def _handle_http_error(request: Request, error: Exception) -> Response:
    status, headers = 500, None
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
    message = STATUS_MESSAGES.get(status, "The request failed.")
    param = {404: "path", 405: "method"}.get(status)
    return _error_response(request, ApiError(status, message, param=param, headers=headers))
