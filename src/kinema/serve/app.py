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
from kinema.serve import beside, plan, videos
from kinema.serve.bodies import ConnectBody, CreateBody, EditBody, ExtendBody, RemixBody
from kinema.serve.desk import Desk
from kinema.serve.document import document
from kinema.serve.edge import Edge
from kinema.serve.errors import ApiError, api_error, bad
from kinema.serve.intake import Intake
from kinema.serve.metrics import Metrics
from kinema.serve.settings import Settings, data_folder
from kinema.serve.store import Store
from kinema.serve.supervisor import Supervisor
from kinema.serve.uploads import Reading
from kinema.serve.webhooks import deliver

log = logging.getLogger("kinema.serve")

DRAIN_SECONDS = 20.0
"""In which workers save what they are at when the server ends."""
BODIES = (CreateBody, RemixBody, EditBody, ExtendBody, ConnectBody)


class App:
    """The server as an ASGI application; `desk` is what its routes share."""

    def __init__(self, inner: ASGIApp, desk: Desk, api: FastAPI) -> None:
        self._inner, self.desk, self.api = inner, desk, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self._inner(scope, receive, send)


def app(settings: Settings) -> App:
    """A server; its workers run from its start-up to its shutdown.

    Raises:
        UserError: the data folder can't be used.
    """
    data_folder(settings.data)
    store = Store(settings.data, durable=True)
    desk = Desk(
        settings=settings,
        store=store,
        supervisor=Supervisor(settings, store),
        intake=Intake(store, settings.limits),
        reading=Reading(settings),
        metrics=Metrics(),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await desk.ask(desk.supervisor.start)
        try:
            async with deliver(settings.webhook, store):
                yield
        finally:
            desk.draining.set()
            await desk.ask(desk.supervisor.stop, DRAIN_SECONDS)
            store.close()

    api = FastAPI(
        title="Kinema", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    api.include_router(videos.router(desk))
    api.include_router(plan.router(desk))
    api.include_router(beside.router(desk))
    for kind in (ApiError, UserError, sqlite3.OperationalError, OSError):
        api.add_exception_handler(kind, _answer)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http)
    described: dict[str, object] = {}

    def openapi() -> dict[str, object]:
        if not described:
            described.update(document(api, BODIES, keys=bool(settings.keys)))
        return described

    api.openapi = openapi  # The way FastAPI documents for a document of one's own.
    return App(Edge(api, settings, desk.metrics), desk, api)


async def _answer(_: Request, error: Exception) -> Response:
    known = api_error(error)
    if known is None:
        raise error
    return Response(known.body(), known.status, known.headers, "application/json")


async def _invalid(_: Request, error: Exception) -> Response:
    """FastAPI's own validation of addresses and queries."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    where = str(first.get("loc", ("", "request"))[-1])
    known = bad(
        f"Invalid value for '{where}': {first.get('msg', 'it is wrong')}.", param=where, code="invalid_value"
    )
    return Response(known.body(), known.status, known.headers, "application/json")


async def _http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict((error.headers if isinstance(error, HTTPException) else None) or {})
    words = {404: "There is nothing at this address.", 405: "This address does not take this method."}
    known = ApiError(status, words.get(status, "The request failed."), headers=headers)
    return Response(known.body(), known.status, known.headers, "application/json")
