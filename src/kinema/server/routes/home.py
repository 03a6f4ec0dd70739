"""What people try first: `/`, `/health` and `/docs`."""

from __future__ import annotations

import html
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.requests import Request

from kinema import __version__
from kinema.server.dependencies import AppState
from kinema.server.schemas.responses import Liveness

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font-size: .9em; } table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
td, th { border-bottom: 1px solid #8884; padding: .25rem .5rem; text-align: left; vertical-align: top; }
h2 { margin: 2rem 0 .5rem; text-transform: capitalize; } h3 { margin: 1.5rem 0 0; font-family: monospace; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } a { color: #8bf; } }
"""


def router(state: AppState) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def home() -> JSONResponse:
        """What this server is, and where its parts are."""
        links = {
            "name": "Kinema", "version": __version__, "model": state.settings.model, "api": "/v1/videos",
            "models": "/v1/models", "openapi": "/openapi.json", "docs": "/docs", "health": "/healthz",
            "ready": "/readyz", "openrouter": "/api/v1/videos", "fal": "/fal/kinema/{model}",
        }  # fmt: skip
        if state.settings.studio:
            links["studio"] = "/studio/"
        return JSONResponse(links)

    @routes.get("/health")
    async def health() -> JSONResponse:
        """The same as `/healthz`."""
        return JSONResponse(Liveness(status="ok").model_dump())

    @routes.get("/docs", response_class=HTMLResponse)
    async def docs(request: Request) -> HTMLResponse:
        """The OpenAPI document as a page, without scripts and without other servers."""
        return HTMLResponse(render_docs(request.app.openapi()))

    return routes


def render_docs(document: dict[str, Any]) -> str:
    """A page of an OpenAPI document: each operation with its parameters and fields."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Kinema API</title>",
        f"<style>{_STYLE}</style><h1>Kinema API</h1><p>{_text(document['info'].get('description', ''))} "
        'The same as data: <a href="/openapi.json">/openapi.json</a>.</p>',
    ]
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            group = (operation.get("tags") or ["other"])[0]
            groups.setdefault(group, []).append(_render_operation(document, path, method, operation))
    for group, operations in groups.items():
        parts += [f"<h2>{_text(group)}</h2>", *operations]
    return "".join(parts) + "</html>"


def _render_operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    rows = [
        (parameter["name"], _type(parameter.get("schema", {})), parameter.get("description", ""))
        for parameter in operation.get("parameters", [])
    ]
    content = operation.get("requestBody", {}).get("content", {})
    for media in content.values():
        schema = media.get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = document["components"]["schemas"].get(name, schema)
        required = schema.get("required", ())
        rows += [
            (
                f"{field}{' (required)' if field in required else ''}",
                _type(value),
                value.get("description", ""),
            )
            for field, value in schema.get("properties", {}).items()
        ]
        break
    table = "".join(
        f"<tr><td><code>{_text(name)}</code><td>{_text(kind)}<td>{_text(description)}"
        for name, kind, description in rows
    )
    return f"<h3>{method.upper()} {_text(path)}</h3><p>{_text(operation.get('description', ''))}</p>" + (
        f"<table>{table}</table>" if table else ""
    )


def _type(schema: dict[str, Any]) -> str:
    """The type of a value in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(
            dict.fromkeys(_type(option) for option in schema["anyOf"] if option != {"type": "null"})
        )
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return "file" if schema.get("format") == "binary" else str(schema.get("type", "any"))


def _text(value: object) -> str:
    return html.escape(str(value))
