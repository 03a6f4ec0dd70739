"""The release recipe, rehearsed at the smallest size: from nothing to a folder of weights."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from kinema.cli.train import init_from_pretrained, parse_duration
from kinema.errors import UserError
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.training import checkpoint
from kinema.training.export import export
from kinema.training.loop import load_ema_weights
from kinema.training.recipes import full
from kinema.training.render_shards import RenderConfig, open_shards, render_missing, shard_path
from kinema.training.stages import RunContext, load_latent_datasets

CPU = torch.device("cpu")
RENDER_CONFIG = RenderConfig(
    num_clips=6, height=32, width=32, num_frames=9, shard_size=4, events=(("still", 0.7), ("roll", 0.3))
)


class LengthTextEncoder:
    """A text encoder that only counts."""

    width = 384

    def encode(self, prompts):
        return TextEmbeddings.from_list([torch.ones(1 + len(prompt.split()), 384) for prompt in prompts])


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    assert list(render_missing(RENDER_CONFIG, folder, num_workers=0)) == [0, 4, 6]
    return folder


def test_only_missing_shards_are_rendered(filmed):
    first = open_shards(RENDER_CONFIG, filmed)
    assert len(first) == 6
    assert first.frames(5).shape == (9, 32, 32, 3)
    assert all(captions[0] for captions in first.texts)
    before = shard_path(filmed, 1).read_bytes()
    shard_path(filmed, 1).unlink()
    assert list(render_missing(RENDER_CONFIG, filmed, num_workers=0)) == [4, 6]
    assert shard_path(filmed, 1).read_bytes() == before


def test_clips_do_not_depend_on_the_dataset_size():
    longer = dataclasses.replace(RENDER_CONFIG, num_clips=1000)
    assert [RENDER_CONFIG.clip_spec(i) for i in range(6)] == [longer.clip_spec(i) for i in range(6)]
    events = [longer.clip_spec(i).event for i in range(1000)]
    for event, share in RENDER_CONFIG.events:
        assert events.count(event) / 1000 == pytest.approx(share, abs=0.05)


def test_recipe_from_scratch_with_a_stop(tmp_path):
    config = full.tiny(budget=1.0)
    asked = iter([False] * 12 + [True] * 1000)
    bench = RunContext(run_dir=tmp_path, device=CPU, load_text_encoder=LengthTextEncoder)
    hasty = dataclasses.replace(bench, should_stop=lambda: next(asked))
    stages = [p.stage for p in full.run_recipe(config, hasty)]
    assert "transformer" not in stages
    stages = [p.stage for p in full.run_recipe(config, bench)]
    assert "transformer" in stages
    again = [p.stage for p in full.run_recipe(config, bench)]
    assert "transformer" not in again, "a finished recipe trains nothing more"
    folder = export(full.load_trained(config, bench), tmp_path / "weights")
    opened = KinemaCheckpoint.open(folder, name="tiny")
    dit = opened.load_transformer(dtype=torch.float32, device=CPU)
    vae = opened.load_vae(device=CPU)
    assert dit.config == config.dit.model
    before, after = (load_ema_weights(tmp_path / part) for part in ("vae", "decoder"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}, "the latents that the transformer learned from stay what they are"
    settings = checkpoint.load(tmp_path / "decoder").state["settings"]
    constants = json.loads((tmp_path / "normalisation.json").read_text())
    assert list(settings["model"]["latents_mean"]) == constants["mean"], "worn latents are normalised"
    encoded = load_latent_datasets(tmp_path).train[0].latents
    assert load_file(tmp_path / "worn.safetensors")["worn"].shape == encoded[:4].shape
    films = open_shards(config.render, tmp_path / "films")
    frames = torch.from_numpy(films.frames(0).copy()).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    latents = vae.encode(frames)
    assert latents.shape[1] == 4
    assert vae.decode(latents).shape == frames.shape
    assert json.loads((folder / "training.json").read_text())["filming"]["count"] == 8


def test_init_from_a_model_with_expansion_and_decoder_finetuning(tmp_path):
    config = full.tiny(budget=1.0)
    bench = RunContext(run_dir=tmp_path / "first", device=CPU, load_text_encoder=LengthTextEncoder)
    assert list(full.run_recipe(config, bench))
    folder = export(full.load_trained(config, bench), tmp_path / "weights")

    width = 2 * config.dit.model.width
    wider = dataclasses.replace(
        config.dit.model, width=width, heads=2 * config.dit.model.heads, mlp_width=4 * width
    )
    config = init_from_pretrained(config, str(folder))
    config = dataclasses.replace(config, dit=dataclasses.replace(config.dit, model=wider))
    bench = dataclasses.replace(bench, run_dir=tmp_path / "second")
    stages = [p.stage for p in full.run_recipe(config, bench)]
    assert "decoder" in stages
    after = export(full.load_trained(config, bench), tmp_path / "finer")
    old, new = (KinemaCheckpoint.open(each, name="tiny") for each in (folder, after))
    assert new.load_transformer(dtype=torch.float32, device=CPU).config == wider
    before, now = (each.load_vae(device=CPU).state_dict() for each in (old, new))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], now[name])}
    assert changed == {"decoder"}, "latents stay what the transformer knows"
    assert old.vae == new.vae


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("25m", 1500), ("2h", 7200), ("1.5h", 5400), ("7", 7)]
)
def test_lengths_of_time(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "soon", "-3m", "0", "nan", "infs"])
def test_lengths_that_are_none(text):
    with pytest.raises(UserError, match="no length of time"):
        parse_duration(text)
