"""How soon a video plays on the page; run with `-s` to see the figures."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

from tests.webui.studio_page import Studio, StudioServer

pytestmark = pytest.mark.slow
PROMPT = "a red ball rolls to the left and hits a blue cube"
ROUNDS = 3
FIRST_TILE_PLAYS = "() => document.querySelector('[role=listitem] video')?.currentTime > 0"


@pytest.fixture
def studio(browser, tmp_path):
    server = StudioServer(tmp_path, model="world").start()
    studio = Studio(browser, server, estimate=False)
    yield studio
    studio.close()
    server.stop()


def test_a_finished_video_plays(studio, tmp_path):
    """From Enter to a video that plays, beside the command line's time for the same video."""
    page, in_page, in_terminal = studio.page, [], []
    for number in range(ROUNDS):
        studio.write(PROMPT)
        start = time.monotonic()
        page.press("#prompt", "Enter")
        studio.wait_for_videos(number + 1)
        page.hover("[role=listitem]")
        page.wait_for_function(FIRST_TILE_PLAYS)
        in_page.append(time.monotonic() - start)
        page.mouse.move(0, 0)
    assert studio.problems == []
    for number in range(ROUNDS):
        command = [sys.executable, "-m", "kinema", "generate", PROMPT, "--out", tmp_path / f"{number}.mp4"]
        start = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        in_terminal.append(time.monotonic() - start)
    page_s, terminal_s = statistics.median(in_page), statistics.median(in_terminal)
    print(f"Enter to a video that plays: {page_s:.2f} s; command line {terminal_s:.2f} s")
