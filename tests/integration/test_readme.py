"""The commands of the README run in order in an empty folder, as a new user would type them."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
NEEDS_NETWORK = ("Wan-AI/", "--caption http")
"""Parts of commands that download weights or ask a server."""
SERVERS = ("serve", "studio", "live", "worker", "mcp")
"""Commands that run until they are stopped."""


def readme_commands() -> list[list[str]]:
    """Every indented `kinema ...` line, split into words, without its comment."""
    lines = re.findall(r"^    (kinema .+)$", README.read_text(encoding="utf-8"), re.M)
    return [shlex.split(line, comments=True) for line in lines]


def test_the_readme_has_commands():
    commands = readme_commands()
    assert len(commands) > 10
    assert {"generate", "extend", "train", "evaluate"} <= {words[1] for words in commands}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_readme_commands_run_in_order(tmp_path):
    """Files that a command reads are written by a command before it."""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    work_dir = tmp_path / "empty"
    work_dir.mkdir()
    _write_own_videos(work_dir / "VIDEOS")
    for words in readme_commands():
        line = shlex.join(words)
        if any(part in line for part in NEEDS_NETWORK) or words[1] in SERVERS:
            continue
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=work_dir,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"


def _write_own_videos(folder):
    """Stand-ins for a person's own videos: simulated clips with their captions beside them."""
    from kinema.media import write_video
    from kinema.simulator.captions import generate_captions
    from kinema.simulator.clip import ClipSpec, make_clip

    folder.mkdir()
    for seed in range(6):
        clip = make_clip(ClipSpec(seed=seed, event="roll", height=128, width=128, num_frames=73, fps=24.0))
        write_video(folder / f"{seed}.mp4", clip.frames, fps=24.0)
        (folder / f"{seed}.txt").write_text(generate_captions(clip.annotations)[0].text)


def test_what_the_commands_write_is_ignored_by_git():
    """Somebody who tries the README in a clone does not see its files as changes."""
    outputs = {
        word
        for words in readme_commands()
        for flag, word in itertools.pairwise(words)
        if flag in ("--out", "--preview", "--data") and "/" not in word and not word.startswith("-")
    }
    assert "video.mp4" in outputs
    found = subprocess.run(
        ["git", "check-ignore", *sorted(outputs)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode == 128:
        pytest.skip("not a git checkout")
    assert sorted(outputs) == sorted(found.stdout.split())
