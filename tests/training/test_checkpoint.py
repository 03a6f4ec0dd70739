"""Checkpoints: complete or absent, verified on load, pruned without losing the best."""

import json
import shutil

import pytest
import torch

from kinema.errors import UserError
from kinema.training import checkpoint
from kinema.training.checkpoint import Checkpoint


def make_checkpoint(step: int) -> Checkpoint:
    values = torch.arange(6, dtype=torch.float32) * step
    return Checkpoint(
        step=step,
        parts={"model": {"w": values, "n": torch.tensor(step)}, "ema": {"w": values / 2}},
        state={"best": None, "note": "x"},
    )


def test_save_and_load(tmp_path):
    checkpoint.save(tmp_path / "run", make_checkpoint(3), keep_last=2)
    loaded = checkpoint.load(tmp_path / "run")
    assert loaded.step == 3
    assert loaded.state == {"best": None, "note": "x"}
    assert loaded.parts["model"]["w"].equal(make_checkpoint(3).parts["model"]["w"])
    assert loaded.parts["model"]["n"].dtype == torch.int64
    assert (tmp_path / "run" / "latest").read_text() == "step-00000003\n"


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    for step in range(1, 7):
        checkpoint.save(tmp_path, make_checkpoint(step), keep_last=2, best_step=2 if step >= 2 else None)
    assert checkpoint.list_steps(tmp_path) == [2, 5, 6]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, make_checkpoint(step), keep_last=5)
    folder = checkpoint.checkpoint_dir(tmp_path, 2)
    target = folder / "model.safetensors"
    data = bytearray(target.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
        target.write_bytes(data)
    elif damage == "cut":
        target.write_bytes(data[:-5])
    elif damage == "remove":
        target.unlink()
    else:
        (folder / "manifest.json").write_text("{")
    with pytest.warns(UserWarning, match="damaged.*older"):
        assert checkpoint.load(tmp_path).step == 1
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(tmp_path, step=2)


def test_partial_checkpoint_is_ignored(tmp_path):
    checkpoint.save(tmp_path, make_checkpoint(1), keep_last=1)
    partial = tmp_path / ".step-00000002.part"
    shutil.copytree(checkpoint.checkpoint_dir(tmp_path, 1), partial)
    incomplete = tmp_path / "step-00000003"
    incomplete.mkdir()
    (incomplete / "state.json").write_text("{}")
    assert checkpoint.load(tmp_path).step == 1
    checkpoint.save(tmp_path, make_checkpoint(4), keep_last=1)
    assert not partial.exists()
    assert checkpoint.list_steps(tmp_path) == [4]


def test_empty_directory_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no complete checkpoint"):
        checkpoint.load(tmp_path)


def test_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, make_checkpoint(1), keep_last=1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(UserError, match="free some space"):
        checkpoint.save(tmp_path, make_checkpoint(2), keep_last=1)
    assert checkpoint.load(tmp_path).step == 1


def test_manifest_has_every_file(tmp_path):
    folder = checkpoint.save(tmp_path, make_checkpoint(1), keep_last=1)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["ema.safetensors", "model.safetensors", "state.json"]
