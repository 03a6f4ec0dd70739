"""A model's scorecard is the same to the last digit, killed or not, whatever the number of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from kinema.evaluate.makers import Format
from kinema.evaluate.model import ModelSource
from kinema.models import dit_config
from kinema.models.dit import Dit
from kinema.models.folder import save_folder
from kinema.models.recipe import Recipe
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig

RECIPE = Recipe(
    steps=1, guidance=(1.0,), shift=1.0, solver="euler", schedule="linear", pictures="frames", size=(48, 48),
    frames=5, fps=8.0,
)  # fmt: skip


def _model(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    vae = VideoVae(VaeConfig.tiny(folded=True)).eval()
    dit = Dit(dit_config.tiny(text="joint")).eval()
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_folder(folder, recipe=RECIPE, transformer=dit, vae=vae, dtype=torch.float32)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return _model(tmp_path_factory.mktemp("model") / "tiny")


def _command(model: Path, out: Path, workers: int) -> list[str]:
    words = [
        "evaluate",
        "--model",
        str(model),
        "--list",
        "smoke",
        "--out",
        str(out),
        "--workers",
        str(workers),
    ]
    return [sys.executable, "-c", "import sys; from kinema.cli import main; sys.exit(main())", *words]


def _killed(model: Path, out: Path, workers: int) -> int:
    """Start, kill everything when a few films are judged; how many there are."""
    run = subprocess.Popen(
        _command(model, out, workers), start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while run.poll() is None and len([*(out / "judged").glob("0*.json")]) < 3:
            time.sleep(0.005)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    return len([*(out / "judged").glob("0*.json")])


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    subprocess.run(_command(model, out, 1), check=True, capture_output=True)
    return out


@pytest.mark.parametrize(("first", "second"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.slow)])
def test_killed_and_resumed_in_other_numbers_of_processes(model, undisturbed, tmp_path, first, second):
    out = tmp_path / "out"
    assert 3 <= _killed(model, out, first) < 50
    assert not (out / "scorecard.json").exists()
    subprocess.run(_command(model, out, second), check=True, capture_output=True)
    for name in ("scorecard.json", "scorecard.md", "scorecard.html"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


def test_films_are_made_as_the_recipe_says(model):
    source = ModelSource(name=str(model))
    assert source.form(size=None, frames=None, fps=None) == Format(height=48, width=48, frames=5, fps=8.0)
    assert source.form(size=(64, 32), frames=9, fps=4.0) == Format(height=32, width=64, frames=9, fps=4.0)


def test_other_weights_are_another_model(model, tmp_path):
    same, other = _model(tmp_path / "same"), _model(tmp_path / "other", seed=1)
    assert ModelSource(name=str(model)).fingerprint() == ModelSource(name=str(same)).fingerprint()
    assert ModelSource(name=str(model)).fingerprint() != ModelSource(name=str(other)).fingerprint()
