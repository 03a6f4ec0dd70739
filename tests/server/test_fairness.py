"""Owners share decoding, estimates and event streams; limits of what is decoded."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kinema.errors import UserError
from kinema.media.probe import probe
from kinema.server import media_sandbox
from kinema.server.fair_slots import FairSlots, TooManyWaitingError
from tests.fixtures import server


@settings(max_examples=50)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20), st.integers(1, 3))
def test_owners_take_turns(owners, num_slots):
    """Every task runs, never more than the slots, and nobody is passed twice by one owner."""
    order: list[str] = []
    running = most = 0

    async def task(slots: FairSlots, owner: str) -> None:
        nonlocal running, most
        async with slots.acquire(owner):
            order.append(owner)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async def run() -> None:
        slots = FairSlots(num_slots, max_waiting_per_owner=100)
        await asyncio.gather(*(task(slots, owner) for owner in owners))
        async with slots.acquire("last"):
            pass

    asyncio.run(run())
    assert sorted(order) == sorted(owners)
    assert most <= num_slots
    if num_slots == 1:
        # While another owner waits, no owner runs twice in a row.
        for at in range(1, len(order)):
            if order[at] == order[at - 1]:
                assert set(order[at:]) == {order[at]}


def test_an_owner_with_many_tasks_leaves_a_slot_to_others():
    async def run() -> None:
        slots, release = FairSlots(2, max_waiting_per_owner=3), asyncio.Event()

        async def hold() -> None:
            async with slots.acquire("a"):
                await release.wait()

        tasks = [asyncio.create_task(hold()) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaitingError):
            async with asyncio.timeout(5), slots.acquire("a"):
                pass
        async with asyncio.timeout(5), slots.acquire("b"):
            pass
        tasks[1].cancel()
        tasks[0].cancel()
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with slots.acquire("a"), slots.acquire("b"):
            pass

    asyncio.run(run())


def run_sandbox(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kinema.server.media_sandbox", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_sparse_video(path: Path, seconds_between: int) -> bytes:
    """Three frames with a long time between them."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number * 80, np.uint8), format="rgb24")
            frame.pts = number * seconds_between
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_a_small_video_of_many_hours_is_refused(tmp_path):
    data = write_sparse_video(tmp_path / "sparse.mp4", 2 * 3600)
    assert len(data) < 3000
    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        for path in ("/v1/videos/edits", "/v1/videos/extensions", "/v1/videos/interpolations"):
            files = {"prompt": (None, "x"), "video": ("a.mp4", data)}
            if path.endswith("extensions"):
                files["seconds"] = (None, "1")
            if path.endswith("interpolations"):
                files["next_video"] = ("b.mp4", data)
            response = client.post(path, files=files)
            assert response.status_code == 400, path
            assert "too long" in response.json()["error"]["message"]


def test_the_declared_length_is_checked_before_a_frame_is_decoded(tmp_path, monkeypatch):
    def decode(*_, **__):
        raise AssertionError("a frame was decoded")

    write_sparse_video(tmp_path / "a.mp4", 1)
    monkeypatch.setattr("kinema.media.read.frames", decode)
    for max_frames, max_pixels, max_seconds in ((2, 10**8, 100), (100, 3071, 100), (100, 10**8, 2)):
        with pytest.raises(UserError, match="too long"):
            media_sandbox.transcode_video(
                tmp_path / "a.mp4", tmp_path / "a.zip", 10**6, max_frames, max_pixels, max_seconds=max_seconds
            )


@pytest.mark.parametrize("limits", [(2, 10**8, 100), (100, 3071, 100), (100, 10**8, 2)])
def test_a_file_that_declares_less_than_it_contains_is_refused(tmp_path, monkeypatch, limits):
    write_sparse_video(tmp_path / "a.mp4", 1)
    declared = dataclasses.replace(probe(tmp_path / "a.mp4"), num_frames=None, duration=None)
    monkeypatch.setattr(sys.modules["kinema.media.probe"], "probe", lambda *_, **__: declared)
    max_frames, max_pixels, max_seconds = limits
    with pytest.raises(UserError, match="too long"):
        media_sandbox.transcode_video(
            tmp_path / "a.mp4", tmp_path / "a.zip", 10**6, max_frames, max_pixels, max_seconds=max_seconds
        )
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    ("seconds_between", "message"), [(2, "frame rate"), (50, "frame rate"), (100, "too long")]
)
def test_slow_videos_are_refused(tmp_path, seconds_between, message):
    write_sparse_video(tmp_path / "a.mp4", seconds_between)
    result = run_sandbox("video", tmp_path / "a.mp4", tmp_path / "a.zip", 10**6, 100, 10**8, 120)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "a.zip").exists()


def test_a_video_within_the_limits_is_decoded(tmp_path):
    server.video_bytes(tmp_path / "a.mp4", frames=9)
    result = run_sandbox("video", tmp_path / "a.mp4", tmp_path / "a.zip", 10**6, 9, 10**8, 2)
    assert json.loads(result.stdout) == {"width": 32, "height": 32, "num_frames": 9, "fps": 8.0}
