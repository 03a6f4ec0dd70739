"""Client of the HTTP API: the OpenAI Videos API with the additions of Kinema.

with Client("http://127.0.0.1:8000") as client:
    video = client.create(VideoRequest(prompt="a red ball rolls"))
    for video in client.follow(video.id):
        print(video.status, video.progress)
    client.download(video.id, Path("video.mp4"))
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
from kinema.models.formats.serialization import from_values
from kinema.pipeline.request import VideoRequest
from kinema.server.model_info import ModelInfo, format_seconds

FINAL_STATUSES = ("completed", "failed")
_TIMEOUTS = httpx.Timeout(60.0, connect=5.0)
_MAX_RECONNECTS = 5
"""How often an interrupted event stream is opened again without a new event."""
_RECONNECT_DELAY = 0.5
"""Seconds before the first of these attempts; the delay grows linearly."""
_NOT_THE_API = "this server does not implement the Videos API; check its address"


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video on the server, finished or not.

    Attributes:
        id: name of the video on the server.
        status: queued, in_progress, completed or failed.
        progress: in percent.
        prompt: prompt of the request.
        size: requested width x height.
        seconds: requested length.
        seed: seed of the noise.
        error: why it failed, else empty.
        cancelled: whether it failed because it was cancelled.
        step: finished solver steps.
        total_steps: solver steps of the whole video; 0 before they are known.
        preview: a rough image of the current step (WebP), if an event carried one.
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
    total_steps: int = 0
    preview: bytes | None = None

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
        return self.status in FINAL_STATUSES


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Estimated cost of a video on the server.

    Attributes:
        seconds: time of the generation, without waiting in the queue.
        peak_memory: in bytes.
        available_memory: in bytes.
    """

    seconds: float
    peak_memory: int
    available_memory: int

    @property
    def fits(self) -> bool:
        """Whether the memory suffices."""
        return self.peak_memory <= self.available_memory


class Client:
    """Client of one server, safe to use from several threads.

    Every method raises UserError with the error message of the server, or if the server can't be reached.

    Args:
        server: address, with or without `/v1`.
        key: API key, if the server needs one.
        transport: replaces the network in tests.
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
                # The server is on this machine or in its network, where a proxy would be in the way.
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise UserError(
                f"{server!r} is not an address ({error}); give one like http://127.0.0.1:8000"
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def model_info(self) -> ModelInfo:
        """What the model of the server can generate."""
        models = self._json("GET", "/models").get("data", [])
        try:
            # Fields that a newer server adds are ignored.
            known = {name: models[0]["kinema"][name] for name in ModelInfo.__dataclass_fields__}
            return from_values(ModelInfo, known, source="the model")
        except (KeyError, TypeError, IndexError, UserError):
            raise UserError(
                f"the server at {self.server} is not a Kinema server; start one with: kinema serve"
            ) from None

    def create(self, request: VideoRequest) -> Video:
        """Submit a request without source videos."""
        return self._video("POST", "/videos", _create_body(request))

    def estimate(self, request: VideoRequest) -> CostEstimate:
        """Estimate the cost of a request."""
        values = self._json("POST", "/videos/estimate", _create_body(request))
        return CostEstimate(
            seconds=float(values["seconds"]),
            peak_memory=int(values["peak_memory"]),
            available_memory=int(values["available_memory"]),
        )

    def remix(self, video_id: str, prompt: str) -> Video:
        """Generate the video again with another prompt."""
        return self._video("POST", f"/videos/{video_id}/remix", {"prompt": prompt})

    def extend(self, video_id: str, prompt: str, seconds: float, *, backward: bool = False) -> Video:
        """Extend a video by `seconds` after its end, or before its beginning."""
        body = {
            "video": {"id": video_id},
            "prompt": prompt,
            "seconds": format_seconds(seconds),
            "backward": backward,
        }
        return self._video("POST", "/videos/extensions", body)

    def interpolate(self, first: str, second: str, prompt: str) -> Video:
        """Generate the frames between the end of one video and the beginning of another."""
        body = {"video": {"id": first}, "next_video": {"id": second}, "prompt": prompt}
        return self._video("POST", "/videos/interpolations", body)

    def retrieve(self, video_id: str) -> Video:
        """The current state of a video."""
        return self._video("GET", f"/videos/{video_id}")

    def list_videos(self, limit: int = 60) -> list[Video]:
        """The latest videos, newest first."""
        page = self._json("GET", f"/videos?limit={limit}&order=desc")
        return [_parse_video(entry) for entry in page.get("data", [])]

    def cancel(self, video_id: str) -> Video:
        """Cancel a video that is not finished."""
        return self._video("POST", f"/videos/{video_id}/cancel")

    def delete(self, video_id: str) -> None:
        """Delete a video and its files."""
        self._json("DELETE", f"/videos/{video_id}")

    def content(
        self, video_id: str, variant: Literal["video", "thumbnail", "spritesheet"] = "video"
    ) -> bytes:
        """The video (MP4), its thumbnail (WebP) or its sprite sheet (JPEG)."""
        response = self._request("GET", f"/videos/{video_id}/content?variant={variant}")
        return response.content

    def download(self, video_id: str, path: Path) -> Path:
        """Write the video to a file, which appears when it is complete."""
        write_bytes(path, self.content(video_id))
        return path

    def follow(self, video_id: str) -> Iterator[Video]:
        """Yield the state of a video at every change; the last one is final.

        An interrupted event stream is opened again, until that brings no new event.
        """
        video, attempts = self.retrieve(video_id), 0
        yield video
        while not video.ended:
            connection_error = None
            try:
                for name, data in self._events(video_id):
                    attempts, video = 0, _apply_event(video, name, data)
                    yield video
                    if video.ended:
                        return
            except httpx.HTTPError as error:
                connection_error = error
            attempts += 1
            if attempts >= _MAX_RECONNECTS:
                if connection_error is not None:
                    raise self._connection_error(connection_error)
                raise UserError("the server stopped sending events; reload to see the video's state")
            time.sleep(attempts * _RECONNECT_DELAY)
            video = self.retrieve(video_id)
            yield video

    def _events(self, video_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        headers = {"accept": "text/event-stream"}
        with self._http.stream("GET", f"/videos/{video_id}/events", headers=headers) as response:
            if response.status_code != 200:
                response.read()
                raise _server_error(response)
            name, data = "", ""
            for line in response.iter_lines():
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
            return UserError(f"{self.server} does not answer in time; try again later")
        return UserError(f"can't reach the server at {self.server}; is `kinema serve` running there?")


def _server_error(response: httpx.Response) -> UserError:
    """The error message of the server."""
    try:
        message = str(_parse_json(response.text)["error"]["message"])
    except (UserError, KeyError, TypeError):
        message = f"the server answered {response.status_code} without an error message"
    return UserError(message)


def _parse_json(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError(_NOT_THE_API)
    return values


def _parse_video(data: Mapping[str, Any]) -> Video:
    """Parse a video object of the API."""
    error, info = data.get("error") or {}, data.get("kinema") or {}
    try:
        return Video(
            id=str(data["id"]),
            status=str(data["status"]),
            progress=int(data["progress"]),
            prompt=str(data["prompt"] or ""),
            size=str(data["size"]),
            seconds=str(data["seconds"]),
            seed=int(info.get("seed", 0)),
            error=str(error.get("message", "")),
            cancelled=error.get("code") == "cancelled",
            step=int(info.get("step", 0)),
            total_steps=int(info.get("total_steps", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(_NOT_THE_API) from None


def _apply_event(video: Video, name: str, data: Mapping[str, Any]) -> Video:
    """The state of a video after an event."""
    if name in FINAL_STATUSES:
        return _parse_video(data)
    if name == "deleted":
        return replace(video, status="failed", error="The video was deleted.")
    if name == "preview":
        return replace(video, preview=_decode_data_url(str(data.get("image", ""))) or video.preview)
    if name != "progress":
        return video
    status = str(data.get("status", video.status))
    return replace(
        video,
        # The last event of the stream carries the final status and the error message.
        status=video.status if status in FINAL_STATUSES else status,
        progress=int(data.get("progress", video.progress)),
        step=int(data.get("step", video.step)),
        total_steps=int(data.get("total_steps", video.total_steps)),
    )


def _decode_data_url(url: str) -> bytes | None:
    head, comma, data = url.partition("base64,")
    return base64.b64decode(data) if comma and head.startswith("data:") else None


def _create_body(request: VideoRequest) -> dict[str, Any]:
    """The request as the body of `POST /v1/videos`; fields at their defaults are left out."""
    values = request.to_dict()
    body: dict[str, Any] = {
        # The API requires a prompt; a storyboard replaces it.
        "prompt": request.prompt or " Then: ".join(shot.prompt for shot in request.storyboard),
        "seed": request.seed,
    }
    same_name = (
        "fps", "num_inference_steps", "guidance_scale", "flow_shift", "negative_prompt", "upscale", "loop"
    )  # fmt: skip
    body |= {name: values[name] for name in same_name if name in values}
    if request.size is not None:
        body["size"] = f"{request.size[0]}x{request.size[1]}"
    if request.seconds is not None:
        body["seconds"] = format_seconds(request.seconds)
    if "image" in values:
        body["input_reference"] = _image_url(values["image"])
    if "last_image" in values:
        body["last_image"] = _image_url(values["last_image"])
    for name in ("keyframes", "storyboard"):
        if name in values:
            body[name] = [_with_image_url(entry) for entry in values[name]]
    return body


def _with_image_url(entry: dict[str, Any]) -> dict[str, Any]:
    """A keyframe or shot with its image as a data URL; a shot without image has no such field."""
    image = entry.pop("image")
    return entry if image is None else {**entry, "image": _image_url(image)}


def _image_url(image: str) -> dict[str, str]:
    """A path or data URL as an image of the API.

    Raises:
        UserError: the file can't be read, or is not an image.
    """
    if image.startswith("data:"):
        return {"image_url": image}
    path = Path(image)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"can't read {path.name}: {error.strerror}; choose the image again") from None
    signatures = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
    kind = next((kind for signature, kind in signatures.items() if data.startswith(signature)), None)
    if kind is None:
        raise UserError(f"{path.name} is not a JPEG, PNG or WebP image; choose another")
    return {"image_url": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"}
