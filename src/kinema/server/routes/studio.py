"""The studio: the built files of the web page under `/studio/`. The middleware adds the security headers."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse
from starlette.requests import Request

from kinema.errors import UserError
from kinema.server.errors import not_found

HASHED_FILES_CACHE = "public, max-age=31536000, immutable"
"""Names of the files in `assets/` contain the hash of their content."""
_NAME = re.compile(r"(?:assets/)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+|")
"""Names of files of the page: no path leads out of its folder."""
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def static_dir() -> Path:
    """The folder of the built files in the package.

    Raises:
        UserError: the package was installed without them.
    """
    folder = Path(str(importlib.resources.files("kinema"))) / "webui" / "static"
    if not (folder / "index.html").is_file():
        raise UserError(f"the page is missing in {folder}; build it with: make webui")
    return folder


def router() -> APIRouter:
    """The routes.

    Raises:
        UserError: the page is not in the package.
    """
    folder = static_dir()
    routes = APIRouter(include_in_schema=False)

    @routes.get("/studio")
    async def redirect(request: Request) -> RedirectResponse:
        """Relative addresses in the page need the slash at the end."""
        return RedirectResponse(request.url.path + "/")

    @routes.get("/studio/{name:path}")
    async def file(name: str) -> FileResponse:
        """A file of the page."""
        path = folder / (name or "index.html")
        if not _NAME.fullmatch(name) or path.suffix not in MEDIA_TYPES or not path.is_file():
            raise not_found("There is nothing at this path.")
        cache = HASHED_FILES_CACHE if name.startswith("assets/") else "no-cache"
        return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers={"cache-control": cache})

    return routes
