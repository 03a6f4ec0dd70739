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

from kinema.evaluation.evaluate import evaluate_model
from kinema.evaluation.model_source import PipelineGeneratorFactory
from kinema.evaluation.video_sources import SampleRequest, VideoFormat
from kinema.models.formats.native import save_checkpoint
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from tests.evaluation.disc_generator import DiscGenerator

VIDEO_FORMAT = VideoFormat(height=64, width=64, num_frames=9, fps=8.0)
ROOT = Path(__file__).parents[1]
SAMPLING_DEFAULTS = SamplingDefaults(
    num_inference_steps=1, guidance_scale=(1.0,), flow_shift=1.0, solver="euler", schedule="linear", image_conditioning="frames", size=(48, 48),
    num_frames=5, fps=8.0,
)  # fmt: skip
DISC_SCRIPT = """
import sys
from pathlib import Path
from kinema.evaluation.evaluate import evaluate_model
from kinema.evaluation.video_sources import Format
from tests.evaluation.disc_generator import Drawing

if __name__ == "__main__":
    form = Format(height=64, width=64, frames=9, fps=8.0)
    out, workers = Path(sys.argv[1]), int(sys.argv[2])
    list(evaluate_model("drawing", Drawing(apart=True), "smoke", form, out, anchors=None, workers=workers))
"""
CLI_SCRIPT = "import sys; from kinema.cli import main; sys.exit(main())"


def _save_tiny_model(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    vae = VideoVae(VaeConfig.tiny(patchified=True)).eval()
    dit = Dit(dit_config.tiny(text_conditioning="joint")).eval()
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_checkpoint(
        folder, sampling_defaults=SAMPLING_DEFAULTS, transformer=dit, vae=vae, dtype=torch.float32
    )
    return folder


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return _save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def _run_until_killed(command: list[str], out: Path) -> int:
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


def _same_reports(one: Path, other: Path) -> bool:
    names = ("scorecard.json", "scorecard.md", "scorecard.html")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.slow
def test_killed_in_two_processes_and_resumed_in_one(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    list(
        evaluate_model(
            "drawing", DiscGenerator(apart=False), "smoke", VIDEO_FORMAT, whole, baselines=None, workers=1
        )
    )
    assert 3 <= _run_until_killed([sys.executable, "-c", DISC_SCRIPT, str(out), "2"], out) < 50
    assert not (out / "scorecard.json").exists()
    list(
        evaluate_model(
            "drawing", DiscGenerator(apart=True), "smoke", VIDEO_FORMAT, out, baselines=None, workers=1
        )
    )
    assert _same_reports(whole, out)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second", "batch"), [(1, 2, 1), (2, 1, 1), (1, 2, 4)])
def test_a_models_videos_are_the_same_in_any_number_of_processes(tiny_model, tmp_path, first, second, batch):
    def command(out: Path, workers: int) -> list[str]:
        told = ["--model", str(model), "--list", "smoke", "--out", str(out), "--workers", str(workers)]
        told += ["--batch", str(batch)]
        return [sys.executable, "-c", CLI_SCRIPT, "evaluate", *told]

    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run(command(whole, 1), check=True, capture_output=True)
    assert 3 <= _run_until_killed(command(out, first), out) < 50
    subprocess.run(command(out, second), check=True, capture_output=True)
    assert _same_reports(whole, out)


def test_a_batch_equals_single_videos_up_to_rounding(tiny_model):
    prompts = ("a ball", "a red cube stands", "")
    orders = [SampleRequest(prompt=prompt, seed=seed) for seed, prompt in enumerate(prompts)]
    form = VideoFormat(height=32, width=48, num_frames=9, fps=4.0)
    source = PipelineGeneratorFactory(model=str(model), requested_batch_size=2)
    assert (source.batch_size, PipelineGeneratorFactory(model=str(model)).batch_size) == (2, 1)
    made = list(source.load_generator().generate(orders, form))
    assert not np.array_equal(made[0], made[1])
    for order, frames in zip(orders, made, strict=True):
        (alone,) = source.load_generator().generate([order], form)
        assert frames.shape == (9, 32, 48, 3)
        assert np.abs(frames.astype(int) - alone.astype(int)).max() <= 1


def test_videos_follow_the_sampling_defaults(tiny_model):
    source = PipelineGeneratorFactory(model=str(model))
    assert source.resolve_video_format(size=None, num_frames=None, fps=None) == VideoFormat(
        height=48, width=48, num_frames=5, fps=8.0
    )
    assert source.resolve_video_format(size=(64, 32), num_frames=9, fps=4.0) == VideoFormat(
        height=32, width=64, num_frames=9, fps=4.0
    )


def test_other_weights_are_another_model(tiny_model, tmp_path):
    same, other = _save_tiny_model(tmp_path / "same"), _save_tiny_model(tmp_path / "other", seed=1)
    assert (
        PipelineGeneratorFactory(model=str(model)).fingerprint()
        == PipelineGeneratorFactory(model=str(same)).fingerprint()
    )
    assert (
        PipelineGeneratorFactory(model=str(model)).fingerprint()
        != PipelineGeneratorFactory(model=str(other)).fingerprint()
    )
