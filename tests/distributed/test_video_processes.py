"""One video on 2 and 4 processes: the video of one process, and no byte more than the method needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.distributed.video_split import SplitDegrees, choose_split, parse_split
from kinema.errors import UserError
from kinema.pipeline.pipeline import load
from tests.fixtures import wan_fixtures

ROOT = Path(__file__).parents[2]
SPLITS = {
    2: ("guidance=2", "ulysses=2", "ring=2"),
    4: ("guidance=2,ulysses=2", "guidance=2,ring=2", "ulysses=4", "ring=4", "ulysses=2,ring=2"),
}


def torchrun(count, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "-m", *map(str, arguments)]
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]


def check(reports):
    for report in reports:
        for split, found in report.items():
            if split in ("vae", "pipelines", "sharded"):
                continue
            assert found["cross"] <= 1e-5, split
            assert found["joint"] <= 1e-5, split
            sent, bound = found["bytes"]
            assert sent == bound > 0, split
        assert max(report["vae"]) <= 1e-5
        for latents, share in report["sharded"].values():
            assert latents == 0
            assert share <= 1 / len(reports) + 0.1  # Rows that do not divide evenly are padded.
        for latents, levels, share in report["pipelines"].values():
            assert latents <= 1e-5
            # Rounding moves a value across the border of two grey levels now and then.
            assert levels <= 1
            assert share < 1e-3


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_every_split_equals_one_process(tmp_path, count):
    report = tmp_path / "report"
    torchrun(count, "tests.fixtures.video_processes", report, ":".join(SPLITS[count]))
    check([json.loads(Path(f"{report}.{rank}").read_text()) for rank in range(count)])


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.filterwarnings("ignore::UserWarning:diffusers", "ignore::UserWarning:transformers")
def test_whole_videos_equal_those_of_one_process(tmp_path, count):
    """`world`, also longer than it was trained for, and a tiny Wan."""
    folder = wan_fixtures.Saved(tmp_path)["t2v-2.1"]
    report = tmp_path / "report"
    torchrun(count, "tests.fixtures.video_processes", report, SPLITS[count][0], folder, "world")
    reports = [json.loads(Path(f"{report}.{rank}").read_text()) for rank in range(count)]
    assert len(reports[0]["pipelines"]) == 3
    assert len(reports[0]["sharded"]) == 4
    check(reports)


@pytest.mark.slow
def test_the_first_process_writes(tmp_path):
    out = tmp_path / "video.mp4"
    options = ["--size", "64x64", "--num-frames", "9", "--num-inference-steps", "2", "--device", "cpu"]
    torchrun(2, "kinema", "generate", "a red ball", "--out", out, *options)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_one_process_has_nothing_to_divide():
    with pytest.raises(UserError, match="start kinema with torchrun, or give blocks"):
        load("world", device="cpu", memory="sharded")


def test_choice_of_a_split():
    assert choose_split(2, 12, uses_guidance=True) == SplitDegrees(guidance=2)
    assert choose_split(8, 12, uses_guidance=True) == SplitDegrees(guidance=2, ulysses=4)
    assert choose_split(8, 12, uses_guidance=False) == SplitDegrees(ulysses=4, ring=2)
    assert choose_split(5, 12, uses_guidance=True) == SplitDegrees(ring=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("heads=2", "is not a split; give auto"),
        ("guidance=3,ring=4", "guidance has two parts, not 3"),
        ("ulysses=2", "is for 2 processes and 12 run"),
        ("ulysses=6,ring=2", "the 4 heads of this model can't be divided into 6; give ulysses=1, 2, 4"),
    ],
)
def test_splits_that_do_not_fit(text, message):
    with pytest.raises(UserError, match=message):
        parse_split(text, 12, 4)
