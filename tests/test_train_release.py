"""The release recipe, rehearsed at the smallest size: from nothing to a folder of weights."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from kinema import checkpoint
from kinema.cli.train import init_from_pretrained, parse_duration
from kinema.errors import UserError
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.train import release
from kinema.train.export import export
from kinema.train.filming import Filming, film, shard_path, stored
from kinema.train.loop import averaged_weights
from kinema.train.stages import Bench, latent_data

CPU = torch.device("cpu")
FILMING = Filming(count=6, height=32, width=32, frames=9, shard=4, events=(("still", 0.7), ("roll", 0.3)))


class Lengths:
    """A text encoder that only counts."""

    width = 384

    def encode(self, prompts):
        return TextEmbeddings.from_list([torch.ones(1 + len(prompt.split()), 384) for prompt in prompts])


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    assert list(film(FILMING, folder, workers=0)) == [0, 4, 6]
    return folder


def test_a_store_is_filmed_once_and_only_where_it_lacks(filmed):
    first = stored(FILMING, filmed)
    assert len(first) == 6
    assert first.frames(5).shape == (9, 32, 32, 3)
    assert all(captions[0] for captions in first.texts)
    before = shard_path(filmed, 1).read_bytes()
    shard_path(filmed, 1).unlink()
    assert list(film(FILMING, filmed, workers=0)) == [4, 6]
    assert shard_path(filmed, 1).read_bytes() == before


def test_clips_of_a_store_do_not_depend_on_its_size():
    longer = dataclasses.replace(FILMING, count=1000)
    assert [FILMING.spec(i) for i in range(6)] == [longer.spec(i) for i in range(6)]
    events = [longer.spec(i).event for i in range(1000)]
    for event, share in FILMING.events:
        assert events.count(event) / 1000 == pytest.approx(share, abs=0.05)


def test_the_recipe_from_nothing_to_weights_and_stopped_on_the_way(tmp_path):
    config = release.tiny(budget=1.0)
    asked = iter([False] * 12 + [True] * 1000)
    bench = Bench(run=tmp_path, device=CPU, encoder=Lengths)
    hasty = dataclasses.replace(bench, stop=lambda: next(asked))
    stages = [p.stage for p in release.release(config, hasty)]
    assert "transformer" not in stages
    stages = [p.stage for p in release.release(config, bench)]
    assert "transformer" in stages
    again = [p.stage for p in release.release(config, bench)]
    assert "transformer" not in again, "a finished recipe trains nothing more"
    folder = export(release.trained(config, bench), tmp_path / "weights")
    opened = KinemaCheckpoint.open(folder, name="tiny")
    dit = opened.load_transformer(dtype=torch.float32, device=CPU)
    vae = opened.load_vae(device=CPU)
    assert dit.config == config.dit.model
    before, after = (averaged_weights(tmp_path / part) for part in ("vae", "decoder"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}, "the latents that the transformer learned from stay what they are"
    settings = checkpoint.load(tmp_path / "decoder").state["settings"]
    constants = json.loads((tmp_path / "normalisation.json").read_text())
    assert list(settings["model"]["latents_mean"]) == constants["mean"], "worn latents are normalised"
    encoded = latent_data(tmp_path).films[0].latents
    assert load_file(tmp_path / "worn.safetensors")["worn"].shape == encoded[:4].shape
    films = stored(config.filming, tmp_path / "films")
    frames = torch.from_numpy(films.frames(0).copy()).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    latents = vae.encode(frames)
    assert latents.shape[1] == 4
    assert vae.decode(latents).shape == frames.shape
    assert json.loads((folder / "training.json").read_text())["filming"]["count"] == 8


def test_going_on_from_a_model_wider_and_with_a_finer_decoder(tmp_path):
    config = release.tiny(budget=1.0)
    bench = Bench(run=tmp_path / "first", device=CPU, encoder=Lengths)
    assert list(release.release(config, bench))
    folder = export(release.trained(config, bench), tmp_path / "weights")

    width = 2 * config.dit.model.width
    wider = dataclasses.replace(
        config.dit.model, width=width, heads=2 * config.dit.model.heads, mlp_width=4 * width
    )
    config = init_from_pretrained(config, str(folder))
    config = dataclasses.replace(config, dit=dataclasses.replace(config.dit, model=wider))
    bench = dataclasses.replace(bench, run=tmp_path / "second")
    stages = [p.stage for p in release.release(config, bench)]
    assert "decoder" in stages
    after = export(release.trained(config, bench), tmp_path / "finer")
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
