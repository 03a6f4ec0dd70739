"""A server of the HTTP API in memory, without workers and network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import re
import warnings
from dataclasses import dataclass, field

import httpx
from PIL import Image


@contextlib.contextmanager
def close_event_loops():
    """Close the event loops that gradio creates at its import and for every page, and leaves open."""
    loops, original = [], asyncio.new_event_loop

    def new_event_loop():
        loops.append(original())
        return loops[-1]

    asyncio.new_event_loop = new_event_loop
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        asyncio.new_event_loop = original
        asyncio.set_event_loop(None)
        for loop in loops:
            loop.close()


MODEL_INFO = {
    "name": "fake", "width": 64, "height": 48, "size_multiple": 16, "num_frames": 17, "fps": 8.0,
    "temporal_stride": 4, "num_inference_steps": 4, "guidance_scale": 3.0, "supports_images": True,
    "tasks": ["edit", "extend", "interpolate"], "upscale_factors": [1, 2, 4],
}  # fmt: skip


def webp_image() -> bytes:
    """A small WebP."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(buffer, "WEBP")
    return buffer.getvalue()


@dataclass(kw_only=True)
class FakeServer:
    """A server whose videos advance through all steps when a client reads their events."""

    total_steps: int = 4
    videos: dict[str, dict] = field(default_factory=dict)
    bodies: list[tuple[str, dict]] = field(default_factory=list)
    fail_with: str = ""
    """Error message of every video; empty: videos succeed."""
    num_broken_streams: int = 0
    """Number of event streams that end early."""
    key: str = ""
    num_created: int = 0

    def transport(self) -> httpx.MockTransport:
        """The transport of a client."""
        return httpx.MockTransport(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "This server needs an API key.")
        path, method = request.url.path.removeprefix("/v1"), request.method
        if method == "POST":
            body = json.loads(request.content) if request.content else {}
            self.bodies.append((path, body))
            if path == "/videos/estimate":
                estimate = {"seconds": 90, "peak_memory": 2**31, "available_memory": 2**33}
                return httpx.Response(200, json=estimate)
            if found := re.fullmatch(r"/videos/(video_\d+)/cancel", path):
                self.videos[found[1]].update(status="failed", error={"code": "cancelled", "message": "x"})
                return httpx.Response(200, json=self.videos[found[1]])
            if not body.get("prompt"):
                return _error(400, "Missing required parameter: 'prompt'.")
            return httpx.Response(200, json=self._create_video(body))
        if path == "/models":
            return httpx.Response(
                200, json={"object": "list", "data": [{"id": "fake", "kinema": MODEL_INFO}]}
            )
        if path == "/videos":
            videos = [self.videos[name] for name in reversed(self.videos)]
            return httpx.Response(200, json={"object": "list", "data": videos, "has_more": False})
        name, _, rest = path.removeprefix("/videos/").partition("/")
        if name not in self.videos:
            return _error(404, f"There is no video {name}.")
        video = self.videos[name]
        if method == "DELETE":
            del self.videos[name]
            return httpx.Response(200, json={"id": name, "object": "video.deleted", "deleted": True})
        if rest == "events":
            return httpx.Response(200, text=self._events(video))
        if rest == "content":
            if video["status"] != "completed":
                return _error(400, "There is nothing to download.")
            thumbnail = request.url.params["variant"] == "thumbnail"
            return httpx.Response(200, content=webp_image() if thumbnail else b"video")
        return httpx.Response(200, json=video)

    def _create_video(self, body: dict) -> dict:
        self.num_created += 1
        name = f"video_{self.num_created}"
        self.videos[name] = {
            "id": name, "object": "video", "model": "fake", "status": "queued", "progress": 0,
            "created_at": 1, "completed_at": None, "expires_at": None, "prompt": body["prompt"],
            "remixed_from_video_id": None, "size": body.get("size", "64x48"),
            "seconds": body.get("seconds", "4"), "error": None,
            "kinema": {"seed": body.get("seed", 5), "step": 0, "total_steps": 0, "stage": ""},
        }  # fmt: skip
        return self.videos[name]

    def _events(self, video: dict) -> str:
        image = f"data:image/webp;base64,{base64.b64encode(webp_image()).decode()}"
        events = []
        for step in range(1, self.total_steps + 1):
            progress = {"id": video["id"], "status": "in_progress", "progress": 20 * step, "step": step,
                        "total_steps": self.total_steps, "stage": "sample"}  # fmt: skip
            events += [_event("progress", progress), ": alive\n\n"]
            events.append(_event("preview", {"id": video["id"], "step": step, "image": image}))
            if self.num_broken_streams and step == 2:
                self.num_broken_streams -= 1
                return "".join(events)
        if self.fail_with:
            video.update(status="failed", error={"code": "server_error", "message": self.fail_with})
        else:
            video.update(status="completed", progress=100)
        # Like the server: the last change as progress, then the final event.
        last = {name: video[name] for name in ("id", "status", "progress")}
        return "".join([*events, _event("progress", last), _event(video["status"], video)])


def _event(name: str, data: dict) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _error(status: int, message: str) -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"message": message, "type": "x", "param": None, "code": None}}
    )
