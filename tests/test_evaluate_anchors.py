"""The anchors' rows: the simulator's films, what is made of them, and seeds nobody tuned on."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.evaluate import run
from kinema.evaluate.lists import prompts
from kinema.evaluate.makers import Format, scene_seed, simulated
from kinema.evaluate.scorecard import row_of
from kinema.media import psnr

FORM = Format(height=64, width=64, frames=9, fps=8.0)


class Coarse:
    """An autoencoder that keeps every fourth level."""

    def __init__(self):
        self.seen = []

    def fingerprint(self):
        return "coarse"

    def reconstruct(self):
        def through(frames):
            self.seen.append(frames)
            return frames // 4 * 4

        return through


def test_every_anchor_has_its_row_and_nothing_is_done_twice(tmp_path):
    items, vae = [item for item in prompts("smoke") if item.kind == "still"][:1], Coarse()
    assert list(run.anchors(tuple(items), FORM, tmp_path, vae=vae, workers=1)) == [1]
    rows = {anchor: row_of(anchor, run.anchor_records(tmp_path, anchor)) for anchor in run.ANCHORS}
    # A prompt with a side is filmed twice, the second time with the colours exchanged.
    assert all(row.films == 2 for row in rows.values())
    assert rows["simulator"].measures["binding"].value == 1
    assert rows["simulator"].measures["left/right, both ways"].value == 1
    assert "PSNR" not in rows["simulator"].figures
    likeness = rows["reconstructed"].figures["PSNR"].value
    assert likeness == pytest.approx(np.mean([psnr(f // 4 * 4, f) for f in vae.seen]))
    assert rows["simulator, worn"].figures["SSIM"].value < rows["reconstructed"].figures["SSIM"].value < 1
    assert list(run.anchors(tuple(items), FORM, tmp_path, vae=vae, workers=1)) == []


def test_the_reconstruction_can_be_added_later(tmp_path):
    items = [item for item in prompts("smoke") if item.kind == "roll"][:1]
    list(run.anchors(tuple(items), FORM, tmp_path, workers=1))
    assert not run.anchor_records(tmp_path, "reconstructed")
    kept = run.anchor_folder(tmp_path, "simulator") / "judged" / f"{items[0].index:05}-0.json"
    before = kept.stat().st_mtime_ns
    list(run.anchors(tuple(items), FORM, tmp_path, vae=Coarse(), workers=1))
    assert len(run.anchor_records(tmp_path, "reconstructed")) == 1
    assert kept.stat().st_mtime_ns == before


def test_stopped_while_a_film_is_written_the_film_is_there_in_the_end(tmp_path, monkeypatch):
    items = [item for item in prompts("smoke") if item.kind == "roll"][:1]

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "write_film", stopped)
        with pytest.raises(KeyboardInterrupt):
            list(run.anchors(tuple(items), FORM, tmp_path, workers=1))
    assert list(run.anchors(tuple(items), FORM, tmp_path, workers=1)) == [1]
    assert (tmp_path / "simulator" / "films" / f"{items[0].index:05}-0.mp4").is_file()


def test_another_seed_films_other_scenes():
    item = next(item for item in prompts("smoke") if item.kind == "roll")
    assert scene_seed(item, 0) == item.seed
    assert len({scene_seed(item, seed) for seed in range(20)}) == 20
    one, same, other = (simulated(item, FORM, seed)[0].frames for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
