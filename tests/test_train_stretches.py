"""Stretches of films: the transformer learns from them to go on from films that have begun already."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.models.vae.autoencoder.vae_config import VaeConfig

from kinema.errors import UserError
from kinema.models.transformer.dit_config import small
from kinema.train import chance
from kinema.train.dit import DitTask, DitTraining
from kinema.train.filming import Filming, film
from kinema.train.films import HeldFilms, Stretches
from kinema.train.latents import LatentFilms
from kinema.train.levels import TimeConfig, drawn_times, drawn_together
from kinema.train.stages import Bench, encoded, latent_data, names, store
from tests.toy_training import Letters

CPU = torch.device("cpu")
STATES = (torch.eye(384)[:3], torch.eye(384)[3:5], torch.eye(384)[9:10])


def counting(films=40, length=21):
    """Films whose frames are numbered."""
    numbers = np.arange(length, dtype=np.uint8)[None, :, None, None, None]
    pixels = np.broadcast_to(numbers, (films, length, 2, 2, 3))
    return HeldFilms(pixels=pixels, texts=tuple((f"film {i}",) for i in range(films)))


def test_stretches_are_frames_in_a_row_and_begin_everywhere():
    stretches = Stretches(whole=counting(), length=9, each=3, seed=1)
    assert len(stretches) == 120
    starts = []
    for index in range(len(stretches)):
        frames = stretches.frames(index)[:, 0, 0, 0].tolist()
        assert frames == list(range(frames[0], frames[0] + 9))
        starts.append(frames[0])
        assert stretches.captions(index) == (f"film {index // 3}",)
    assert set(starts) == set(range(13))  # 21 frames have 13 stretches of 9.
    by_place = np.array(starts).reshape(40, 3)
    assert (by_place[:, 0] <= 4).all()
    assert (by_place[:, 2] >= 8).all()
    again = Stretches(whole=counting(), length=9, each=3, seed=1)
    assert again.frames(7).tobytes() == stretches.frames(7).tobytes()


def test_a_stretch_may_be_the_whole_film():
    assert len(Stretches(whole=counting(length=9), length=9, each=2).frames(1)) == 9


@pytest.mark.parametrize("changes", [{"stretch": 18}, {"stretch": 1}, {"stretch": 9, "stretches": 0}])
def test_stretches_that_no_film_has_are_refused(changes):
    with pytest.raises(UserError, match="17 frames can't be cut"):
        Filming(count=4, **changes)


def test_of_a_stretch_something_is_always_given_and_never_the_first_frame_alone():
    config = TimeConfig().of_stretches()
    one_by_one = torch.stack([drawn_times(config, 5, chance.generator(2, i)) for i in range(3000)])
    together = drawn_together(config, 3000, 5, chance.generator(3))
    shares = []
    for drawn in (one_by_one, together):
        given = drawn == 0
        assert given.any(1).all()
        assert not given.all(1).any()
        onward = ~given[:, -1]
        assert (given[onward].sum(1) >= 2).all()
        # Half of those that lead up to something have no beginning.
        shares.append([onward.float().mean().item(), (given[onward].sum(1) == 2).float().mean().item()])
        # What is free has one level.
        free = torch.where(given, torch.nan, drawn)
        assert (free.nan_to_num(0).max(1).values == free.nan_to_num(2).min(1).values).all()
    assert shares[0] == pytest.approx([0.65, 0.4 + 0.6 / 3], abs=0.03)
    assert shares[1] == pytest.approx(shares[0], abs=0.04)


def latents(count, seed, **more):
    films = torch.randn(count, 4, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return LatentFilms(latents=films, captions=((0, 1), (1,)) * (count // 2), states=STATES, **more)


def test_a_group_of_stretches_is_trained_on_with_beginnings_given():
    config = DitTraining(
        batch=4, precision="float32", model=small(width=64, layers=1, channels=4, grid=(2, 2))
    )
    groups = [latents(12, 0), latents(12, 1, midway=True)]
    task = DitTask(config, groups, [each.part(0, 4) for each in groups], CPU)
    seen = {False: [], True: []}
    for step in range(40):
        drawn = task.buckets.at(step)
        times = task._drawn(step, drawn, 0, 1, 4).times
        seen[drawn.bucket.group == 1].append((times == 0).any(1))
    assert torch.cat(seen[True]).all()
    assert torch.cat(seen[False]).float().mean() < 0.5
    scores = task.validate()
    assert "loss_3x4x4_midway" in scores
    assert "loss_3x4x4" not in scores


def test_the_loss_of_a_group_of_stretches_leaves_out_what_is_given():
    config = DitTraining(precision="float32", model=small(width=64, layers=1, channels=4, grid=(2, 2)))
    films = latents(4, 1, midway=True)
    task = DitTask(config, [films], [films], CPU)
    # A fresh model says 0 everywhere, so its error is the mean square of noise - film.
    noise = torch.stack([chance.normal((4, 3, 4, 4), 0, "held out", i) for i in range(4)])
    expected = (noise - films.latents)[:, :, 2:].square().mean().item()
    assert task.validate()["loss_right"] == pytest.approx(expected, rel=1e-5)


def test_stretches_are_cut_encoded_and_told_from_whole_films(tmp_path):
    filming = Filming(count=3, height=16, width=16, frames=13, events=(("still", 1.0),), shard=2, stretch=9)
    held = dataclasses.replace(filming, count=1, seed=1, split="test")
    for one, name in zip((filming, held), names(0), strict=True):
        for _ in film(one, tmp_path / name, workers=0):
            pass
    bench = Bench(run=tmp_path, device=CPU, encoder=Letters)
    one = store(bench, filming, held)
    assert (len(one.films), len(one.held_out), one.midway) == (6, 2, True)
    for _ in encoded(bench, VideoVae(VaeConfig.tiny(patchified=True)).eval(), [one], precision="float32"):
        pass
    data = latent_data(tmp_path)
    assert data.films[0].midway
    assert data.held_out[0].part(0, 1).midway
    assert data.films[0].latents.shape[:3] == (6, 4, 3)
    # Runs that were made before there were stretches have whole films.
    path = tmp_path / "captions.json"
    told = json.loads(path.read_text())
    del told["midway"]
    path.write_text(json.dumps(told))
    assert not latent_data(tmp_path).films[0].midway
