"""The commands that generate videos, with a tiny model of random weights."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.cli import main, run_and_report
from kinema.media import read_video
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.native import save_checkpoint
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.pipeline.denoiser import ExpertDenoiser, FrameRangeDenoiser
from kinema.pipeline.reproduce import load_state, read_metadata
from kinema.pipeline.tail_latents import read_tail_latents
from tests.fixtures.wan_videos import smooth_image

BALL = "a red ball rolls to the left"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "world"
    torch.manual_seed(0)
    vae = VideoVae(VaeConfig.tiny(patchified=True)).eval()
    dit = Dit(dit_config.tiny(text_conditioning="joint")).eval()
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    defaults = SamplingDefaults(
        num_inference_steps=2, guidance_scale=(2.5,), flow_shift=1.0, solver="euler", schedule="linear",
        image_conditioning="frames", size=(32, 32), num_frames=17, fps=8.0,
    )  # fmt: skip
    save_checkpoint(folder, sampling_defaults=defaults, transformer=dit, vae=vae, dtype=torch.float32)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        Image.fromarray(smooth_image(number, side=32)).save(f"{number}.png")
    return tmp_path


def run_cli(model, *arguments: str) -> None:
    main([*arguments, "--model", str(model)])


def error_line(capsys, model, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        run_cli(model, *arguments)
    assert stopped.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("kinema: ")
    return line


def read_frames(name: str) -> np.ndarray:
    return read_video(name).frames


def test_video_metadata_reproduces_the_video(model, here, capsys):
    run_cli(model, "generate", BALL, "--image", "0.png", "--keyframe", "1.0:1.png", "--seed", "3")
    metadata = read_metadata("video.mp4")
    request = metadata.request
    assert (request.prompt, request.seed, request.num_inference_steps) == (BALL, 3, 2)
    assert request.keyframes[0].image == "1.png"
    assert metadata.fingerprint == fingerprint(model)
    assert read_tail_latents("video.mp4", model_fingerprint=fingerprint(model)) is not None
    assert read_tail_latents("video.mp4", model_fingerprint="another") is None
    main(["reproduce", "video.mp4", "--model", str(model)])
    assert "bit for bit" in capsys.readouterr().out
    assert np.array_equal(read_frames("video-reproduced.mp4"), read_frames("video.mp4"))
    Image.fromarray(smooth_image(7, side=32)).save("1.png")
    with pytest.raises(SystemExit):
        main(["reproduce", "video.mp4", "--model", str(model)])
    assert "1.png, which has changed since" in capsys.readouterr().err


def test_reproduce_rejects_another_model(model, here, capsys, tmp_path_factory):
    import shutil

    run_cli(model, "generate", BALL, "--out", "a.mp4")
    other = shutil.copytree(model, here / "other")
    settings = other / "kinema.json"
    settings.write_text(settings.read_text().replace('"flow_shift": 1.0', '"flow_shift": 2.0'))
    assert "not the model that generated the video" in error_line(capsys, other, "reproduce", "a.mp4")


def test_extend_interpolate_and_edit(model, here, capsys):
    run_cli(model, "generate", BALL, "--out", "a.mp4")
    run_cli(model, "extend", "a.mp4", BALL, "--seconds", "1", "--out", "b.mp4")
    assert len(read_frames("b.mp4")) == 25
    run_cli(model, "extend", "b.mp4", BALL, "--seconds", "4", "--out", "c.mp4")
    assert len(read_frames("c.mp4")) == 57
    run_cli(model, "extend", "a.mp4", BALL, "--backward", "--out", "d.webm")
    assert len(read_frames("d.webm")) == 17 + 13
    run_cli(model, "interpolate", "a.mp4", "d.webm", BALL, "--seconds", "1", "--out", "e.mp4")
    assert len(read_frames("e.mp4")) == 17 + 8 + 30
    run_cli(model, "edit", "a.mp4", BALL, "--strength", "0.5", "--mask", "0.png", "--out", "f.mp4")
    assert len(read_frames("f.mp4")) == 17
    capsys.readouterr()
    main(["reproduce", "c.mp4", "--model", str(model)])
    assert "bit for bit" in capsys.readouterr().out


def test_loop_reports_its_seam(model, here, capsys):
    run_cli(model, "generate", BALL, "--loop")
    assert "seam " in capsys.readouterr().out
    assert len(read_frames("video.mp4")) == 25


def test_storyboard_from_a_file(model, here):
    (here / "board.toml").write_text(
        f'seconds = 2\n[[shot]]\nprompt = "{BALL}"\n[[shot]]\nat = 1\nprompt = "{BALL}"\nimage = "1.png"\n'
    )
    run_cli(model, "generate", "--storyboard", "board.toml")
    assert len(read_frames("video.mp4")) == 16
    assert len(read_metadata("video.mp4").request.storyboard) == 2


def interrupt_at_call(monkeypatch, call_number: int) -> None:
    """Raise KeyboardInterrupt in the denoiser call of that number."""
    original, calls = ExpertDenoiser.__call__, []

    def call(self, *arguments):
        calls.append(1)
        if len(calls) == call_number:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(ExpertDenoiser, "__call__", call)


@pytest.mark.parametrize("calls", [2, 5])
def test_interrupted_video_resumes_bit_for_bit(model, here, capsys, monkeypatch, calls):
    run_cli(model, "generate", BALL, "--loop", "--num-inference-steps", "4", "--out", "uninterrupted.mp4")
    with monkeypatch.context() as patch:
        interrupt_at_call(patch, calls)
        with pytest.raises(SystemExit) as stopped:
            run_cli(model, "generate", BALL, "--loop", "--num-inference-steps", "4", "--out", "video.mp4")
    assert stopped.value.code == 130
    assert f"kinema resume video.mp4.state --out video.mp4 --model {model}" in capsys.readouterr().err
    assert not (here / "video.mp4").exists()
    assert load_state("video.mp4.state").sampler_state.index == calls - 2, "cancelled within one step"
    main(["resume", "video.mp4.state", "--model", str(model)])
    assert np.array_equal(read_frames("video.mp4"), read_frames("uninterrupted.mp4"))
    assert read_metadata("video.mp4").frames_sha256 == read_metadata("uninterrupted.mp4").frames_sha256
    assert not (here / "video.mp4.state").exists()


def test_no_state_before_the_first_step(model, here, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at_call(patch, 1)
        with pytest.raises(SystemExit):
            run_cli(model, "generate", BALL)
    assert "nothing is saved" in capsys.readouterr().err
    assert not list(here.glob("*.state"))


def test_json_progress(model, here, capsys, monkeypatch):
    run_cli(model, "generate", BALL, "--json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "start"
    assert names[-1] == "video"
    assert [event["index"] for event in events if event["event"] == "step"] == [0, 1]
    assert (events[-1]["path"], events[-1]["frames"]) == ("video.mp4", 17)
    error_line(capsys, model, "generate", BALL, "--json", "--size", "33x32")
    with pytest.raises(SystemExit):
        run_cli(model, "generate", BALL, "--json", "--size", "33x32")
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "error"
    assert "the nearest is" in event["message"]
    with monkeypatch.context() as patch:
        interrupt_at_call(patch, 2)
        with pytest.raises(SystemExit):
            run_cli(model, "generate", BALL, "--json")
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event == {"event": "stopped", "state": "video.mp4.state", "index": 0}


def test_open_starts_a_player(model, here, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(run_and_report.subprocess, "Popen", lambda command, **_: started.append(command))
    monkeypatch.setattr(sys, "platform", "linux")
    run_cli(model, "generate", BALL, "--open")
    assert started == [["xdg-open", "video.mp4"]]

    def missing(command, **_):
        raise FileNotFoundError

    monkeypatch.setattr(run_and_report.subprocess, "Popen", missing)
    assert "no xdg-open here" in error_line(capsys, model, "generate", BALL, "--open")
    assert (here / "video.mp4").exists()


def test_unknown_words_are_named(model, here, capsys):
    run_cli(model, "generate", "a red zebra rolls to the left")
    kind, line = capsys.readouterr().err.strip().splitlines()
    assert kind.endswith("(folder of Kinema)")
    assert "was not trained on 'zebra';" in line
    assert "Wan-AI/" in line
    run_cli(model, "generate", BALL)
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate"], "the prompt is empty"),
        (["generate", BALL, "--keyframe", "b.png"], "write seconds:image"),
        (["generate", BALL, "--keyframe", "nan:0.png"], "write seconds:image"),
        (["generate", BALL, "--keyframe", "9:0.png"], "outside a video"),
        (["generate", BALL, "--loop", "--last-image", "0.png"], "leave out last_image"),
        (["generate", BALL, "--storyboard", "none.toml"], "can't be read"),
        (["generate", BALL, "--count", "0"], "1 or more"),
        (["generate", BALL, "--count", "2", "--best-of", "2"], "one of the two"),
        (["generate", "a dream", "--best-of", "2"], "cannot parse"),
        (["generate", BALL, "--upscale", "3"], "1, 2 or 4"),
        (["extend", "none.mp4", BALL], "does not exist"),
        (["edit", "0.png", BALL, "--strength", "2"], "strength"),
        (["edit", "0.png", BALL, "--seconds", "2"], "as long as its source"),
        (["reproduce", "0.png"], "carries no request"),
        (["resume", "0.png"], "no state of an interrupted generation"),
        (["resume", "none.state"], "does not exist"),
    ],
)
def test_mistakes_end_in_one_line(model, here, capsys, arguments, message):
    assert message in error_line(capsys, model, *arguments)


def test_streamed_video_grows_with_its_preview_and_is_reproduced(model, here, capsys):
    run_cli(model, "generate", BALL, "--seconds", "5", "--preview", "live.mp4", "--json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    chunks = [event["done"] for event in events if event["event"] == "frames"]
    assert len(chunks) > 1
    assert chunks[-1] == events[-1]["frames"] == len(read_frames("video.mp4")) == len(read_frames("live.mp4"))
    main(["reproduce", "video.mp4", "--model", str(model)])
    assert "bit for bit" in capsys.readouterr().out
    assert np.array_equal(read_frames("video-reproduced.mp4"), read_frames("video.mp4"))


def test_interrupted_stream_leaves_its_preview_and_no_state(model, here, capsys, monkeypatch):
    original, blocks = FrameRangeDenoiser.for_frames, []

    def for_frames(self, *arguments):
        blocks.append(1)
        if len(blocks) == 3:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(FrameRangeDenoiser, "for_frames", for_frames)
    with pytest.raises(SystemExit) as stopped:
        run_cli(model, "generate", BALL, "--seconds", "5", "--preview", "live.mp4")
    assert stopped.value.code == 130
    assert "nothing is saved" in capsys.readouterr().err
    assert not (here / "video.mp4").exists()
    assert not list(here.glob("*.state"))
    assert len(read_frames("live.mp4")) >= 17


def test_upscaled_video_has_twice_the_size(model, here, capsys):
    run_cli(model, "generate", BALL, "--upscale", "2")
    assert "17 frames at 64x64" in capsys.readouterr().out
    assert read_frames("video.mp4").shape == (17, 64, 64, 3)


def test_best_of_writes_the_best_seed(model, here, capsys):
    run_cli(model, "generate", BALL, "--best-of", "2", "--size", "64x64")
    printed = capsys.readouterr().out
    assert "seed 0: " in printed
    assert "seed 1: " in printed
    assert "best of 2: " in printed
    assert read_metadata("video.mp4").request.seed in (0, 1)
    line = error_line(capsys, model, "generate", BALL, "--best-of", "2", "--upscale", "2")
    assert "best-of needs short videos" in line


def test_count_numbers_the_files(model, here):
    run_cli(model, "generate", BALL, "--count", "2")
    assert [read_metadata(f"video-{number}.mp4").request.seed for number in (1, 2)] == [0, 1]
