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
ENDED = ("completed", "failed")
_TIMES = httpx.Timeout(60.0, connect=5.0)
_PATIENCE = 5
"""How often a broken event stream is opened again without having said anything new."""
_PAUSE = 0.5
"""Seconds before that, more each time."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A shot of a storyboard: from `seconds` on, `prompt` speaks, and `image`, if any, is shown there."""

    prompt: str
    seconds: float = 0.0
    transition: Transition = "cut"
    image: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """A film to be made. None leaves a choice to the server."""

    prompt: str
    size: str | None = None
    seconds: float | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    negative: str | None = None
    first: Path | None = None
    last: Path | None = None
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
        steps: of the solver.
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
    steps: int = 0
    preview: bytes | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a film would cost on the server.

    Attributes:
        seconds: how long making it takes, without waiting for others.
        memory: bytes at the worst moment.
        free: bytes that there are.
    """

    seconds: float
    memory: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.memory <= self.free


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
                timeout=_TIMES,
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

    def served(self) -> ModelInfo:
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

    def create(self, order: Order) -> Video:
        """Ask for a film."""
        return self._video("POST", "/videos", _body(order))

    def plan(self, order: Order) -> Plan:
        """What it would cost, before it is asked for."""
        told = self._json("POST", "/videos/plan", _body(order))
        return Plan(seconds=float(told["seconds"]), memory=int(told["memory"]), free=int(told["free"]))

    def remix(self, video: str, prompt: str) -> Video:
        """The film once more, with other words."""
        return self._video("POST", f"/videos/{video}/remix", {"prompt": prompt})

    def extend(self, video: str, prompt: str, seconds: float, *, backward: bool = False) -> Video:
        """The film with `seconds` more at its end, or before its beginning."""
        body = {
            "video": {"id": video},
            "prompt": prompt,
            "seconds": format_seconds(seconds),
            "backward": backward,
        }
        return self._video("POST", "/videos/extensions", body)

    def connect(self, first: str, second: str, prompt: str) -> Video:
        """A bridge from the end of one film to the beginning of another."""
        body = {"video": {"id": first}, "next_video": {"id": second}, "prompt": prompt}
        return self._video("POST", "/videos/connections", body)

    def retrieve(self, video: str) -> Video:
        """How it stands."""
        return self._video("GET", f"/videos/{video}")

    def videos(self, limit: int = 60) -> list[Video]:
        """The latest films, newest first."""
        told = self._json("GET", f"/videos?limit={limit}&order=desc")
        return [_read(entry) for entry in told.get("data", [])]

    def cancel(self, video: str) -> Video:
        """End it before it is done."""
        return self._video("POST", f"/videos/{video}/cancel")

    def delete(self, video: str) -> None:
        """Remove it, film and all."""
        self._json("DELETE", f"/videos/{video}")

    def content(self, video: str, variant: Literal["video", "thumbnail", "spritesheet"] = "video") -> bytes:
        """The film (MP4), its thumbnail (WebP) or its sprite sheet (JPEG)."""
        response = self._answer("GET", f"/videos/{video}/content?variant={variant}")
        return response.content

    def download(self, video: str, path: Path) -> Path:
        """Write the film to a path, whole or not at all."""
        write_bytes(path, self.content(video))
        return path

    def follow(self, video: str) -> Iterator[Video]:
        """How it stands, at every change until it has ended; the last one says how it ended.

        A broken stream is opened again, until that brings nothing new.
        """
        now, idle = self.retrieve(video), 0
        yield now
        while not now.ended:
            try:
                for name, told in self._events(video):
                    idle, now = 0, _after(now, name, told)
                    yield now
                    if now.ended:
                        return
                broken = None
            except httpx.HTTPError as error:
                broken = error
            idle += 1
            if idle >= _PATIENCE:
                raise (
                    self._unreachable(broken)
                    if broken
                    else UserError("the server stopped telling how it goes")
                )
            time.sleep(idle * _PAUSE)
            now = self.retrieve(video)
            yield now

    def _events(self, video: str) -> Iterator[tuple[str, dict[str, Any]]]:
        headers = {"accept": "text/event-stream"}
        with self._http.stream("GET", f"/videos/{video}/events", headers=headers) as answer:
            if answer.status_code != 200:
                answer.read()
                raise _refused(answer)
            name, data = "", ""
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data += value
                elif not line and data:
                    yield name, _parsed(data)
                    name, data = "", ""

    def _video(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Video:
        return _read(self._json(method, path, body))

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return _parsed(self._answer(method, path, body).text)

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if response.status_code >= 400:
            raise _refused(response)
        return response

    def _unreachable(self, error: httpx.HTTPError) -> UserError:
        if isinstance(error, httpx.TimeoutException):
            return UserError(f"{self.server} does not answer in time; is it busy?")
        return UserError(f"can't reach the server at {self.server}; is `kinema serve` running there?")


def _refused(response: httpx.Response) -> UserError:
    """The server's sentence."""
    try:
        message = str(_parsed(response.text)["error"]["message"])
    except (UserError, KeyError, TypeError):
        message = f"the server answered {response.status_code} without saying why"
    return UserError(message)


def _parsed(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise UserError("this server does not speak the Videos API; check its address")
    return told


def _read(told: Mapping[str, Any]) -> Video:
    """A video object of the API."""
    error, making = told.get("error") or {}, told.get("kinema") or {}
    try:
        return Video(
            id=str(told["id"]),
            status=str(told["status"]),
            progress=int(told["progress"]),
            prompt=str(told["prompt"] or ""),
            size=str(told["size"]),
            seconds=str(told["seconds"]),
            seed=int(making.get("seed", 0)),
            error=str(error.get("message", "")),
            cancelled=error.get("code") == "cancelled",
            step=int(making.get("step", 0)),
            steps=int(making.get("steps", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError("this server does not speak the Videos API; check its address") from None


def _after(video: Video, name: str, told: Mapping[str, Any]) -> Video:
    """The film after an event of the stream."""
    if name in ENDED:
        return _read(told)
    if name == "deleted":
        return replace(video, status="failed", error="It was deleted.")
    if name == "preview":
        return replace(video, preview=_picture(str(told.get("image", ""))) or video.preview)
    if name != "progress":
        return video
    status = str(told.get("status", video.status))
    return replace(
        video,
        # How it ended is told by the event that ends the stream, which says why as well.
        status=video.status if status in ENDED else status,
        progress=int(told.get("progress", video.progress)),
        step=int(told.get("step", video.step)),
        steps=int(told.get("steps", video.steps)),
    )


def _picture(url: str) -> bytes | None:
    head, comma, data = url.partition("base64,")
    return base64.b64decode(data) if comma and head.startswith("data:") else None


def _body(order: Order) -> dict[str, Any]:
    """The fields of create; what is None is left out."""
    fields: dict[str, Any] = {
        "prompt": order.prompt,
        "size": order.size,
        "seconds": None if order.seconds is None else format_seconds(order.seconds),
        "seed": order.seed,
        "steps": order.steps,
        "guidance": order.guidance,
        "negative_prompt": order.negative or None,
        "input_reference": None if order.first is None else _data_url(order.first),
        "last_frame": None if order.last is None else _data_url(order.last),
        "loop": order.loop or None,
        "storyboard": [_shot(shot) for shot in order.shots] or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _shot(shot: Shot) -> dict[str, Any]:
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
