"""An MCP server: the HTTP API as tools for agents. It calls the API with the caller's key and limits.

`kinema mcp` serves it over standard input and output, `kinema serve` over streamable HTTP at `/mcp`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from kinema import __version__
from kinema.client import AsyncClient, Create, Edit, Extend, Interpolate, Remix, Video
from kinema.errors import UserError

INSTRUCTIONS = (
    "Generates short videos from text and images with a local model, and continues and edits them. "
    "make_video, extend_video, edit_video and connect_videos return when the video is finished, or with "
    "wait=false at once; follow_video waits for one that was submitted. Look at a result with inspect_video. "
    "list_models says which sizes and lengths the model generates. Every video has an id like video_... ."
)
POLL_INTERVAL_S = 0.4
INTERNAL_ADDRESS = "http://localhost"
"""Where the tools of `kinema serve` find the API: in the same process, by a host that it answers to."""

Prompt = Annotated[str, Field(description="What the video shows.")]
VideoId = Annotated[str, Field(description="The id of a video on the server: video_...")]
Wait = Annotated[bool, Field(description="Whether to return only when the video is finished.")]
Seconds = Annotated[float | None, Field(description="Length in seconds; by default the model's own.")]
ImageText = Annotated[
    str | None, Field(description="An image as a data URL: data:image/png;base64,...; or a path, over stdio.")
]


def build_mcp_server(open_client: Callable[[Context], AsyncClient], *, is_local: bool) -> MCPServer:
    """The server with its tools.

    Args:
        open_client: a client with the key of the caller; it is not closed.
        is_local: whether the caller is on this machine, so that tools may read and write files.
    """
    server: MCPServer = MCPServer(
        "kinema", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING"
    )

    async def finish(ctx: Context, client: AsyncClient, video: Video, wait: bool) -> dict[str, Any]:
        return describe(await _follow(ctx, client, video) if wait else video, client)

    def image(value: str | None) -> str | None:
        if value is not None and not value.startswith("data:") and not is_local:
            raise ToolError("an image is a data URL here: data:image/png;base64,...")
        return value

    @server.tool()
    async def make_video(
        ctx: Context, prompt: Prompt, seconds: Seconds = None, size: str | None = None,
        aspect_ratio: str | None = None, seed: int | None = None, num_inference_steps: int | None = None,
        guidance_scale: float | None = None, negative_prompt: str | None = None,
        first_image: ImageText = None, last_image: ImageText = None, loop: bool = False, wait: Wait = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Generate a video from a prompt and, optionally, its first and last image."""
        client = open_client(ctx)
        request = Create(
            prompt=prompt, seconds=seconds, size=size, aspect_ratio=aspect_ratio, seed=seed,
            num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
            negative_prompt=negative_prompt, input_reference=image(first_image), last_image=image(last_image),
            loop=loop,
        )  # fmt: skip
        with tool_errors():
            return await finish(ctx, client, await client.create(request), wait)

    @server.tool()
    async def extend_video(
        ctx: Context, video: VideoId, prompt: Prompt, seconds: Seconds = None, backward: bool = False,
        seed: int | None = None, wait: Wait = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Continue a video after its end, or with `backward` before its beginning."""
        client = open_client(ctx)
        request = Extend(prompt=prompt, video=video, seconds=seconds, backward=backward, seed=seed)
        with tool_errors():
            return await finish(ctx, client, await client.extend(request), wait)

    @server.tool()
    async def edit_video(
        ctx: Context, video: VideoId, prompt: Prompt,
        strength: Annotated[float | None, Field(description="How much changes: above 0, up to 1.")] = None,
        mask: ImageText = None, seed: int | None = None, wait: Wait = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Change a video as the prompt says; a mask is white where it may change."""
        client = open_client(ctx)
        request = Edit(prompt=prompt, video=video, strength=strength, mask=image(mask), seed=seed)
        with tool_errors():
            return await finish(ctx, client, await client.edit(request), wait)

    @server.tool()
    async def remix_video(ctx: Context, video: VideoId, prompt: Prompt, wait: Wait = True) -> dict[str, Any]:
        """Generate a video like another one, with another prompt."""
        client = open_client(ctx)
        with tool_errors():
            return await finish(ctx, client, await client.remix(video, Remix(prompt=prompt)), wait)

    @server.tool()
    async def connect_videos(
        ctx: Context, first: VideoId, second: VideoId, prompt: Prompt, seconds: Seconds = None,
        wait: Wait = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Join two videos by a generated part between them."""
        client = open_client(ctx)
        request = Interpolate(prompt=prompt, video=first, next_video=second, seconds=seconds)
        with tool_errors():
            return await finish(ctx, client, await client.interpolate(request), wait)

    @server.tool()
    async def follow_video(ctx: Context, video: VideoId) -> dict[str, Any]:
        """Wait until a video is finished."""
        client = open_client(ctx)
        with tool_errors():
            return describe(await _follow(ctx, client, await client.retrieve(video)), client)

    @server.tool()
    async def get_video(ctx: Context, video: VideoId) -> dict[str, Any]:
        """The state of a video, without waiting."""
        client = open_client(ctx)
        with tool_errors():
            return describe(await client.retrieve(video), client)

    @server.tool(structured_output=False)
    async def inspect_video(ctx: Context, video: VideoId) -> list[Any]:
        """A finished video's frames as an image, its settings, and what it was made from."""
        client = open_client(ctx)
        with tool_errors():
            found = await client.retrieve(video)
            sources, derived = await client.history(video)
            details = describe(found, client) | {
                "settings": found.settings,
                "sources": [source.id for source in sources],
                "used_in": [one.id for one in derived],
            }
            if found.status != "completed":
                return [details]
            return [details, Image(data=await client.content(video, "spritesheet"), format="jpeg")]

    @server.tool()
    async def list_videos(
        ctx: Context, search: str = "", limit: Annotated[int, Field(ge=1, le=100)] = 10
    ) -> list[dict[str, Any]]:
        """The caller's videos, newest first; `search` are words of their prompts."""
        client = open_client(ctx)
        with tool_errors():
            page = await client.list(search=search, limit=limit)
            return [describe(video, client) for video in page.videos]

    @server.tool()
    async def list_models(ctx: Context) -> list[dict[str, Any]]:
        """What the served model can generate."""
        with tool_errors():
            return [{"id": model.id, **model.info} for model in await open_client(ctx).models()]

    @server.tool()
    async def cancel_video(ctx: Context, video: VideoId) -> dict[str, Any]:
        """Stop a video that is not finished."""
        client = open_client(ctx)
        with tool_errors():
            return describe(await client.cancel(video), client)

    @server.tool()
    async def delete_video(ctx: Context, video: VideoId) -> str:
        """Delete a video."""
        with tool_errors():
            await open_client(ctx).delete(video)
        return f"{video} is deleted"

    if is_local:

        @server.tool()
        async def save_video(ctx: Context, video: VideoId, path: str) -> str:
            """Write a finished video to a new .mp4 file on this machine."""
            target = Path(path).expanduser().absolute()
            if target.suffix != ".mp4" or target.exists():
                raise ToolError(f"{target} must be a new file whose name ends in .mp4")
            with tool_errors():
                return str(await open_client(ctx).download(video, target))

    return server


def describe(video: Video, client: AsyncClient) -> dict[str, Any]:
    """What an agent needs to know of a video."""
    values: dict[str, Any] = {
        "id": video.id, "status": video.status, "progress": video.progress, "prompt": video.prompt,
        "size": video.size, "seconds": video.seconds, "seed": video.seed,
    }  # fmt: skip
    if video.warnings:
        values["warnings"] = list(video.warnings)
    if video.error is not None:
        values["error"] = video.error.message
    if video.status == "completed" and client.server != INTERNAL_ADDRESS:
        values["content"] = f"{client.server}/v1/videos/{video.id}/content"
    elif video.status == "completed":
        values["content"] = f"/v1/videos/{video.id}/content"
    return values


async def _follow(ctx: Context, client: AsyncClient, video: Video) -> Video:
    """Wait for the end of a video and report progress. A caller that cancels cancels the video."""
    try:
        while not video.is_finished:
            message = f"{video.stage} {video.step}/{video.total_steps}" if video.total_steps else video.status
            await ctx.report_progress(video.progress, 100, message)
            await asyncio.sleep(POLL_INTERVAL_S)
            video = await client.retrieve(video.id)
    except asyncio.CancelledError:
        with contextlib.suppress(UserError):
            await asyncio.shield(client.cancel(video.id))
        raise
    if video.error is not None:
        raise ToolError(f"{video.id} failed: {video.error.message}")
    return video


@contextlib.contextmanager
def tool_errors() -> Any:
    """Errors of the API as errors that the agent reads."""
    try:
        yield
    except UserError as error:
        raise ToolError(str(error)) from None


def serve_stdio(server: str, *, key: str | None) -> None:
    """Serve over standard input and output until it ends.

    Args:
        server: address of a running Kinema server.
        key: API key, if it needs one.

    Raises:
        UserError: `server` is no address.
    """
    client = AsyncClient(server, key=key)
    build_mcp_server(lambda _: client, is_local=True).run("stdio")


class McpEndpoint:
    """`/mcp` of a server, by streamable HTTP without sessions: each call stands for itself, with its own key.

    Args:
        app: the API that the tools call, in this process.
    """

    def __init__(self, app: ASGIApp) -> None:
        # The middleware of the API checks Host, Origin and the key before a call arrives here.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        self._server = build_mcp_server(self._open_client, is_local=False)
        self._transport = httpx.ASGITransport(app=app)
        self.routes: list[BaseRoute] = list(
            self._server.streamable_http_app(stateless_http=True, transport_security=security).routes
        )

    def run(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Handle calls while the block runs."""
        return self._server.session_manager.run()

    def _open_client(self, ctx: Context) -> AsyncClient:
        scheme, _, key = (ctx.headers or {}).get("authorization", "").partition(" ")
        return AsyncClient(INTERNAL_ADDRESS, key=key if scheme else None, transport=self._transport)
