"""The asynchronous client. `python -m tools.sync_client` writes the synchronous one from this file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
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


class AsyncClient:
    """Client of one server for one event loop.

    Every method raises `ClientError` with the server's message, or if the server can't be reached.

    Args:
        server: address, with or without `/v1`.
        key: API key, if the server needs one.
        transport: replaces the network, for example in tests.
    """

    def __init__(
        self, server: str, *, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.server = protocol.server_address(server)
        try:
            self._http = httpx.AsyncClient(
                base_url=f"{self.server}/v1", headers=protocol.auth_headers(key), timeout=protocol.TIMEOUT,
                transport=transport,
            )  # fmt: skip
        except (httpx.InvalidURL, ValueError) as error:
            raise ClientError(
                f"{server!r} is no address ({error}); give one like http://127.0.0.1:8000"
            ) from None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def create(self, request: Create, *, idempotency_key: str | None = None) -> Video:
        """Submit a new video. With an `idempotency_key` a repeated call submits it once."""
        return await self._video(protocol.submit_call(request, idempotency_key))

    async def edit(self, request: Edit) -> Video:
        """Change a video."""
        return await self._video(protocol.submit_call(request))

    async def extend(self, request: Extend) -> Video:
        """Continue a video."""
        return await self._video(protocol.submit_call(request))

    async def interpolate(self, request: Interpolate) -> Video:
        """Generate the part between two videos."""
        return await self._video(protocol.submit_call(request))

    async def remix(self, video_id: str, request: Remix) -> Video:
        """Generate a video like another one, with another prompt."""
        return await self._video(protocol.remix_call(video_id, request))

    async def estimate(self, request: Create) -> CostEstimate:
        """The cost of a request; nothing is generated."""
        return protocol.parse_estimate(await self._json(protocol.estimate_call(request)))

    async def retrieve(self, video_id: str) -> Video:
        """The state of a video."""
        return await self._video(Call(method="GET", path=f"/videos/{video_id}"))

    async def list(
        self, *, after: str | None = None, limit: int = 20, search: str = "", status: Status | None = None,
        favorite: bool | None = None, folder: str | None = None,
    ) -> Page:  # fmt: skip
        """A page of the caller's videos, newest first; `search` are words of the prompt."""
        call = protocol.list_call(after, limit, search, status, favorite, folder)
        return protocol.parse_page(await self._json(call))

    async def set_labels(
        self, video_id: str, *, favorite: bool | None = None, folder: str | None = None
    ) -> Video:
        """Mark a video as a favorite, or put it into a folder; an empty folder is none."""
        labels = {"favorite": favorite, "folder": folder}
        body = {name: value for name, value in labels.items() if value is not None}
        return await self._video(Call(method="PATCH", path=f"/videos/{video_id}", json=body))

    async def cancel(self, video_id: str) -> Video:
        """Stop a video that is not finished."""
        return await self._video(Call(method="POST", path=f"/videos/{video_id}/cancel"))

    async def delete(self, video_id: str) -> None:
        """Delete a video; `restore` brings it back for a while."""
        await self._json(Call(method="DELETE", path=f"/videos/{video_id}"))

    async def restore(self, video_id: str) -> Video:
        """Undo `delete`."""
        return await self._video(Call(method="POST", path=f"/videos/{video_id}/restore"))

    async def history(self, video_id: str) -> tuple[Sequence[Video], Sequence[Video]]:
        """The videos that a video goes back to, nearest first, and those made from it."""
        values = await self._json(Call(method="GET", path=f"/videos/{video_id}/history"))
        sources, derived = values.get("sources", []), values.get("derived", [])
        return [protocol.parse_video(one) for one in sources], [protocol.parse_video(one) for one in derived]

    async def models(self) -> Sequence[Model]:
        """The served model under each of its names."""
        return protocol.parse_models(await self._json(Call(method="GET", path="/models")))

    async def content(self, video_id: str, variant: Variant = "video") -> bytes:
        """The video (MP4), its thumbnail (WebP) or its sprite sheet (JPEG)."""
        call = Call(method="GET", path=f"/videos/{video_id}/content", params={"variant": variant})
        return (await self._send(call)).content

    async def download(self, video_id: str, path: str | os.PathLike[str], variant: Variant = "video") -> Path:
        """Write the video to a file, which appears when it is complete."""
        target = Path(path)
        try:
            async with self._http.stream(
                "GET", f"/videos/{video_id}/content", params={"variant": variant}
            ) as response:
                if response.status_code >= 400:
                    await response.aread()
                protocol.check_response(response)
                with atomic_write(target) as temporary, temporary.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        await asyncio.to_thread(file.write, chunk)
        except httpx.HTTPError as error:
            raise protocol.connection_error(self.server, error) from None
        return target

    async def wait(self, video_id: str) -> Video:
        """The video when it is completed.

        Raises:
            ClientError: it has failed; `code` says why.
        """
        async for video in self.follow(video_id):
            if video.error is not None:
                raise ClientError(video.error.message, code=video.error.code)
            if video.is_finished:
                return video
        raise ClientError("the server stopped sending events; retrieve the video later")

    async def follow(self, video_id: str) -> AsyncIterator[Video]:
        """The state of a video at every change; the last one is final.

        An interrupted stream is opened again, until that brings no new event.
        """
        video, attempts = await self.retrieve(video_id), 0
        yield video
        while not video.is_finished:
            failure: ClientError | None = None
            try:
                async for name, values in self._events(video_id):
                    attempts, video = 0, protocol.apply_event(video, name, values)
                    yield video
                    if video.is_finished:
                        return
            except httpx.HTTPError as error:
                failure = protocol.connection_error(self.server, error)
            attempts += 1
            if attempts >= protocol.MAX_RECONNECTS:
                raise failure or ClientError("the server stopped sending events; retrieve the video later")
            await asyncio.sleep(attempts * protocol.RECONNECT_DELAY_S)
            video = await self.retrieve(video_id)
            yield video

    async def _events(self, video_id: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        parser = protocol.EventParser()
        async with self._http.stream("GET", f"/videos/{video_id}/events") as response:
            if response.status_code >= 400:
                await response.aread()
            protocol.check_response(response)
            async for line in response.aiter_lines():
                if (event := parser.feed(line)) is not None:
                    yield event

    async def _video(self, call: Call) -> Video:
        return protocol.parse_video(await self._json(call))

    async def _json(self, call: Call) -> dict[str, Any]:
        return protocol.parse_object((await self._send(call)).text)

    async def _send(self, call: Call) -> httpx.Response:
        try:
            response = await self._http.request(
                call.method, call.path, params=call.params, json=call.json, files=call.files,
                headers=call.headers,
            )  # fmt: skip
        except httpx.HTTPError as error:
            raise protocol.connection_error(self.server, error) from None
        return protocol.check_response(response)
