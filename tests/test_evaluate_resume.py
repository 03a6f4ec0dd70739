"""A scorecard is the same to the last digit, killed or not, whatever the number of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.evaluate.evaluation import evaluate_model
from kinema.evaluate.makers import Format, Order
from kinema.evaluate.model import ModelSource
from kinema.models import dit_config
from kinema.models.dit import Dit
from kinema.models.folder import save_folder
from kinema.models.recipe import Recipe
from kinema.models.vae import VideoVae
from kinema.models.vae_config import VaeConfig
from tests.evaluate_painter import Drawing

FORM = Format(height=64, width=64, frames=9, fps=8.0)
ROOT = Path(__file__).parents[1]
RECIPE = Recipe(
    steps=1, guidance=(1.0,), shift=1.0, solver="euler", schedule="linear", pictures="frames", size=(48, 48),
    frames=5, fps=8.0,
)  # fmt: skip
DRAW = """
import sys
from pathlib import Path
from kinema.evaluate.evaluation import evaluate_model
from kinema.evaluate.makers import Format
from tests.evaluate_painter import Drawing

if __name__ == "__main__":
    form = Format(height=64, width=64, frames=9, fps=8.0)
    out, workers = Path(sys.argv[1]), int(sys.argv[2])
    list(evaluate_model("drawing", Drawing(apart=True), "smoke", form, out, anchors=None, workers=workers))
"""
RUN = "import sys; from kinema.cli import main; sys.exit(main())"


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


def _killed(command: list[str], out: Path) -> int:
    """Start, kill everything when a few films are judged; how many there are."""
    run = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        while run.poll() is None and len([*(out / "judged").glob("0*.json")]) < 3:
            time.sleep(0.005)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    return len([*(out / "judged").glob("0*.json")])


def _same(one: Path, other: Path) -> bool:
    names = ("scorecard.json", "scorecard.md", "scorecard.html")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.slow
def test_killed_in_two_processes_and_resumed_in_one(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    list(evaluate_model("drawing", Drawing(apart=False), "smoke", FORM, whole, anchors=None, workers=1))
    assert 3 <= _killed([sys.executable, "-c", DRAW, str(out), "2"], out) < 50
    assert not (out / "scorecard.json").exists()
    list(evaluate_model("drawing", Drawing(apart=True), "smoke", FORM, out, anchors=None, workers=1))
    assert _same(whole, out)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second", "batch"), [(1, 2, 1), (2, 1, 1), (1, 2, 4)])
def test_a_models_films_are_the_same_in_any_number_of_processes(model, tmp_path, first, second, batch):
    def command(out: Path, workers: int) -> list[str]:
        told = ["--model", str(model), "--list", "smoke", "--out", str(out), "--workers", str(workers)]
        told += ["--batch", str(batch)]
        return [sys.executable, "-c", RUN, "evaluate", *told]

    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run(command(whole, 1), check=True, capture_output=True)
    assert 3 <= _killed(command(out, first), out) < 50
    subprocess.run(command(out, second), check=True, capture_output=True)
    assert _same(whole, out)


def test_a_batch_is_the_single_films_but_for_rounding(model):
    prompts = ("a ball", "a red cube stands", "")
    orders = [Order(prompt=prompt, seed=seed) for seed, prompt in enumerate(prompts)]
    form = Format(height=32, width=48, frames=9, fps=4.0)
    source = ModelSource(name=str(model), films_at_once=2)
    assert (source.batch, ModelSource(name=str(model)).batch) == (2, 1)
    made = list(source.generator().films(orders, form))
    assert not np.array_equal(made[0], made[1])
    for order, frames in zip(orders, made, strict=True):
        (alone,) = source.generator().films([order], form)
        assert frames.shape == (9, 32, 48, 3)
        assert np.abs(frames.astype(int) - alone.astype(int)).max() <= 1


def test_films_are_made_as_the_recipe_says(model):
    source = ModelSource(name=str(model))
    assert source.form(size=None, frames=None, fps=None) == Format(height=48, width=48, frames=5, fps=8.0)
    assert source.form(size=(64, 32), frames=9, fps=4.0) == Format(height=32, width=64, frames=9, fps=4.0)


def test_other_weights_are_another_model(model, tmp_path):
    same, other = _model(tmp_path / "same"), _model(tmp_path / "other", seed=1)
    assert ModelSource(name=str(model)).fingerprint() == ModelSource(name=str(same)).fingerprint()
    assert ModelSource(name=str(model)).fingerprint() != ModelSource(name=str(other)).fingerprint()
