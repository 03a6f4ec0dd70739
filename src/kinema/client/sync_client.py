"""The synchronous client, written from `async_client.py` by `python -m tools.sync_client`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from kinema.atomic_io import atomic_write
from kinema.client import protocol
from kinema.client.errors import ClientError
from kinema.client.protocol import Call
from kinema.client.types import (
    CostEstimate,
    Create,
    Edit,
    Extend,
    Interpolate,
    Model,
    Page,
    Remix,
    Status,
    Variant,
    Video,
)


class Client:
    """Client of one server, safe to use from several threads.

    Every method raises `ClientError` with the server's message, or if the server can't be reached.

    Args:
        server: address, with or without `/v1`.
        key: API key, if the server needs one.
        transport: replaces the network, for example in tests.
    """

    def __init__(
        self, server: str, *, key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.server = protocol.server_address(server)
        try:
            self._http = httpx.Client(
                base_url=f"{self.server}/v1", headers=protocol.auth_headers(key), timeout=protocol.TIMEOUT,
                transport=transport,
            )  # fmt: skip
        except (httpx.InvalidURL, ValueError) as error:
            raise ClientError(
                f"{server!r} is no address ({error}); give one like http://127.0.0.1:8000"
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def create(self, request: Create, *, idempotency_key: str | None = None) -> Video:
        """Submit a new video. With an `idempotency_key` a repeated call submits it once."""
        return self._video(protocol.submit_call(request, idempotency_key))

    def edit(self, request: Edit) -> Video:
        """Change a video."""
        return self._video(protocol.submit_call(request))

    def extend(self, request: Extend) -> Video:
        """Continue a video."""
        return self._video(protocol.submit_call(request))

    def interpolate(self, request: Interpolate) -> Video:
        """Generate the part between two videos."""
        return self._video(protocol.submit_call(request))

    def remix(self, video_id: str, request: Remix) -> Video:
        """Generate a video like another one, with another prompt."""
        return self._video(protocol.remix_call(video_id, request))

    def estimate(self, request: Create) -> CostEstimate:
        """The cost of a request; nothing is generated."""
        return protocol.parse_estimate(self._json(protocol.estimate_call(request)))

    def retrieve(self, video_id: str) -> Video:
        """The state of a video."""
        return self._video(Call(method="GET", path=f"/videos/{video_id}"))

    def list(
        self, *, after: str | None = None, limit: int = 20, search: str = "", status: Status | None = None,
        favorite: bool | None = None, folder: str | None = None,
    ) -> Page:  # fmt: skip
        """A page of the caller's videos, newest first; `search` are words of the prompt."""
        call = protocol.list_call(after, limit, search, status, favorite, folder)
        return protocol.parse_page(self._json(call))

    def set_labels(self, video_id: str, *, favorite: bool | None = None, folder: str | None = None) -> Video:
        """Mark a video as a favorite, or put it into a folder; an empty folder is none."""
        labels = {"favorite": favorite, "folder": folder}
        body = {name: value for name, value in labels.items() if value is not None}
        return self._video(Call(method="PATCH", path=f"/videos/{video_id}", json=body))

    def cancel(self, video_id: str) -> Video:
        """Stop a video that is not finished."""
        return self._video(Call(method="POST", path=f"/videos/{video_id}/cancel"))

    def delete(self, video_id: str) -> None:
        """Delete a video; `restore` brings it back for a while."""
        self._json(Call(method="DELETE", path=f"/videos/{video_id}"))

    def restore(self, video_id: str) -> Video:
        """Undo `delete`."""
        return self._video(Call(method="POST", path=f"/videos/{video_id}/restore"))

    def history(self, video_id: str) -> tuple[Sequence[Video], Sequence[Video]]:
        """The videos that a video goes back to, nearest first, and those made from it."""
        values = self._json(Call(method="GET", path=f"/videos/{video_id}/history"))
        sources, derived = values.get("sources", []), values.get("derived", [])
        return [protocol.parse_video(one) for one in sources], [protocol.parse_video(one) for one in derived]

    def models(self) -> Sequence[Model]:
        """The served model under each of its names."""
        return protocol.parse_models(self._json(Call(method="GET", path="/models")))

    def content(self, video_id: str, variant: Variant = "video") -> bytes:
        """The video (MP4), its thumbnail (WebP) or its sprite sheet (JPEG)."""
        call = Call(method="GET", path=f"/videos/{video_id}/content", params={"variant": variant})
        return self._send(call).content

    def download(self, video_id: str, path: str | os.PathLike[str], variant: Variant = "video") -> Path:
        """Write the video to a file, which appears when it is complete."""
        target = Path(path)
        try:
            with self._http.stream(
                "GET", f"/videos/{video_id}/content", params={"variant": variant}
            ) as response:
                if response.status_code >= 400:
                    response.read()
                protocol.check_response(response)
                with atomic_write(target) as temporary, temporary.open("wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
        except httpx.HTTPError as error:
            raise protocol.connection_error(self.server, error) from None
        return target

    def wait(self, video_id: str) -> Video:
        """The video when it is completed.

        Raises:
            ClientError: it has failed; `code` says why.
        """
        for video in self.follow(video_id):
            if video.error is not None:
                raise ClientError(video.error.message, code=video.error.code)
            if video.is_finished:
                return video
        raise ClientError("the server stopped sending events; retrieve the video later")

    def follow(self, video_id: str) -> Iterator[Video]:
        """The state of a video at every change; the last one is final.

        An interrupted stream is opened again, until that brings no new event.
        """
        video, attempts = self.retrieve(video_id), 0
        yield video
        while not video.is_finished:
            failure: ClientError | None = None
            try:
                for name, values in self._events(video_id):
                    attempts, video = 0, protocol.apply_event(video, name, values)
                    yield video
                    if video.is_finished:
                        return
            except httpx.HTTPError as error:
                failure = protocol.connection_error(self.server, error)
            attempts += 1
            if attempts >= protocol.MAX_RECONNECTS:
                raise failure or ClientError("the server stopped sending events; retrieve the video later")
            time.sleep(attempts * protocol.RECONNECT_DELAY_S)
            video = self.retrieve(video_id)
            yield video

    def _events(self, video_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        parser = protocol.EventParser()
        with self._http.stream("GET", f"/videos/{video_id}/events") as response:
            if response.status_code >= 400:
                response.read()
            protocol.check_response(response)
            for line in response.iter_lines():
                if (event := parser.feed(line)) is not None:
                    yield event

    def _video(self, call: Call) -> Video:
        return protocol.parse_video(self._json(call))

    def _json(self, call: Call) -> dict[str, Any]:
        return protocol.parse_object(self._send(call).text)

    def _send(self, call: Call) -> httpx.Response:
        try:
            response = self._http.request(
                call.method, call.path, params=call.params, json=call.json, files=call.files,
                headers=call.headers,
            )  # fmt: skip
        except httpx.HTTPError as error:
            raise protocol.connection_error(self.server, error) from None
        return protocol.check_response(response)
