"""Baselines: the simulator's videos, modified copies of them, and other seeds."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.evaluation import runner
from kinema.evaluation.prompt_sets import build_prompt_set
from kinema.evaluation.record import load_records
from kinema.evaluation.scorecard import aggregate_records
from kinema.evaluation.video_sources import VideoFormat, render_reference, scene_seed
from kinema.media import psnr

VIDEO_FORMAT = VideoFormat(height=64, width=64, num_frames=9, fps=8.0)


class QuantizingAutoencoder:
    """Rounds every value down to a multiple of four."""

    def __init__(self):
        self.inputs = []

    def fingerprint(self):
        return "quantizing"

    def load_reconstructor(self):
        def reconstruct(frames):
            self.inputs.append(frames)
            return frames // 4 * 4

        return reconstruct


def _baseline_records(out, baseline):
    return load_records(runner.baseline_dir(out, baseline))


def _first_items(kind):
    return tuple(item for item in build_prompt_set("smoke") if item.kind == kind)[:1]


def test_every_baseline_has_its_row_and_nothing_is_done_twice(tmp_path):
    items, vae = _first_items("still"), QuantizingAutoencoder()
    assert list(runner.run_baselines(items, VIDEO_FORMAT, tmp_path, vae=vae, workers=1)) == [1]
    rows = {
        baseline: aggregate_records(baseline, _baseline_records(tmp_path, baseline))
        for baseline in runner.BASELINES
    }
    # A prompt with a side has two videos, the second with the colours exchanged.
    assert all(row.num_videos == 2 for row in rows.values())
    assert rows["simulator"].measures["binding"].value == 1
    assert rows["simulator"].measures["left/right, both ways"].value == 1
    assert "psnr" not in rows["simulator"].metrics
    similarity = rows["reconstructed"].metrics["psnr"].value
    assert similarity == pytest.approx(np.mean([psnr(f // 4 * 4, f) for f in vae.inputs]))
    assert (
        rows["simulator, corrupted"].metrics["ssim"].value < rows["reconstructed"].metrics["ssim"].value < 1
    )
    assert list(runner.run_baselines(items, VIDEO_FORMAT, tmp_path, vae=vae, workers=1)) == []


def test_the_reconstruction_can_be_added_later(tmp_path):
    items = _first_items("roll")
    list(runner.run_baselines(items, VIDEO_FORMAT, tmp_path, workers=1))
    assert not _baseline_records(tmp_path, "reconstructed")
    existing = runner.baseline_dir(tmp_path, "simulator") / "records" / f"{items[0].index:05}-0.json"
    before = existing.stat().st_mtime_ns
    list(runner.run_baselines(items, VIDEO_FORMAT, tmp_path, vae=QuantizingAutoencoder(), workers=1))
    assert len(_baseline_records(tmp_path, "reconstructed")) == 1
    assert existing.stat().st_mtime_ns == before


def test_interrupted_while_a_video_is_written_the_video_exists_in_the_end(tmp_path, monkeypatch):
    items = _first_items("roll")

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runner, "write_video", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(runner.run_baselines(items, VIDEO_FORMAT, tmp_path, workers=1))
    assert list(runner.run_baselines(items, VIDEO_FORMAT, tmp_path, workers=1)) == [1]
    assert (tmp_path / "simulator" / "videos" / f"{items[0].index:05}-0.mp4").is_file()


def test_another_seed_renders_other_scenes():
    (item,) = _first_items("roll")
    assert scene_seed(item, 0) == item.seed
    assert len({scene_seed(item, seed) for seed in range(20)}) == 20
    first, same, other = (render_reference(item, VIDEO_FORMAT, seed)[0].frames for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
