"""The anchors' rows: the simulator's films, what is made of them, and seeds nobody tuned on."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.evaluation import runner
from kinema.evaluation.prompt_sets import build_prompt_set
from kinema.evaluation.scorecard import aggregate_records
from kinema.evaluation.video_sources import VideoFormat, render_reference, scene_seed
from kinema.media import psnr

VIDEO_FORMAT = VideoFormat(height=64, width=64, num_frames=9, fps=8.0)


class QuantizingAutoencoder:
    """An autoencoder that keeps every fourth level."""

    def __init__(self):
        self.inputs = []

    def fingerprint(self):
        return "coarse"

    def load_reconstructor(self):
        def through(frames):
            self.inputs.append(frames)
            return frames // 4 * 4

        return through


def test_every_baseline_has_its_row_and_nothing_is_done_twice(tmp_path):
    items, vae = (
        [item for item in build_prompt_set("smoke") if item.kind == "still"][:1],
        QuantizingAutoencoder(),
    )
    assert list(runner.run_baselines(tuple(items), VIDEO_FORMAT, tmp_path, vae=vae, workers=1)) == [1]
    rows = {
        anchor: aggregate_records(anchor, runner.load_baseline_records(tmp_path, anchor))
        for anchor in runner.BASELINES
    }
    # A prompt with a side is filmed twice, the second time with the colours exchanged.
    assert all(row.num_videos == 2 for row in rows.values())
    assert rows["simulator"].measures["binding"].value == 1
    assert rows["simulator"].measures["left/right, both ways"].value == 1
    assert "PSNR" not in rows["simulator"].metrics
    likeness = rows["reconstructed"].metrics["PSNR"].value
    assert likeness == pytest.approx(np.mean([psnr(f // 4 * 4, f) for f in vae.inputs]))
    assert rows["simulator, worn"].metrics["SSIM"].value < rows["reconstructed"].metrics["SSIM"].value < 1
    assert list(runner.run_baselines(tuple(items), VIDEO_FORMAT, tmp_path, vae=vae, workers=1)) == []


def test_the_reconstruction_can_be_added_later(tmp_path):
    items = [item for item in build_prompt_set("smoke") if item.kind == "roll"][:1]
    list(runner.run_baselines(tuple(items), VIDEO_FORMAT, tmp_path, workers=1))
    assert not runner.load_baseline_records(tmp_path, "reconstructed")
    kept = runner.baseline_dir(tmp_path, "simulator") / "judged" / f"{items[0].index:05}-0.json"
    before = kept.stat().st_mtime_ns
    list(runner.run_baselines(tuple(items), VIDEO_FORMAT, tmp_path, vae=QuantizingAutoencoder(), workers=1))
    assert len(runner.load_baseline_records(tmp_path, "reconstructed")) == 1
    assert kept.stat().st_mtime_ns == before


def test_interrupted_while_a_video_is_written_the_video_exists_in_the_end(tmp_path, monkeypatch):
    items = [item for item in build_prompt_set("smoke") if item.kind == "roll"][:1]

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runner, "write_video", stopped)
        with pytest.raises(KeyboardInterrupt):
            list(runner.run_baselines(tuple(items), VIDEO_FORMAT, tmp_path, workers=1))
    assert list(runner.run_baselines(tuple(items), VIDEO_FORMAT, tmp_path, workers=1)) == [1]
    assert (tmp_path / "simulator" / "films" / f"{items[0].index:05}-0.mp4").is_file()


def test_another_seed_renders_other_scenes():
    item = next(item for item in build_prompt_set("smoke") if item.kind == "roll")
    assert scene_seed(item, 0) == item.seed
    assert len({scene_seed(item, seed) for seed in range(20)}) == 20
    one, same, other = (render_reference(item, VIDEO_FORMAT, seed)[0].frames for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
