"""`kinema train finetune|lora` from the command line on tiny models: files, resume, words, mistakes."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from kinema.cli import main
from kinema.data.clip_table import read_clips, write_clips
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import save_checkpoint
from kinema.models.lora.match import match_lora
from kinema.models.lora.reader import open_lora
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.text_encoders.minilm import MiniLm
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import tiny
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training import checkpoint
from kinema.training.finetune_samples import FinetuneSampleConfig
from kinema.training.interruption import StopSignal
from kinema.training.lora_layers import LoraConfig
from kinema.training.recipes.datasets import SetConfig
from kinema.training.recipes.finetune import (
    default_config,
    load_trained_expert,
    run_finetune,
)
from kinema.training.run_context import RunContext
from tests.fixtures.curated_set import write_curated_set
from tests.fixtures.toy_training import LengthTextEncoder
from tests.fixtures.training_data import perturb_module

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A random model of our own layout."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    defaults = SamplingDefaults(
        num_inference_steps=2,
        guidance_scale=(1.5,),
        flow_shift=1.0,
        solver="euler",
        schedule="linear",
        image_conditioning="frames",
        size=(32, 32),
        num_frames=9,
        fps=8.0,
    )
    dit = perturb_module(Dit(tiny(text_conditioning="joint")))
    save_checkpoint(
        folder, sampling_defaults=defaults, transformer=dit, vae=VideoVae(VaeConfig.tiny(patchified=True))
    )
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_curated_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(autouse=True)
def _text_encoder(monkeypatch):
    monkeypatch.setattr(MiniLm, "load", lambda folder=None: LengthTextEncoder())


def train(command, model_folder, out, data, *options):
    arguments = ["--model", str(model_folder), "--data", str(data), "--out", str(out), "--device", "cpu"]
    arguments += ["--batch-size", "2", "--set", "samples.num_inference_steps=2", "--held-out-share", "0.3"]
    main(["train", command, *arguments, *options])


def read_log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_lora_run_writes_a_lora_that_fits_the_model(model_folder, data, tmp_path, capsys):
    run = tmp_path / "run"
    train(
        "lora",
        model_folder,
        run,
        data,
        "--rank",
        "2",
        "--steps",
        "4",
        "--set",
        "training.loop.validate_every=2",
    )
    lora = run / "lora.safetensors"
    assert str(lora) in capsys.readouterr().out
    model = open_model(str(model_folder))
    matched = match_lora(open_lora(lora), model.dit, model_name="tiny")
    assert not matched.note
    with safe_open(lora, framework="pt") as file:
        metadata = json.loads(file.metadata()["kinema"])
        names = list(file.keys())
        assert all(file.get_tensor(name).isfinite().all() for name in names)
    assert metadata["steps"] == 4
    assert metadata["vocabulary"] == ["zebra"]
    assert str(tmp_path) not in json.dumps(metadata)
    log = read_log(run)
    assert [line["step"] for line in log] == [0, 1, 2, 3, 4], "validated before the first step"
    scores = log[-1]["scores"]
    assert sum(name.startswith("ema/loss_") for name in scores) == 8, "eight noise levels"
    assert {"ema/loss", "raw/loss"} <= scores.keys()
    assert (run / "samples" / "transformer" / "step-00000004" / "0.mp4").is_file()
    assert (run / "samples" / "transformer" / "step-00000004.png").is_file()
    saved = checkpoint.load(run / "transformer").parts
    assert all(".lora_" in name for part in ("model", "ema") for name in saved[part])


def run_of(model_folder, data, run, stop_after=None):
    """A LoRA run of four steps without the command line; returns losses and the final LoRA.

    With `stop_after`, a stop is requested after that step, as Ctrl-C does.
    """
    model = open_model(str(model_folder))
    config = default_config(model, [SetConfig(folder=str(data))], lora=LoraConfig(rank=2))
    loop = dataclasses.replace(config.training.loop, steps=4, validate_every=2, save_every=100)
    config = dataclasses.replace(
        config,
        held_out_share=0.3,
        training=dataclasses.replace(config.training, batch_size=2, loop=loop),
        samples=FinetuneSampleConfig(num_samples=1, num_inference_steps=1),
    )
    stop = StopSignal()
    context = RunContext(
        run_dir=run,
        device=CPU,
        load_text_encoder=LengthTextEncoder,
        should_stop=stop,
        interruptible=stop.interruptible,
    )
    losses = []
    for progress in run_finetune(config, context):
        if progress.report and progress.report.step:
            losses.append(progress.report.loss)
            if progress.report.step == stop_after:
                stop.request()
    return losses, load_trained_expert(model, 0, run)


def test_a_stopped_run_resumes_exactly(model_folder, data, tmp_path):
    whole, expected = run_of(model_folder, data, tmp_path / "whole")
    assert len(whole) == 4
    first, _ = run_of(model_folder, data, tmp_path / "stopped", stop_after=2)
    second, resumed = run_of(model_folder, data, tmp_path / "stopped")
    assert len(first) == 2
    assert first + second == whole
    assert all(value.equal(resumed[name]) for name, value in expected.items())


def test_all_weights_are_trained_and_the_model_knows_its_words(model_folder, data, tmp_path):
    run = tmp_path / "run"
    train("finetune", model_folder, run, data, "--steps", "2", "--optimizer", "adamw8bit")
    before, after = (
        open_model(str(folder)).load_transformer(dtype=torch.float32, device=CPU).state_dict()
        for folder in (model_folder, run / "weights")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("blocks.0") for name in changed)
    model = open_model(str(run / "weights"))
    assert model.vocabulary == ("zebra",)
    assert model.sampling_defaults == open_model(str(model_folder)).sampling_defaults


def test_sets_are_mixed_by_weight(model_folder, data, tmp_path):
    other = write_curated_set(tmp_path / "other", count=4, frames=5)
    run = tmp_path / "run"
    train("lora", model_folder, run, f"{data}:2", "--data", f"{other}:1", "--rank", "2", "--steps", "1")
    config = json.loads((run / "finetune-run.json").read_text())
    assert [one["weight"] for one in config["sets"]] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "there is no set 'nowhere'"),
        (["--data", "nowhere:x"], "is not SET or SET:WEIGHT"),
        (["--rank", "0"], "rank of 1 or more"),
        (["--target", "attn9.to_q"], "has no layer 'attn9.to_q'"),
        (["--swapped-blocks", "9"], "9 can't be swapped"),
        (["--experts", "low"], "has one transformer"),
        (["--steps", "0"], "1 step or more"),
        (["--model", "nowhere"], "nowhere"),
        (["--set", "training.batch_siz=3"], "did you mean 'batch_size'"),
    ],
)
def test_mistakes_are_one_line(model_folder, data, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        train("lora", model_folder, tmp_path / "run", data, "--steps", "1", *options)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_that_does_not_fit_leaves_nothing(model_folder, data, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setattr("kinema.training.memory_estimate.free_memory", lambda device: 2**20)
    with pytest.raises(SystemExit):
        train("lora", model_folder, run, data, "--rank", "4", "--steps", "1")
    assert "GiB are free" in capsys.readouterr().err
    assert not run.exists(), "another try may have other settings"


def test_sets_without_clips_and_folders_that_are_no_set_are_one_line(model_folder, data, tmp_path, capsys):
    rows = [dataclasses.replace(row, kept=False) for row in read_clips(data)]
    (tmp_path / "dropped").mkdir()
    write_clips(tmp_path / "dropped", rows)
    (tmp_path / "videos").mkdir()
    for folder, message in (("dropped", "has no kept clips"), ("videos", "is not a curated set")):
        with pytest.raises(SystemExit):
            train("lora", model_folder, tmp_path / "run", tmp_path / folder, "--steps", "1")
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_a_full_disk_while_encoding_is_one_line_and_keeps_what_is_finished(
    model_folder, tmp_path, monkeypatch, capsys
):
    folder = write_curated_set(tmp_path / "set", count=6)
    monkeypatch.setattr("kinema.data.encoded_set.CLIPS_PER_SHARD", 2)
    write = Path.write_bytes

    def shards():
        return list((folder / "cache").rglob("[!.]*.safetensors"))

    def full(path, content):
        if "cache" in path.parts and len(shards()) == 1:
            write(path, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SystemExit):
        train("lora", model_folder, tmp_path / "run", folder, "--steps", "1")
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kinema:")]
    assert len(error) == 1
    assert "No space left on device" in error[0]
    assert len(shards()) == 1
    assert not list((folder / "cache").rglob(".*"))
    monkeypatch.setattr(Path, "write_bytes", write)
    train("lora", model_folder, tmp_path / "run", folder, "--steps", "1")
    assert (tmp_path / "run" / "lora.safetensors").is_file()


def test_frozen_weights_options_need_a_lora(model_folder, data, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train("finetune", model_folder, tmp_path / "run", data, "--set", "swapped_blocks=1")
    assert "train a LoRA" in capsys.readouterr().err
