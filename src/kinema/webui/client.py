"""The HTTP API as plain calls: the Videos API with Kinema's additions, over httpx.

with Client("http://127.0.0.1:8000") as client:
    video = client.create(Order(prompt="a red ball rolls"))
    for video in client.follow(video.id):
        print(video.status, video.progress)
    client.download(video.id, Path("film.mp4"))
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import httpx

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.server.model_info import ModelInfo, format_seconds
from kinema.shapes import parse_size

Transition = Literal["cut", "blend"]
FINAL_STATUSES = ("completed", "failed")
_TIMEOUTS = httpx.Timeout(60.0, connect=5.0)
_MAX_RECONNECTS = 5
"""How often a broken event stream is opened again without having said anything new."""
_RECONNECT_DELAY = 0.5
"""Seconds before that, more each time."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A shot of a storyboard: from `seconds` on, `prompt` speaks, and `image`, if any, is shown there."""

    prompt: str
    seconds: float = 0.0
    transition: Transition = "cut"
    image: Path | None = None


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """A film to be made. None leaves a choice to the server."""

    prompt: str
    size: str | None = None
    seconds: float | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    image: Path | None = None
    last_image: Path | None = None
    loop: bool = False
    shots: tuple[Shot, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Video:
    """A film on the server, finished or not.

    Attributes:
        id: its name on the server.
        status: queued, in_progress, completed or failed.
        progress: in percent.
        prompt: what it was asked for.
        size: width x height, as asked.
        seconds: how long, as asked.
        seed: of the noise.
        error: why it failed, or an empty string.
        cancelled: whether it failed because somebody cancelled it.
        step: of the solver, from 1; 0 before it.
        num_inference_steps: of the solver.
        preview: a rough picture (WebP), where an event brought one.
    """

    id: str
    status: str
    progress: int
    prompt: str
    size: str
    seconds: str
    seed: int = 0
    error: str = ""
    cancelled: bool = False
    step: int = 0
    num_inference_steps: int = 0
    preview: bytes | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINAL_STATUSES


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What a film would cost on the server.

    Attributes:
        seconds: how long making it takes, without waiting for others.
        peak_memory: bytes at the worst moment.
        available_memory: bytes that there are.
    """

    seconds: float
    peak_memory: int
    available_memory: int

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.peak_memory <= self.available_memory


class Client:
    """One server. May be used from several threads.

    Args:
        server: where it listens, with or without `/v1`.
        key: API key, if it asks for one.
        transport: what carries the requests; tests put their own.

    Every call raises UserError with the server's own sentence, or with one that says it can't be reached.
    """

    def __init__(
        self, server: str, *, key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.server = server.rstrip("/").removesuffix("/v1")
        try:
            self._http = httpx.Client(
                base_url=f"{self.server}/v1",
                headers={} if key is None else {"authorization": f"Bearer {key}"},
                timeout=_TIMEOUTS,
                transport=transport,
                # Proxies are for the world outside, and a film server is next door.
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise UserError(
                f"{server!r} is no address ({error}); give one like http://127.0.0.1:8000"
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def model_info(self) -> ModelInfo:
        """What the server's model can make."""
        entries = self._json("GET", "/models").get("data", [])
        try:
            told = entries[0]["kinema"]
            width, height = parse_size(told["size"])
            return ModelInfo(
                name=str(told["model"]),
                width=width,
                height=height,
                size_multiple=int(told["unit"]),
                num_frames=int(told["frames"]),
                fps=float(told["fps"]),
                temporal_stride=int(told.get("temporal", 4)),
                num_inference_steps=int(told["steps"]),
                guidance_scale=float(told["guidance"]),
                supports_images=bool(told["pictures"]),
                tasks=tuple(told["verbs"]),
            )
        except (KeyError, TypeError, ValueError, IndexError):
            raise UserError(
                f"the server at {self.server} is not Kinema's; start one with: kinema serve"
            ) from None

    def create(self, request: VideoRequest) -> Video:
        """Ask for a film."""
        return self._video("POST", "/videos", _create_body(request))

    def estimate_cost(self, request: VideoRequest) -> CostEstimate:
        """What it would cost, before it is asked for."""
        told = self._json("POST", "/videos/plan", _create_body(request))
        return CostEstimate(
            seconds=float(told["seconds"]),
            peak_memory=int(told["memory"]),
            available_memory=int(told["free"]),
        )

    def remix(self, video_id: str, prompt: str) -> Video:
        """The film once more, with other words."""
        return self._video("POST", f"/videos/{video_id}/remix", {"prompt": prompt})

    def extend(self, video_id: str, prompt: str, seconds: float, *, backward: bool = False) -> Video:
        """The film with `seconds` more at its end, or before its beginning."""
        body = {
            "video": {"id": video_id},
            "prompt": prompt,
            "seconds": format_seconds(seconds),
            "backward": backward,
        }
        return self._video("POST", "/videos/extensions", body)

    def interpolate(self, first: str, second: str, prompt: str) -> Video:
        """A bridge from the end of one film to the beginning of another."""
        body = {"video": {"id": first}, "next_video": {"id": second}, "prompt": prompt}
        return self._video("POST", "/videos/connections", body)

    def retrieve(self, video_id: str) -> Video:
        """How it stands."""
        return self._video("GET", f"/videos/{video_id}")

    def list_videos(self, limit: int = 60) -> list[Video]:
        """The latest films, newest first."""
        told = self._json("GET", f"/videos?limit={limit}&order=desc")
        return [_parse_video(entry) for entry in told.get("data", [])]

    def cancel(self, video_id: str) -> Video:
        """End it before it is done."""
        return self._video("POST", f"/videos/{video_id}/cancel")

    def delete(self, video_id: str) -> None:
        """Remove it, film and all."""
        self._json("DELETE", f"/videos/{video_id}")

    def content(
        self, video_id: str, variant: Literal["video", "thumbnail", "spritesheet"] = "video"
    ) -> bytes:
        """The film (MP4), its thumbnail (WebP) or its sprite sheet (JPEG)."""
        response = self._request("GET", f"/videos/{video_id}/content?variant={variant}")
        return response.content

    def download(self, video_id: str, path: Path) -> Path:
        """Write the film to a path, whole or not at all."""
        write_bytes(path, self.content(video_id))
        return path

    def follow(self, video_id: str) -> Iterator[Video]:
        """How it stands, at every change until it has ended; the last one says how it ended.

        A broken stream is opened again, until that brings nothing new.
        """
        now, idle = self.retrieve(video_id), 0
        yield now
        while not now.ended:
            try:
                for name, told in self._events(video_id):
                    idle, now = 0, _apply_event(now, name, told)
                    yield now
                    if now.ended:
                        return
                broken = None
            except httpx.HTTPError as error:
                broken = error
            idle += 1
            if idle >= _MAX_RECONNECTS:
                raise (
                    self._connection_error(broken)
                    if broken
                    else UserError("the server stopped telling how it goes")
                )
            time.sleep(idle * _RECONNECT_DELAY)
            now = self.retrieve(video_id)
            yield now

    def _events(self, video_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        headers = {"accept": "text/event-stream"}
        with self._http.stream("GET", f"/videos/{video_id}/events", headers=headers) as answer:
            if answer.status_code != 200:
                answer.read()
                raise _server_error(answer)
            name, data = "", ""
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data += value
                elif not line and data:
                    yield name, _parse_json(data)
                    name, data = "", ""

    def _video(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Video:
        return _parse_video(self._json(method, path, body))

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return _parse_json(self._request(method, path, body).text)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._connection_error(error) from None
        if response.status_code >= 400:
            raise _server_error(response)
        return response

    def _connection_error(self, error: httpx.HTTPError) -> UserError:
        if isinstance(error, httpx.TimeoutException):
            return UserError(f"{self.server} does not answer in time; is it busy?")
        return UserError(f"can't reach the server at {self.server}; is `kinema serve` running there?")


def _server_error(response: httpx.Response) -> UserError:
    """The server's sentence."""
    try:
        message = str(_parse_json(response.text)["error"]["message"])
    except (UserError, KeyError, TypeError):
        message = f"the server answered {response.status_code} without saying why"
    return UserError(message)


def _parse_json(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise UserError("this server does not speak the Videos API; check its address")
    return told


def _parse_video(data: Mapping[str, Any]) -> Video:
    """A video object of the API."""
    error, making = data.get("error") or {}, data.get("kinema") or {}
    try:
        return Video(
            id=str(data["id"]),
            status=str(data["status"]),
            progress=int(data["progress"]),
            prompt=str(data["prompt"] or ""),
            size=str(data["size"]),
            seconds=str(data["seconds"]),
            seed=int(making.get("seed", 0)),
            error=str(error.get("message", "")),
            cancelled=error.get("code") == "cancelled",
            step=int(making.get("step", 0)),
            num_inference_steps=int(making.get("steps", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError("this server does not speak the Videos API; check its address") from None


def _apply_event(video: Video, name: str, data: Mapping[str, Any]) -> Video:
    """The film after an event of the stream."""
    if name in FINAL_STATUSES:
        return _parse_video(data)
    if name == "deleted":
        return replace(video, status="failed", error="It was deleted.")
    if name == "preview":
        return replace(video, preview=_decode_data_url(str(data.get("image", ""))) or video.preview)
    if name != "progress":
        return video
    status = str(data.get("status", video.status))
    return replace(
        video,
        # How it ended is told by the event that ends the stream, which says why as well.
        status=video.status if status in FINAL_STATUSES else status,
        progress=int(data.get("progress", video.progress)),
        step=int(data.get("step", video.step)),
        num_inference_steps=int(data.get("steps", video.num_inference_steps)),
    )


def _decode_data_url(url: str) -> bytes | None:
    head, comma, data = url.partition("base64,")
    return base64.b64decode(data) if comma and head.startswith("data:") else None


def _create_body(request: VideoRequest) -> dict[str, Any]:
    """The fields of create; what is None is left out."""
    fields: dict[str, Any] = {
        "prompt": request.prompt,
        "size": request.size,
        "seconds": None if request.seconds is None else format_seconds(request.seconds),
        "seed": request.seed,
        "steps": request.num_inference_steps,
        "guidance": request.guidance_scale,
        "negative_prompt": request.negative_prompt or None,
        "input_reference": None if request.image is None else _data_url(request.image),
        "last_frame": None if request.last_image is None else _data_url(request.last_image),
        "loop": request.loop or None,
        "storyboard": [_shot_body(shot) for shot in request.shots] or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _shot_body(shot: Shot) -> dict[str, Any]:
    fields: dict[str, Any] = {"prompt": shot.prompt, "seconds": shot.seconds, "transition": shot.transition}
    return fields if shot.image is None else {**fields, "image": _data_url(shot.image)}


def _data_url(path: Path) -> dict[str, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"can't read {path.name}: {error.strerror}; choose the picture again") from None
    kinds = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
    kind = next((kind for start, kind in kinds.items() if data.startswith(start)), None)
    if kind is None:
        raise UserError(f"{path.name} is not a JPEG, PNG or WebP picture; choose another")
    return {"image_url": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"}
