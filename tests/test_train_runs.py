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
from kinema.train import scaling
from kinema.train.dit import DitTraining
from kinema.train.filming import Filming, film, stored
from kinema.train.loop import LoopConfig, Report
from kinema.train.samples import Sampled
from kinema.train.sources import opened
from kinema.train.stages import Progress, latent_data

FILMING = Filming(count=9, height=32, width=32, frames=9, shard=4, events=(("still", 1.0),))


class Lengths:
    """A text encoder that only counts."""

    width = 384

    def to(self, device):
        return self

    def encode(self, prompts):
        return TextEmbeddings.from_list([torch.ones(1 + len(prompt.split()), 384) for prompt in prompts])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for _ in film(FILMING, folder, workers=0):
        pass
    return folder


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """An autoencoder, then a transformer over it, from the command line."""
    folder = tmp_path_factory.mktemp("runs")
    vae, dit = str(folder / "vae"), str(folder / "dit")
    common = ["--preset", "tiny", "--films", str(store), "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MiniLm, "run_load", lambda folder=None: Lengths())
        steps = ["--set", "training.loop.steps=4", "--set", "training.loop.validate_every=2"]
        main(["train", "vae", "--out", vae, *common, *steps])
        main(["train", "dit", "--out", dit, "--vae", f"{vae}/weights", *common, *steps])
    return folder


def test_parts_are_trained_alone_and_make_a_model(trained):
    log = [json.loads(line) for line in (trained / "dit" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    assert all(line["samples_per_second"] > 0 and line["operations_per_second"] > 0 for line in log)
    assert (trained / "dit" / "sheets" / log[-1]["sheet"]).is_file()
    assert (trained / "vae" / "sheets" / "vae" / "step-00000004.png").is_file()
    assert (trained / "dit" / "weights" / "kinema.json").is_file()
    data = latent_data(trained / "dit")
    assert len(data.films) == 1
    assert len(data.films[0]) == 8


def test_any_kind_of_run_is_recognised_and_a_finished_one_trains_no_more(trained, capsys):
    before = (trained / "vae" / "log.jsonl").read_text()
    main(["train", "resume", str(trained / "vae"), "--device", "cpu"])
    assert (trained / "vae" / "log.jsonl").read_text() == before
    assert "weights" in capsys.readouterr().out


def test_a_training_goes_on_from_exported_weights(trained, store, tmp_path, monkeypatch):
    monkeypatch.setattr(MiniLm, "run_load", lambda folder=None: Lengths())
    weights = str(trained / "dit" / "weights")
    out = tmp_path / "on"
    common = ["--preset", "tiny", "--films", str(store), "--device", "cpu", "--vae", weights]
    main(["train", "dit", "--out", str(out), *common, "--from", weights, "--set", "training.loop.steps=2"])
    settings = json.loads((out / "dit-run.json").read_text())
    assert settings["start"] == weights
    first = json.loads((out / "log.jsonl").read_text().splitlines()[0])
    assert np.isfinite(first["loss"])


def test_a_decoder_alone_leaves_the_latents_as_they_are(trained, store, tmp_path):
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
    ("arguments", "words"),
    [
        (["vae", "--set", "training.bach=3"], "did you mean 'batch'"),
        (["vae", "--set", "training.batch"], "sets nothing"),
        (["dit", "--vae", "nowhere"], "nowhere"),
        (["vae", "--films", "nowhere"], "not a folder"),
        (["vae", "--device", "tpu"], "no device"),
    ],
)
def test_mistakes_are_one_line(arguments, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments, "--preset", "tiny", "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
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
def test_films_of_the_film_set_are_read_with_their_captions(kind, tmp_path):
    request = DatasetConfig(
        out=tmp_path / kind, count=3, seed=0, size="32x32", num_frames=5, lab=True, split="all", event="still",
        format=kind, shard_size=2,
    )  # fmt: skip
    render_dataset(request, workers=1, quiet=True)
    found = opened(tmp_path / kind)
    assert found.fps == 12.0
    films, held = found.split(1)
    assert (len(films), len(held)) == (2, 1)
    for index in range(3):
        assert found.films.frames(index).shape == (5, 32, 32, 3)
        assert found.films.captions(index)[0]
    assert np.array_equal(held.frames(0), found.films.frames(2))
    with pytest.raises(UserError, match="can't spare"):
        found.split(3)


def test_a_store_is_opened_without_its_settings(store):
    found = opened(store)
    assert len(found.films) == 9
    assert np.array_equal(found.films.frames(8), stored(FILMING, store).frames(8))


def test_the_judge_counts_claims_and_leaves_out_what_is_none_of_the_lab():
    clip = make_clip(ClipSpec(seed=3, lab=True, event="roll", height=64, width=64, num_frames=17, fps=8.0))
    from kinema.simulator.captions import generate_captions

    right = Sampled(prompt=generate_captions(clip.annotations)[0].text, frames=clip.frames)
    grey = Sampled(prompt=right.prompt, frames=np.full_like(clip.frames, 128))
    other = Sampled(prompt="a dragon sings", frames=clip.frames)
    judge = make_lab_scorer(8.0)
    assert judge([other]) == {}
    assert judge([right])["facts_right"] > judge([grey])["facts_right"]
    assert judge([right, other]) == judge([right])


def test_events_are_written_for_tensorboard(tmp_path):
    tensorboard = pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    assert tensorboard
    events = open_tensorboard(tmp_path)
    report = Report(
        step=7, of=9, loss=0.5, norm=1.0, logs={"l1": 0.25}, seconds=1.0, steps_per_second=1.0,
        samples_per_second=2.0, operations_per_second=3e9, scores={"ema/psnr": 30.0},
    )  # fmt: skip
    write_tensorboard(events, Progress(stage="autoencoder", done=7, of=9, report=report))
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
def test_speeds_are_said_as_people_say_them(speed, text):
    assert format_flops(speed).startswith(text)


def test_scaling_has_a_point_for_each_size_and_budget_and_goes_on(trained, tmp_path):
    data = latent_data(trained / "dit")
    config = scaling.ScalingConfig(
        sizes=(scaling.Size(width=32, layers=1), scaling.Size(width=64, layers=1)),
        operations=2e8,
        points=3,
        batch=2,
        held_out=1,
        training=DitTraining(causal=0.0, loop=LoopConfig()),
    )
    from kinema.models.transformer.dit_config import small

    model = small(channels=4, grid=(2, 2))
    arguments = (config, model, data.films[0], data.held_out[0], tmp_path, torch.device("cpu"))
    points = list(scaling.scaling(*arguments))
    assert {point.size for point in points} == {"32 x 1", "64 x 1"}
    for size in ("32 x 1", "64 x 1"):
        budgets = [p.operations for p in points if p.size == size]
        assert budgets == sorted(budgets)
        assert budgets[-1] == pytest.approx(2e8, rel=0.5)
    assert list(scaling.scaling(*arguments)) == points
    scaling.write_scaling(config, points, tmp_path)
    assert len(json.loads((tmp_path / "scaling.json").read_text())["points"]) == len(points)
    drawn = scaling.plotted(points)
    assert any((drawn == scaling.COLOURS[0]).all(-1).ravel())
    assert any((drawn == scaling.COLOURS[1]).all(-1).ravel())
