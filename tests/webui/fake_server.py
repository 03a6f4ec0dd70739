"""A tiny server of the contract, in memory: what the page's client meets, without workers or a network."""

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
    """Closes the event loops that gradio makes at its import and for every page, and leaves open."""
    made, usual = [], asyncio.new_event_loop

    def new_event_loop():
        made.append(usual())
        return made[-1]

    asyncio.new_event_loop = new_event_loop
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        asyncio.new_event_loop = usual
        asyncio.set_event_loop(None)
        for loop in made:
            loop.close()


MODEL_INFO = {
    "model": "fake", "size": "64x48", "seconds": 2.125, "fps": 8.0, "frames": 17, "unit": 16, "steps": 4,
    "guidance": 3.0, "pictures": True, "verbs": ["edit", "extend", "connect"],
}  # fmt: skip


def webp_image() -> bytes:
    """A small WebP."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(buffer, "WEBP")
    return buffer.getvalue()


@dataclass(kw_only=True)
class FakeServer:
    """Films go through `num_inference_steps` steps as soon as somebody listens to their events."""

    num_inference_steps: int = 4
    videos: dict[str, dict] = field(default_factory=dict)
    bodies: list[tuple[str, dict]] = field(default_factory=list)
    fail_with: str = ""
    """Every film fails with this sentence."""
    num_broken_streams: int = 0
    """So many event streams break off in the middle."""
    key: str = ""
    num_created: int = 0

    def transport(self) -> httpx.MockTransport:
        """For the client."""
        return httpx.MockTransport(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "This server asks for an API key.")
        path, method = request.url.path.removeprefix("/v1"), request.method
        if method == "POST":
            body = json.loads(request.content) if request.content else {}
            self.bodies.append((path, body))
            if path == "/videos/plan":
                return httpx.Response(200, json={"seconds": 90, "memory": 2**31, "free": 2**33})
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
            films = [self.videos[name] for name in reversed(self.videos)]
            return httpx.Response(200, json={"object": "list", "data": films, "has_more": False})
        name, _, rest = path.removeprefix("/videos/").partition("/")
        if name not in self.videos:
            return _error(404, f"There is no video {name}.")
        film = self.videos[name]
        if method == "DELETE":
            del self.videos[name]
            return httpx.Response(200, json={"id": name, "object": "video.deleted", "deleted": True})
        if rest == "events":
            return httpx.Response(200, text=self._events(film))
        if rest == "content":
            if film["status"] != "completed":
                return _error(400, "There is nothing to download.")
            thumbnail = request.url.params["variant"] == "thumbnail"
            return httpx.Response(200, content=webp_image() if thumbnail else b"film")
        return httpx.Response(200, json=film)

    def _create_video(self, body: dict) -> dict:
        self.num_created += 1
        name = f"video_{self.num_created}"
        self.videos[name] = {
            "id": name, "object": "video", "model": "fake", "status": "queued", "progress": 0,
            "created_at": 1, "completed_at": None, "expires_at": None, "prompt": body["prompt"],
            "remixed_from_video_id": None, "size": body.get("size", "64x48"),
            "seconds": body.get("seconds", "4"), "error": None,
            "kinema": {"seed": body.get("seed", 5), "step": 0, "steps": 0, "stage": ""},
        }  # fmt: skip
        return self.videos[name]

    def _events(self, video: dict) -> str:
        image = f"data:image/webp;base64,{base64.b64encode(webp_image()).decode()}"
        told = []
        for step in range(1, self.num_inference_steps + 1):
            progress = {"id": video["id"], "status": "in_progress", "progress": 20 * step, "step": step,
                        "steps": self.num_inference_steps, "stage": "steps"}  # fmt: skip
            told += [_event("progress", progress), ": alive\n\n"]
            told.append(_event("preview", {"id": video["id"], "step": step, "image": image}))
            if self.num_broken_streams and step == 2:
                self.num_broken_streams -= 1
                return "".join(told)
        if self.fail_with:
            video.update(status="failed", error={"code": "server_error", "message": self.fail_with})
        else:
            video.update(status="completed", progress=100)
        # As the server does: the same change as progress, and then how it ended.
        last = {name: video[name] for name in ("id", "status", "progress")}
        return "".join([*told, _event("progress", last), _event(video["status"], video)])


def _event(name: str, data: dict) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _error(status: int, message: str) -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"message": message, "type": "x", "param": None, "code": None}}
    )
