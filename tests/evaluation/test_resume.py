"""A scorecard is identical after an interruption and in any number of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kinema.cli import main
from kinema.evaluation.evaluate import evaluate_model
from kinema.evaluation.model_source import PipelineGeneratorFactory
from kinema.evaluation.video_sources import SampleRequest, VideoFormat
from kinema.models.formats.loader import open_model
from kinema.pipeline.pipeline import load
from kinema.pipeline.request import Lora, VideoRequest
from tests.evaluation.disc_generator import DiscGenerator
from tests.fixtures.lora_files import random_factors, write_family
from tests.fixtures.tiny_model import save_tiny_model

VIDEO_FORMAT = VideoFormat(height=64, width=64, num_frames=9, fps=8.0)
ROOT = Path(__file__).parents[2]
DISC_SCRIPT = """
import sys
from pathlib import Path
from kinema.evaluation.evaluate import evaluate_model
from kinema.evaluation.video_sources import VideoFormat
from tests.evaluation.disc_generator import DiscGenerator

if __name__ == "__main__":
    video_format = VideoFormat(height=64, width=64, num_frames=9, fps=8.0)
    out, workers = Path(sys.argv[1]), int(sys.argv[2])
    generator = DiscGenerator(per_process=True)
    list(evaluate_model("discs", generator, "smoke", video_format, out, baselines=None, workers=workers))
"""
CLI_SCRIPT = "import sys; from kinema.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def _run_until_killed(command: list[str], out: Path) -> int:
    """Start a command, kill it when a few videos are scored; return how many."""
    run = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        while run.poll() is None and len([*(out / "records").glob("0*.json")]) < 3:
            time.sleep(0.005)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    return len([*(out / "records").glob("0*.json")])


def _same_reports(first: Path, second: Path) -> bool:
    names = ("scorecard.json", "scorecard.md", "scorecard.html")
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


@pytest.mark.slow
def test_killed_in_two_processes_and_resumed_in_one(tmp_path):
    complete, resumed = tmp_path / "complete", tmp_path / "resumed"

    def evaluate(generator: DiscGenerator, out: Path) -> None:
        list(evaluate_model("discs", generator, "smoke", VIDEO_FORMAT, out, baselines=None, workers=1))

    evaluate(DiscGenerator(per_process=False), complete)
    assert 3 <= _run_until_killed([sys.executable, "-c", DISC_SCRIPT, str(resumed), "2"], resumed) < 50
    assert not (resumed / "scorecard.json").exists()
    evaluate(DiscGenerator(per_process=True), resumed)
    assert _same_reports(complete, resumed)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second", "batch"), [(1, 2, 1), (2, 1, 1), (1, 2, 4)])
def test_a_models_videos_are_the_same_in_any_number_of_processes(tiny_model, tmp_path, first, second, batch):
    def command(out: Path, workers: int) -> list[str]:
        flags = ["--model", str(tiny_model), "--prompt-set", "smoke", "--out", str(out)]
        flags += ["--workers", str(workers), "--batch-size", str(batch)]
        return [sys.executable, "-c", CLI_SCRIPT, "evaluate", *flags]

    complete, resumed = tmp_path / "complete", tmp_path / "resumed"
    subprocess.run(command(complete, 1), check=True, capture_output=True)
    assert 3 <= _run_until_killed(command(resumed, first), resumed) < 50
    subprocess.run(command(resumed, second), check=True, capture_output=True)
    assert _same_reports(complete, resumed)


@pytest.mark.parametrize("num_frames", [5, 9])
def test_a_batch_equals_single_videos_up_to_rounding(tiny_model, num_frames):
    """Videos of 9 frames are longer than the model's own 5: they are streamed one by one."""
    prompts = ("a ball", "a red cube stands", "")
    requests = [SampleRequest(prompt=prompt, seed=seed) for seed, prompt in enumerate(prompts)]
    video_format = VideoFormat(height=32, width=48, num_frames=num_frames, fps=4.0)
    factory = PipelineGeneratorFactory(model=str(tiny_model), requested_batch_size=2)
    assert (factory.batch_size, PipelineGeneratorFactory(model=str(tiny_model)).batch_size) == (2, 1)
    generator = factory.load_generator()
    videos = list(generator.generate(requests, video_format))
    assert not np.array_equal(videos[0], videos[1])
    for request, frames in zip(requests, videos, strict=True):
        (single,) = generator.generate([request], video_format)
        assert frames.shape == (num_frames, 32, 48, 3)
        assert np.abs(frames.astype(int) - single.astype(int)).max() <= 1


def test_videos_follow_the_sampling_defaults(tiny_model):
    factory = PipelineGeneratorFactory(model=str(tiny_model))
    assert factory.resolve_video_format(size=None, num_frames=None, fps=None) == VideoFormat(
        height=48, width=48, num_frames=5, fps=8.0
    )
    assert factory.resolve_video_format(size=(64, 32), num_frames=9, fps=4.0) == VideoFormat(
        height=32, width=64, num_frames=9, fps=4.0
    )


def test_other_weights_are_another_model(tiny_model, tmp_path):
    same, other = save_tiny_model(tmp_path / "same"), save_tiny_model(tmp_path / "other", seed=1)

    def fingerprint(folder: Path) -> str:
        return PipelineGeneratorFactory(model=str(folder)).fingerprint()

    assert fingerprint(tiny_model) == fingerprint(same)
    assert fingerprint(tiny_model) != fingerprint(other)


def test_loras_change_the_videos_and_the_fingerprint(tiny_model, tmp_path):
    """A scorecard's videos with a LoRA are those of a request with it, and never mixed with those without."""
    config = open_model(str(tiny_model)).dit
    file = write_family(tmp_path / "lora.safetensors", "A", random_factors(config, size=0.2))
    loras = (Lora(file=str(file), strength=0.5),)
    factories = [
        PipelineGeneratorFactory(model=str(tiny_model), loras=each)
        for each in ((), loras, (Lora(file=str(file)),))
    ]
    assert len({factory.fingerprint() for factory in factories}) == 3
    request = SampleRequest(prompt="a ball", seed=1)
    video_format = factories[0].resolve_video_format(size=None, num_frames=None, fps=None)
    base, changed, _ = (
        next(iter(factory.load_generator().generate([request], video_format))) for factory in factories
    )
    assert not np.array_equal(base, changed)
    expected = load(str(tiny_model)).generate(VideoRequest(prompt="a ball", seed=1, loras=loras))
    assert np.array_equal(changed, expected.frames)


def test_a_lora_of_a_scorecard_needs_a_model(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--baselines", "--lora", "x.safetensors", "--out", str(tmp_path / "out")])
    assert "--lora changes a model; give --model" in capsys.readouterr().err
