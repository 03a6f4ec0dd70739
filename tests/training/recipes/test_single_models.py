"""`kinema train vae|dit|resume` at the smallest size, and a one-line error for every mistake."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.cli.train_run import _sample_scorer
from kinema.data.latent_cache import load_latent_datasets
from kinema.data.video_shards import write_shard
from kinema.errors import UserError
from kinema.evaluation import whole
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import load_vae
from kinema.models.sampling_recipes import fast_defaults
from kinema.models.text_encoders.minilm import MiniLm
from kinema.simulator.scene_attributes import SCENE_ATTRIBUTES
from kinema.training.recipes import dit, full_config
from kinema.training.render_shards import RenderConfig, render_missing
from kinema.training.vae_task import VaeTask
from kinema.training.validation_samples import ValidationSample
from tests.fixtures.curated_set import write_curated_set
from tests.fixtures.scenes import scene_annotations
from tests.fixtures.toy_training import LengthTextEncoder

RENDER_CONFIG = RenderConfig(
    num_clips=9, height=32, width=32, num_frames=9, shard_size=4, events=(("still", 1.0),)
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for _ in render_missing(RENDER_CONFIG, folder, num_workers=0):
        pass
    return folder


@pytest.fixture(scope="module")
def runs(videos, tmp_path_factory):
    """An autoencoder, then a transformer over it, from the command line."""
    folder = tmp_path_factory.mktemp("runs")
    vae, dit = str(folder / "vae"), str(folder / "dit")
    common = ["--preset", "tiny", "--videos", str(videos), "--device", "cpu"]
    common += ["--set", "training.loop.steps=4", "--set", "training.loop.validate_every=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MiniLm, "load", lambda folder=None: LengthTextEncoder())
        main(["train", "vae", "--out", vae, *common])
        main(["train", "dit", "--out", dit, "--vae", f"{vae}/weights", *common])
    return folder


def test_separately_trained_vae_and_dit_make_a_model(runs):
    log = [json.loads(line) for line in (runs / "dit" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    assert all(line["samples_per_second"] > 0 and line["flops_per_second"] > 0 for line in log)
    assert (runs / "dit" / "sheets" / log[-1]["sheet"]).is_file()
    assert (runs / "vae" / "sheets" / "vae" / "step-00000004.png").is_file()
    assert (runs / "dit" / "weights" / "kinema.json").is_file()
    data = load_latent_datasets(runs / "dit")
    assert len(data.train) == 1
    assert len(data.train[0]) == 8


def test_an_autoencoder_trains_on_all_rendered_datasets(tmp_path, monkeypatch):
    counts = []

    class CountingTask(VaeTask):
        def __init__(self, config, dataset, held_out, *arguments, **settings):
            counts.append((len(dataset), len(held_out)))
            super().__init__(config, dataset, held_out, *arguments, **settings)

    monkeypatch.setattr("kinema.training.recipes.vae.VaeTask", CountingTask)
    render = {"num_clips": 3, "height": 32, "width": 32, "num_frames": 9, "events": [["still", 1.0]]}
    main(
        [
            "train", "vae", "--preset", "tiny", "--out", str(tmp_path), "--device", "cpu",
            "--set", "training.loop.steps=1", "--set", "data.num_held_out=2",
            "--set", "data.render=" + json.dumps(render),
            "--set", "data.extra_datasets=" + json.dumps([{**render, "num_clips": 4, "seed": 5}]),
        ]
    )  # fmt: skip
    assert counts == [(7, 4)]


def test_resume_recognises_every_kind_of_run(runs, capsys):
    before = (runs / "vae" / "log.jsonl").read_text()
    main(["train", "resume", str(runs / "vae"), "--device", "cpu"])
    assert (runs / "vae" / "log.jsonl").read_text() == before
    assert "weights" in capsys.readouterr().out


def test_init_from_exported_weights(runs, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(MiniLm, "load", lambda folder=None: LengthTextEncoder())
    weights, out = str(runs / "dit" / "weights"), tmp_path / "second"
    common = ["--preset", "tiny", "--videos", str(videos), "--device", "cpu", "--vae", weights]
    main(["train", "dit", "--out", str(out), *common, "--from", weights, "--set", "training.loop.steps=2"])
    settings = json.loads((out / "dit-run.json").read_text())
    assert settings["init_from"] == weights
    first = json.loads((out / "log.jsonl").read_text().splitlines()[0])
    assert np.isfinite(first["loss"])


def test_a_transformer_starts_from_the_blocks_of_one_over_another_autoencoder(
    runs, videos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(MiniLm, "load", lambda folder=None: LengthTextEncoder())
    weights, out = str(runs / "dit" / "weights"), tmp_path / "blocks"
    command = ["train", "dit", "--preset", "tiny", "--videos", str(videos), "--device", "cpu"]
    command += ["--vae", weights, "--set", f"init_blocks_from={weights}", "--set", "training.loop.steps=1"]
    # With this warmup the only step changes next to nothing.
    frozen = ["--set", "training.loop.optimizer.warmup_steps=100000", "--set", "training.seed=9"]
    main([*command, *frozen, "--out", str(out)])
    source, started = (
        open_model(str(folder)).load_transformer(dtype=torch.float32, device=torch.device("cpu")).state_dict()
        for folder in (weights, out / "weights")
    )
    for name in ("blocks.0.attn1.to_q.weight", "condition_embedder.text_embedder.linear_1.weight"):
        torch.testing.assert_close(started[name], source[name], atol=1e-3, rtol=1e-2)
    new = "patch_embedding.weight"
    assert (started[new] - source[new]).abs().mean() > 0.1 * source[new].abs().mean()

    with pytest.raises(SystemExit):
        main([*command, "--from", weights, "--out", str(tmp_path / "both")])
    assert "init_from and init_blocks_from are both set" in capsys.readouterr().err


def test_two_sources_of_weights_are_refused():
    with pytest.raises(UserError, match="init_from and init_blocks_from are both set"):
        dataclasses.replace(full_config.tiny(budget=1.0), init_from="world", init_blocks_from="world")
    with pytest.raises(UserError, match="omit init_blocks_from"):
        dataclasses.replace(
            dit.distilled(dit.tiny(vae="world"), "world-teacher", num_steps=4), init_blocks_from="world"
        )


def test_distillation_makes_a_model_of_few_steps(runs, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(MiniLm, "load", lambda folder=None: LengthTextEncoder())
    teacher, out = str(runs / "dit" / "weights"), tmp_path / "few"
    command = ["train", "distill", "--model", teacher, "--steps", "2", "--guidance-scale", "3"]
    command += ["--preset", "tiny", "--videos", str(videos), "--device", "cpu", "--out", str(out)]
    main([*command, "--set", "training.loop.steps=4", "--set", "training.loop.validate_every=2"])
    settings = json.loads((out / "dit-run.json").read_text())
    assert settings["distill"]["guidance_scale"] == 3.0
    old, new = open_model(teacher), open_model(str(out / "weights"))
    assert new.dit == old.dit
    before, after = old.sampling_defaults, new.sampling_defaults
    assert (after.num_inference_steps, after.distilled_steps) == (2, 2)
    assert (after.guidance_scale, after.eta, after.flow_shift) == ((1.0,), 0.0, 1.0)
    assert (after.size, after.num_frames, after.fps) == (before.size, before.num_frames, before.fps)
    assert after.streaming_mode == before.streaming_mode
    for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()):
        assert np.isfinite(line["loss"])
    assert fast_defaults(after, name="few") == after
    again, few = tmp_path / "again", str(out / "weights")
    steps = [
        "--from",
        few,
        "--set",
        "training.loop.steps=1",
        "--set",
        "training.loop.optimizer.warmup_steps=100000",
    ]
    main([*command[:-1], str(again), *steps])
    unchanged, student = (
        open_model(folder).load_transformer(dtype=torch.float32, device=torch.device("cpu")).state_dict()
        for folder in (few, str(again / "weights"))
    )
    assert all((unchanged[name] - value).abs().max() < 1e-6 for name, value in student.items())


def test_decoder_only_training_keeps_the_latents(runs, videos, tmp_path):
    weights, out = str(runs / "vae" / "weights"), str(tmp_path / "finetuned")
    common = ["--preset", "tiny", "--videos", str(videos), "--device", "cpu", "--from", weights]
    for assignment in ("training.decoder_only=true", "training.loop.steps=2", "data.held_out_share=0.5"):
        common += ["--set", assignment]
    main(["train", "vae", "--out", out, *common])
    old, new = (load_vae(Path(folder), device=torch.device("cpu")) for folder in (weights, f"{out}/weights"))
    before, after = old.state_dict(), new.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    assert old.config == new.config, "the latent statistics stay"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vae", "--set", "training.batch_siz=3"], "did you mean 'batch_size'"),
        (["vae", "--set", "training.batch_size"], "has no value"),
        (["dit", "--vae", "nowhere"], "nowhere"),
        (["vae", "--videos", "nowhere"], "not a folder"),
        (["distill", "--model", "nowhere"], "nowhere"),
        (["distill", "--model", "world-teacher", "--steps", "0"], "give 1 or more"),
        (["distill", "--model", "world"], "train world-teacher"),
        (["distill", "--model", "world-teacher", "--from", "nowhere"], "nowhere"),
        (["dit", "--vae", "world", "--from", "world"], "train world-teacher"),
        (["vae", "--device", "tpu"], "no device"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments, "--preset", "tiny", "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["full", "--from", "world"], ["lora", "--model", "world", "--data", "x"]]
)
def test_a_distilled_model_is_not_trained(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments, "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert "world was distilled to 4 steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vae", "--set", "training.batch_size=3"], "other settings"),
        (["dit", "--vae", "world"], "another kind"),
        (["resume"], "has no run"),
    ],
)
def test_other_settings_or_another_kind_are_refused(runs, capsys, arguments, message):
    kind, *options = arguments
    where = [str(runs)] if kind == "resume" else ["--out", str(runs / "vae"), "--preset", "tiny"]
    with pytest.raises(SystemExit) as ended:
        main(["train", kind, *where, *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_from_scratch_on_curated_sets(tmp_path, monkeypatch):
    """Two sets of real files, of other sizes and lengths, mixed by weight."""
    monkeypatch.setattr(MiniLm, "load", lambda folder=None: LengthTextEncoder())
    sets = [
        write_curated_set(tmp_path / "a", count=6),
        write_curated_set(tmp_path / "b", count=4, side=48, frames=5),
    ]
    common = ["--preset", "tiny", "--device", "cpu", "--data", f"{sets[0]}:2", "--data", f"{sets[1]}:1"]
    common += ["--set", "training.loop.steps=3", "--set", "data.held_out_share=0.3"]
    main(["train", "vae", "--out", str(tmp_path / "vae"), *common])
    vae = str(tmp_path / "vae" / "weights")
    main(["train", "dit", "--out", str(tmp_path / "dit"), "--vae", vae, *common])
    data = load_latent_datasets(tmp_path / "dit")
    assert [len(dataset) for dataset in data.train] == [4, 3]
    assert [dataset.weight for dataset in data.train] == [2.0, 1.0]
    assert any("zebra" in text for text in data.texts)
    model = open_model(str(tmp_path / "dit" / "weights"))
    assert (model.sampling_defaults.size, model.sampling_defaults.num_frames) == ((32, 32), 9)
    assert model.base_vocabulary() >= {"square", "zebra"}
    assert "ball" not in model.base_vocabulary(), "it has never seen the simulator's captions"


def test_samples_are_scored_by_the_evaluator_of_their_simulator(tmp_path, monkeypatch):
    """Those of runs on the whole simulator by the scene classifier, from the held-out clips' annotations."""
    seen = {one.name: frozenset() for one in SCENE_ATTRIBUTES} | {"event": frozenset({"still"})}
    classifier = SimpleNamespace(predict=lambda videos: [seen for _ in videos])
    accuracy = dict.fromkeys(seen, 0.5) | {"event": 1.0}
    monkeypatch.setattr(whole, "scene_classifier", lambda: (classifier, accuracy))
    frames = np.zeros((5, 32, 32, 3), np.uint8)
    (tmp_path / "held-out").mkdir()
    write_shard(tmp_path / "held-out", 0, [frames], [["a red ball stands"]], [scene_annotations()])
    samples = [ValidationSample(prompt="a red ball stands", frames=frames)]
    scorer = _sample_scorer(dit.full_simulator(vae="world"), tmp_path)
    assert scorer(samples) == {"whole_event": 1.0, "whole_accuracy": 1.0}
    lab_scorer = _sample_scorer(dit.lab(vae="world"), tmp_path)
    assert "whole_accuracy" not in lab_scorer(samples)
