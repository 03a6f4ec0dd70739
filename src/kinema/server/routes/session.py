"""`POST /studio/session`: a cookie in place of an API key, for the browser that shows the studio."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.requests import Request

from kinema.server.browser_session import COOKIE_NAME, LIFETIME_S, BrowserSessions


def router(sessions: BrowserSessions) -> APIRouter:
    """The endpoints. A server without API keys needs no session and sets no cookie."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/studio/session", status_code=204)
    async def create(request: Request) -> Response:
        """Begin a session with the API key of the Authorization header."""
        response = Response(status_code=204)
        if request.state.api_key is not None:
            response.set_cookie(
                COOKIE_NAME,
                sessions.create(request.state.api_key),
                max_age=LIFETIME_S,
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return response

    @routes.delete("/studio/session", status_code=204)
    async def delete() -> Response:
        """End the session of this browser."""
        response = Response(status_code=204)
        response.delete_cookie(COOKIE_NAME, httponly=True, samesite="strict")
        return response

    return routes
