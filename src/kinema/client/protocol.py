"""Requests as HTTP calls and answers as values: what both clients share, without any input or output."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kinema.client.errors import ClientError
from kinema.client.types import (
    CostEstimate,
    Create,
    Edit,
    Extend,
    File,
    Interpolate,
    Keyframe,
    Lora,
    Model,
    Options,
    Page,
    Remix,
    Shot,
    Source,
    Status,
    Video,
    VideoFailure,
)

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
STRICT = {"strict": "true"}
"""Our own requests have no unknown fields; one that a server does not know is an error, not ignored."""
MAX_RECONNECTS = 5
"""How often an interrupted event stream is opened again without a new event."""
RECONNECT_DELAY_S = 0.5
_VIDEO_ID = re.compile(r"video_[0-9a-f]{32}")
_IMAGE_FIELDS = ("input_reference", "last_image", "mask", "image")
_VIDEO_FIELDS = ("video", "next_video", "control")
_PATHS: dict[type[Options], str] = {
    Create: "/videos",
    Edit: "/videos/edits",
    Extend: "/videos/extensions",
    Interpolate: "/videos/interpolations",
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """An HTTP request.

    Attributes:
        method, path: of the request; the path is below `/v1`.
        params: of the query.
        json: the body, where no file is uploaded.
        files: parts of a form, for uploads.
        headers: additional ones.
    """

    method: str
    path: str
    params: dict[str, str] | None = None
    json: dict[str, Any] | None = None
    files: list[tuple[str, tuple[str | None, bytes | str]]] | None = None
    headers: dict[str, str] | None = None


def server_address(server: str) -> str:
    """The address without `/v1` and without a slash at its end.

    Raises:
        ClientError: it is no address.
    """
    if not server.startswith(("http://", "https://")):
        raise ClientError(f"{server!r} is no address; give one like http://127.0.0.1:8000")
    return server.rstrip("/").removesuffix("/v1")


def auth_headers(key: str | None) -> dict[str, str]:
    """Headers that carry an API key."""
    return {} if key is None else {"authorization": f"Bearer {key}"}


def submit_call(request: Create | Edit | Extend | Interpolate, idempotency_key: str | None = None) -> Call:
    """The call that submits a request.

    Raises:
        ClientError: a file can't be read.
    """
    headers = None if idempotency_key is None else {"idempotency-key": idempotency_key}
    return _body_call(_PATHS[type(request)], request, headers)


def remix_call(video_id: str, request: Remix) -> Call:
    """The call of a remix."""
    return _body_call(f"/videos/{video_id}/remix", request, None)


def estimate_call(request: Create) -> Call:
    """The call that asks for the cost of a request."""
    return Call(method="POST", path="/videos/estimate", json=_to_json(request)[0])


def list_call(
    after: str | None,
    limit: int,
    search: str,
    status: Status | None,
    favorite: bool | None,
    folder: str | None,
) -> Call:
    """The call of a page of the list."""
    values = {
        "after": after, "limit": limit, "q": search or None, "status": status, "favorite": favorite,
        "folder": folder,
    }  # fmt: skip
    params = {name: str(value).lower() if isinstance(value, bool) else str(value)
              for name, value in values.items() if value is not None}  # fmt: skip
    return Call(method="GET", path="/videos", params=params)


def _body_call(path: str, request: Options, headers: dict[str, str] | None) -> Call:
    body, uploads = _to_json(request)
    if not uploads:
        return Call(method="POST", path=path, params=STRICT, json=body, headers=headers)
    parts: list[tuple[str, tuple[str | None, bytes | str]]] = [
        (name, (None, value if isinstance(value, str) else json.dumps(value))) for name, value in body.items()
    ]
    parts += [(name, ("upload", data)) for name, data in uploads.items()]
    return Call(method="POST", path=path, params=STRICT, files=parts, headers=headers)


def _to_json(request: Options | Shot | Keyframe | Lora) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The fields that are set, and uploaded videos."""
    body: dict[str, Any] = {}
    uploads: dict[str, bytes] = {}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if value is None or value == field.default:
            continue
        if field.name in _IMAGE_FIELDS:
            value = {"image_url": _image_url(value)}
        elif field.name in _VIDEO_FIELDS:
            if not isinstance(value, str) or not _VIDEO_ID.fullmatch(value):
                uploads[field.name] = _read_file(value)
                continue
            value = {"id": value}
        elif field.name == "references":
            value = [{"image_url": _image_url(image)} for image in value]
        elif isinstance(value, tuple):
            value = [_to_json(entry)[0] if dataclasses.is_dataclass(entry) else entry for entry in value]
        body[field.name] = value
    return body, uploads


def _image_url(image: File) -> str:
    if isinstance(image, str) and image[:5].lower() in ("data:", "https"):
        return image
    data = _read_file(image)
    signatures = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
    kind = next((kind for signature, kind in signatures.items() if data.startswith(signature)), None)
    if kind is None:
        raise ClientError("the image is not a JPEG, PNG or WebP; give another file", code="invalid_image")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _read_file(file: File) -> bytes:
    if isinstance(file, bytes):
        return file
    try:
        return Path(os.fspath(file)).read_bytes()
    except OSError as error:
        raise ClientError(f"can't read {os.fspath(file)}: {error.strerror}; give another file") from None


def check_response(response: httpx.Response) -> httpx.Response:
    """The response, if it is not an error. Its body is read.

    Raises:
        ClientError: with the server's message.
    """
    if response.status_code < 400:
        return response
    try:
        error = response.json()["error"]
        message, code, param = str(error["message"]), error.get("code"), error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, code, param = f"the server answered {response.status_code} without a message", None, None
    wait_ms = response.headers.get("retry-after-ms", "")
    raise ClientError(
        message,
        status=response.status_code,
        code=None if code is None else str(code),
        param=None if param is None else str(param),
        retry_after_s=int(wait_ms) / 1000 if wait_ms.isdecimal() else None,
    )


def connection_error(server: str, error: httpx.HTTPError) -> ClientError:
    """The error of a call that had no answer."""
    if isinstance(error, httpx.TimeoutException):
        return ClientError(f"{server} does not answer in time; try again later", code="timeout")
    return ClientError(
        f"can't reach the server at {server}; is `kinema serve` running there?", code="connection"
    )


def _not_the_api() -> ClientError:
    return ClientError("this server does not implement Kinema's API; check its address", code="not_the_api")


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ClientError: it is none.
    """
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise _not_the_api()
    return values


def parse_video(values: Mapping[str, Any]) -> Video:
    """A video object of the API; fields that an older server lacks have their defaults.

    Raises:
        ClientError: it is none.
    """
    try:
        info, error = values.get("kinema") or {}, values.get("error")
        return Video(
            id=str(values["id"]),
            status=values["status"],
            progress=int(values["progress"]),
            model=str(values["model"]),
            prompt=str(values.get("prompt") or ""),
            size=str(values["size"]),
            seconds=float(values["seconds"]),
            created_at=int(values["created_at"]),
            completed_at=values.get("completed_at"),
            expires_at=values.get("expires_at"),
            error=None if error is None else VideoFailure(code=str(error["code"]), message=error["message"]),
            warnings=tuple(values.get("warnings", ())),
            remixed_from=values.get("remixed_from_video_id"),
            width=info.get("width"),
            height=info.get("height"),
            num_frames=info.get("num_frames"),
            fps=info.get("fps"),
            task=str(info.get("task", "generate")),
            seed=int(info.get("seed", 0)),
            step=int(info.get("step", 0)),
            total_steps=int(info.get("total_steps", 0)),
            stage=str(info.get("stage", "")),
            sources=tuple(Source(role=one["role"], id=one["id"]) for one in info.get("sources", ())),
            favorite=bool(info.get("favorite", False)),
            folder=info.get("folder"),
            queue_position=info.get("queue_position"),
            eta_seconds=info.get("eta_seconds"),
            settings=info.get("settings"),
            ignored=tuple(info.get("ignored", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _not_the_api() from None


def parse_page(values: Mapping[str, Any]) -> Page:
    """A page of the list."""
    return Page(
        videos=tuple(map(parse_video, values.get("data", ()))), has_more=bool(values.get("has_more", False))
    )


def parse_estimate(values: Mapping[str, Any]) -> CostEstimate:
    """The cost of a request."""
    try:
        return CostEstimate(
            seconds=float(values["seconds"]),
            peak_memory=int(values["peak_memory"]),
            available_memory=int(values["available_memory"]),
        )
    except (KeyError, TypeError, ValueError):
        raise _not_the_api() from None


def parse_models(values: Mapping[str, Any]) -> list[Model]:
    """The names of the served model."""
    try:
        return [Model(id=entry["id"], info=entry["kinema"]) for entry in values["data"]]
    except (KeyError, TypeError):
        raise _not_the_api() from None


class EventParser:
    """Events of a server-sent stream from its lines."""

    def __init__(self) -> None:
        self._name, self._data = "", ""

    def feed(self, line: str) -> tuple[str, dict[str, Any]] | None:
        """The event that the line completes, if any."""
        field, _, value = line.partition(": ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data += value
        elif not line and self._data:
            event = self._name, parse_object(self._data)
            self._name, self._data = "", ""
            return event
        return None


def apply_event(video: Video, name: str, values: Mapping[str, Any]) -> Video:
    """The state of a video after an event."""
    if name in ("completed", "failed"):
        return dataclasses.replace(parse_video(values), preview=video.preview)
    if name == "deleted":
        failure = VideoFailure(code="deleted", message="The video was deleted.")
        return dataclasses.replace(video, status="failed", error=failure)
    if name == "preview":
        _, _, data = str(values.get("image", "")).partition(";base64,")
        return dataclasses.replace(video, preview=base64.b64decode(data) or video.preview)
    if name != "progress":
        return video
    status = str(values.get("status", video.status))
    return dataclasses.replace(
        video,
        # The last event of the stream has the final status, with the error's message.
        status="in_progress" if status == "in_progress" else video.status,
        progress=int(values.get("progress", video.progress)),
        step=int(values.get("step", video.step)),
        total_steps=int(values.get("total_steps", video.total_steps)),
        stage=str(values.get("stage", video.stage)),
    )
