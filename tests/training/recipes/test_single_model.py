"""`kinema train vae|dit|resume` at the smallest size, films from folders, and every mistake in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.cli.train_logging import format_flops, make_lab_scorer, open_tensorboard, write_tensorboard
from kinema.errors import UserError
from kinema.models.formats.native import load_vae
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.text_encoders.minilm import MiniLm
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.parallel_render import render_dataset
from kinema.simulator.shards import DatasetConfig
from kinema.training import scaling
from kinema.training.dit_task import DitTrainConfig
from kinema.training.loop import LoopConfig, StepReport
from kinema.training.render_shards import RenderConfig, open_shards, render_missing
from kinema.training.stages import Progress, load_latent_datasets
from kinema.training.validation_samples import ValidationSample
from kinema.training.video_folder import open_dataset

RENDER_CONFIG = RenderConfig(
    num_clips=9, height=32, width=32, num_frames=9, shard_size=4, events=(("still", 1.0),)
)


class LengthTextEncoder:
    """A text encoder that only counts."""

    width = 384

    def to(self, device):
        return self

    def encode(self, prompts):
        return TextEmbeddings.from_list([torch.ones(1 + len(prompt.split()), 384) for prompt in prompts])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for _ in render_missing(RENDER_CONFIG, folder, num_workers=0):
        pass
    return folder


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """An autoencoder, then a transformer over it, from the command line."""
    folder = tmp_path_factory.mktemp("runs")
    vae, dit = str(folder / "vae"), str(folder / "dit")
    common = ["--preset", "tiny", "--films", str(store), "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MiniLm, "run_load", lambda folder=None: LengthTextEncoder())
        steps = ["--set", "training.loop.steps=4", "--set", "training.loop.validate_every=2"]
        main(["train", "vae", "--out", vae, *common, *steps])
        main(["train", "dit", "--out", dit, "--vae", f"{vae}/weights", *common, *steps])
    return folder


def test_separately_trained_vae_and_dit_make_a_model(trained):
    log = [json.loads(line) for line in (trained / "dit" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    assert all(line["samples_per_second"] > 0 and line["operations_per_second"] > 0 for line in log)
    assert (trained / "dit" / "sheets" / log[-1]["sheet"]).is_file()
    assert (trained / "vae" / "sheets" / "vae" / "step-00000004.png").is_file()
    assert (trained / "dit" / "weights" / "kinema.json").is_file()
    data = load_latent_datasets(trained / "dit")
    assert len(data.train) == 1
    assert len(data.train[0]) == 8


def test_resume_recognises_every_kind_of_run(trained, capsys):
    before = (trained / "vae" / "log.jsonl").read_text()
    main(["train", "resume", str(trained / "vae"), "--device", "cpu"])
    assert (trained / "vae" / "log.jsonl").read_text() == before
    assert "weights" in capsys.readouterr().out


def test_init_from_exported_weights(trained, store, tmp_path, monkeypatch):
    monkeypatch.setattr(MiniLm, "run_load", lambda folder=None: LengthTextEncoder())
    weights = str(trained / "dit" / "weights")
    out = tmp_path / "on"
    common = ["--preset", "tiny", "--films", str(store), "--device", "cpu", "--vae", weights]
    main(["train", "dit", "--out", str(out), *common, "--from", weights, "--set", "training.loop.steps=2"])
    settings = json.loads((out / "dit-run.json").read_text())
    assert settings["start"] == weights
    first = json.loads((out / "log.jsonl").read_text().splitlines()[0])
    assert np.isfinite(first["loss"])


def test_decoder_only_training_keeps_the_latents(trained, store, tmp_path):
    weights, out = str(trained / "vae" / "weights"), str(tmp_path / "finer")
    common = ["--preset", "tiny", "--films", str(store), "--device", "cpu", "--from", weights]
    changes = ("training.decoder_only=true", "training.loop.steps=2", "films.held_out_share=0.5")
    main(["train", "vae", "--out", out, *common, *(word for each in changes for word in ("--set", each))])
    old, new = (load_vae(Path(folder), device=torch.device("cpu")) for folder in (weights, f"{out}/weights"))
    before, after = old.state_dict(), new.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    assert old.config == new.config, "normalised as before"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vae", "--set", "training.bach=3"], "did you mean 'batch'"),
        (["vae", "--set", "training.batch"], "sets nothing"),
        (["dit", "--vae", "nowhere"], "nowhere"),
        (["vae", "--films", "nowhere"], "not a folder"),
        (["vae", "--device", "tpu"], "no device"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments, "--preset", "tiny", "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_other_settings_or_another_kind_are_refused(trained, capsys):
    for arguments, words in (
        (["vae", "--set", "training.batch=3"], "other settings"),
        (["dit", "--vae", "world"], "another kind"),
        (["resume"], "holds no run"),
    ):
        kind, *rest = arguments
        where = [str(trained)] if kind == "resume" else ["--out", str(trained / "vae"), "--preset", "tiny"]
        with pytest.raises(SystemExit) as ended:
            main(["train", kind, *where, *rest])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["raw", "mp4"])
def test_simulator_videos_are_read_with_their_captions(kind, tmp_path):
    request = DatasetConfig(
        out=tmp_path / kind, count=3, seed=0, size="32x32", num_frames=5, lab=True, split="all", event="still",
        format=kind, shard_size=2,
    )  # fmt: skip
    render_dataset(request, workers=1, quiet=True)
    found = open_dataset(tmp_path / kind)
    assert found.fps == 12.0
    films, held = found.split(1)
    assert (len(films), len(held)) == (2, 1)
    for index in range(3):
        assert found.videos.frames(index).shape == (5, 32, 32, 3)
        assert found.videos.captions(index)[0]
    assert np.array_equal(held.frames(0), found.videos.frames(2))
    with pytest.raises(UserError, match="can't spare"):
        found.split(3)


def test_shards_are_opened_without_their_config(store):
    found = open_dataset(store)
    assert len(found.videos) == 9
    assert np.array_equal(found.videos.frames(8), open_shards(RENDER_CONFIG, store).frames(8))


def test_scorer_counts_claims_and_skips_prompts_outside_the_lab():
    clip = make_clip(ClipSpec(seed=3, lab=True, event="roll", height=64, width=64, num_frames=17, fps=8.0))
    from kinema.simulator.captions import generate_captions

    right = ValidationSample(prompt=generate_captions(clip.annotations)[0].text, frames=clip.frames)
    grey = ValidationSample(prompt=right.prompt, frames=np.full_like(clip.frames, 128))
    other = ValidationSample(prompt="a dragon sings", frames=clip.frames)
    judge = make_lab_scorer(8.0)
    assert judge([other]) == {}
    assert judge([right])["facts_right"] > judge([grey])["facts_right"]
    assert judge([right, other]) == judge([right])


def test_events_are_written_for_tensorboard(tmp_path):
    tensorboard = pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    assert tensorboard
    events = open_tensorboard(tmp_path)
    report = StepReport(
        step=7, num_steps=9, loss=0.5, grad_norm=1.0, logs={"l1": 0.25}, seconds=1.0, steps_per_second=1.0,
        samples_per_second=2.0, flops_per_second=3e9, scores={"ema/psnr": 30.0},
    )  # fmt: skip
    write_tensorboard(events, Progress(stage="autoencoder", done=7, total=9, report=report))
    events.close()
    data = next(tmp_path.glob("events*")).read_bytes()
    told, place = {}, 0
    while place < len(data):
        # A record: length (8 bytes), its checksum (4), the message, its checksum (4).
        size = int.from_bytes(data[place : place + 8], "little")
        event = Event.FromString(data[place + 12 : place + 12 + size])
        told |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
        place += size + 16
    numbers = {name.split("/", 1)[1]: value for name, (step, value) in told.items() if step == 7}
    assert numbers["loss"] == 0.5
    assert numbers["l1"] == 0.25
    assert [value for name, value in numbers.items() if name.endswith("psnr")] == [30.0]


@pytest.mark.parametrize(
    ("speed", "text"), [(5e5, "0.5 MFLOP/s"), (9.4e10, "94.0 GFLOP/s"), (3e14, "300.0 T")]
)
def test_flops_are_formatted(speed, text):
    assert format_flops(speed).startswith(text)


def test_scaling_has_a_point_for_each_size_and_budget_and_resumes(trained, tmp_path):
    data = load_latent_datasets(trained / "dit")
    config = scaling.ScalingConfig(
        sizes=(scaling.ModelSize(width=32, layers=1), scaling.ModelSize(width=64, layers=1)),
        max_flops=2e8,
        num_points=3,
        batch_size=2,
        num_held_out=1,
        training=DitTrainConfig(causal_p=0.0, loop=LoopConfig()),
    )
    from kinema.models.transformer.dit_config import small

    model = small(channels=4, grid=(2, 2))
    arguments = (config, model, data.train[0], data.held_out[0], tmp_path, torch.device("cpu"))
    points = list(scaling.measure_scaling(*arguments))
    assert {point.size for point in points} == {"32 x 1", "64 x 1"}
    for size in ("32 x 1", "64 x 1"):
        budgets = [p.flops for p in points if p.size == size]
        assert budgets == sorted(budgets)
        assert budgets[-1] == pytest.approx(2e8, rel=0.5)
    assert list(scaling.measure_scaling(*arguments)) == points
    scaling.write_scaling(config, points, tmp_path)
    assert len(json.loads((tmp_path / "scaling.json").read_text())["points"]) == len(points)
    drawn = scaling.plot_scaling(points)
    assert any((drawn == scaling.COLOURS[0]).all(-1).ravel())
    assert any((drawn == scaling.COLOURS[1]).all(-1).ravel())
