"""The MCP server, driven by the package's own client: over stdio, and over streamable HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

import kinema
from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
IMAGE_URL = "data:image/png;base64," + base64.b64encode(server.image_bytes(40, 30)).decode()


def stdio(host, key=ALICE):
    env = {**os.environ, "KINEMA_API_KEY": key, "PYTHONPATH": str(Path(kinema.__file__).parents[1])}
    arguments = ["-m", "kinema", "mcp", "--server", host]
    return stdio_client(StdioServerParameters(command=sys.executable, args=arguments, env=env))


@contextlib.asynccontextmanager
async def over_http(host, key=ALICE):
    import httpx2

    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        streamable_http_client(f"{host}/mcp", http_client=http) as streams,
    ):
        yield streams


async def call(client, name, *, on_progress=None, **arguments):
    result = await client.call_tool(name, arguments, progress_callback=on_progress)
    text = result.content[0].text
    if result.is_error:
        return text
    if result.structured_content is not None:
        return result.structured_content.get("result", result.structured_content)
    return json.loads(text) if text[:1] in "{[" else text


@pytest.mark.parametrize("transport", [stdio, over_http])
def test_videos_are_generated_followed_extended_edited_and_inspected(host, transport, tmp_path):
    progress = []

    async def note(value, total, message):
        progress.append(value)

    async def run():
        async with Client(transport(host)) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names >= {"make_video", "follow_video", "extend_video", "edit_video", "inspect_video"}
            video = await call(
                client, "make_video", on_progress=note, prompt="pace=0.1 a red ball", seconds=1, seed=7,
                first_image=IMAGE_URL,
            )  # fmt: skip
            assert (video["status"], video["seed"], video["seconds"]) == ("completed", 7, 1.125)
            assert progress == sorted(progress)
            assert len(progress) >= 2
            longer = await call(client, "extend_video", video=video["id"], prompt="on", seconds=1, wait=False)
            assert longer["status"] == "queued"
            assert (await call(client, "follow_video", video=longer["id"]))["seconds"] == 2.125
            edited = await call(client, "edit_video", video=video["id"], prompt="blue", strength=0.5)
            assert edited["status"] == "completed"
            result = await client.call_tool("inspect_video", {"video": longer["id"]})
            details, image = result.content
            assert json.loads(details.text)["sources"] == [video["id"]]
            assert base64.b64decode(image.data)[:2] == b"\xff\xd8"
            found = await call(client, "list_videos", search="pace=0.1 red")
            assert video["id"] in [one["id"] for one in found]
            assert (await call(client, "list_models"))[0]["id"] == "testcard"
            if transport is stdio:
                path = tmp_path / "video.mp4"
                await call(client, "save_video", video=video["id"], path=str(path))
                assert path.read_bytes()[4:8] == b"ftyp"
                assert "new file" in await call(client, "save_video", video=video["id"], path=str(path))
            else:
                assert "save_video" not in names
                refusal = await call(client, "make_video", prompt="x", first_image="/etc/passwd")
                assert "data URL" in refusal
            assert "63x64" in await call(client, "make_video", prompt="x", size="63x64")
            assert "There is no video" in await call(client, "get_video", video="video_x")

    asyncio.run(run())


def test_keys_separate_callers(host):
    async def run():
        async with Client(over_http(host)) as alice, Client(over_http(host, BOB)) as bob:
            # Slow enough that it is not finished before it is cancelled.
            video = await call(alice, "make_video", prompt="pace=1", wait=False)
            assert "There is no video" in await call(bob, "get_video", video=video["id"])
            assert (await call(alice, "cancel_video", video=video["id"]))["id"] == video["id"]
            assert "deleted" in await call(alice, "delete_video", video=video["id"])

    asyncio.run(run())


def test_a_wrong_key_is_refused(host):
    async def run():
        async with Client(over_http(host, "wrong-key-0123456789")) as client:
            await client.list_tools()

    with pytest.raises(BaseException, match=r"401|Unauthorized|API key|unhandled errors"):
        asyncio.run(run())
