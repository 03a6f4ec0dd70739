"""The full recipe at its smallest size: from nothing to an exported model, and from an exported model."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import kinema
from kinema.cli.train_run import init_from_pretrained
from kinema.data.latent_cache import load_latent_datasets
from kinema.data.video_shards import open_shards
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.formats.serialization import from_json
from kinema.training import checkpoint
from kinema.training.export import export
from kinema.training.loop import load_ema_weights
from kinema.training.recipes import full, full_config
from kinema.training.recipes.dit import DitRunConfig
from kinema.training.run_context import RunContext
from kinema.training.stages import LATENT_STATS_FILE, load_resampled_latents
from tests.fixtures.toy_training import LengthTextEncoder

CPU = torch.device("cpu")


def make_context(run_dir):
    return RunContext(run_dir=run_dir, device=CPU, load_text_encoder=LengthTextEncoder)


def changed_parts(before, after):
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_recipe_from_scratch_with_a_stop(tmp_path):
    config = full_config.tiny(budget=1.0)
    context = make_context(tmp_path)
    stops = iter([False] * 12 + [True] * 1000)
    stopping = dataclasses.replace(context, should_stop=lambda: next(stops))
    stages = [progress.stage for progress in full.run_recipe(config, stopping)]
    assert "transformer" not in stages
    stages = [progress.stage for progress in full.run_recipe(config, context)]
    assert "transformer" in stages
    again = [progress.stage for progress in full.run_recipe(config, context)]
    assert "transformer" not in again, "a finished recipe trains no more"
    folder = export(full.load_trained(config, context), tmp_path / "weights")
    exported = KinemaCheckpoint.open(folder, name="tiny")
    dit = exported.load_transformer(dtype=torch.float32, device=CPU)
    vae = exported.load_vae(device=CPU)
    assert dit.config == config.dit.model
    before, after = (load_ema_weights(tmp_path / part) for part in ("vae", "decoder"))
    assert changed_parts(before, after) == {"decoder"}, "the latents stay those that the transformer learned"
    settings = checkpoint.load(tmp_path / "decoder").state["settings"]
    statistics = json.loads((tmp_path / LATENT_STATS_FILE).read_text())
    assert list(settings["model"]["latents_mean"]) == statistics["mean"], "resampled latents are normalised"
    encoded = load_latent_datasets(tmp_path).train[0].latents
    assert load_resampled_latents(context).shape == encoded[:4].shape
    videos = open_shards(tmp_path / "videos", max_clips=config.render.num_clips)
    frames = torch.from_numpy(videos.frames(0).copy()).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    latents = vae.encode(frames)
    assert latents.shape[1] == 4
    assert vae.decode(latents).shape == frames.shape
    assert json.loads((folder / "training.json").read_text())["render"]["num_clips"] == 8


@pytest.mark.slow
def test_init_from_a_model_with_expansion_and_decoder_finetuning(tmp_path):
    config = full_config.tiny(budget=1.0)
    context = make_context(tmp_path / "first")
    assert list(full.run_recipe(config, context))
    folder = export(full.load_trained(config, context), tmp_path / "weights")

    model = config.dit.model
    width = 2 * model.width
    wider = dataclasses.replace(model, width=width, heads=2 * model.heads, mlp_width=4 * width)
    config = init_from_pretrained(config, str(folder))
    config = dataclasses.replace(config, dit=dataclasses.replace(config.dit, model=wider))
    context = make_context(tmp_path / "second")
    stages = [progress.stage for progress in full.run_recipe(config, context)]
    assert "decoder" in stages
    finetuned = export(full.load_trained(config, context), tmp_path / "finetuned")
    old, new = (KinemaCheckpoint.open(each, name="tiny") for each in (folder, finetuned))
    assert new.load_transformer(dtype=torch.float32, device=CPU).config == wider
    before, after = (each.load_vae(device=CPU).state_dict() for each in (old, new))
    assert changed_parts(before, after) == {"decoder"}, "the latents stay those that the transformer knows"
    assert old.vae == new.vae


def test_settings_of_the_shipped_models_are_read():
    path = Path(kinema.__file__).parent / "weights" / "world-teacher" / "training.json"
    config = from_json(full_config.RecipeConfig, path.read_text(), source=str(path))
    model = KinemaCheckpoint.open(path.parent, name="world-teacher")
    assert config.dit.model == model.dit
    distilled = path.parents[1] / "world" / "training.json"
    settings = from_json(DitRunConfig, distilled.read_text(), source=str(distilled))
    assert settings.training.model == KinemaCheckpoint.open(distilled.parent, name="world").dit
    assert settings.init_from == "world-teacher"
    assert (config.render.width, config.render.height) == model.sampling_defaults.size
