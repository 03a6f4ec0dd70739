"""Refinement: what the model knows must come in, and windows must agree with the whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.generate.condition import Condition, Line, Picture
from kinema.generate.frames import Decoder, Frames, tiling_of
from kinema.generate.pipeline import Pipeline
from kinema.generate.progress import Step
from kinema.generate.refine import Refinement, check_refine, refine
from kinema.generate.request import Request, Wish
from kinema.generate.takes import Take, empty_reel
from kinema.generate.windows import Window, blended, windows
from kinema.media import psnr, resized
from kinema.shapes import LatentShape, VideoShape

from . import oracle


def halved(film: np.ndarray) -> np.ndarray:
    """Half the size, by the mean of each square."""
    f, h, w, c = film.shape
    return film.reshape(f, h // 2, 2, w // 2, 2, c).mean((2, 4)).round().astype(np.uint8)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Up to the rounding of the smaller film's pixels."""
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 2


def sharpness(film: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels."""
    values = film.astype(float)
    return float(np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean())


def request_for(pipe: Pipeline, film: np.ndarray, *, steps: int = 4, pictures=()) -> Request:
    size = VideoShape(frames=len(film), height=film.shape[1], width=film.shape[2])
    condition = Condition(lines=(Line(prompt="a ball"),), pictures=pictures).at(size)
    return Request(
        takes=(Take(condition=condition, film=size),),
        reel=empty_reel(size),
        fps=8.0,
        steps=steps,
        guidance=pipe.model.recipe.guidance,
        shift=1.0,
        seed=0,
        wish=Wish(prompt="a ball"),
    )


def refined(pipe: Pipeline, request: Request, film: np.ndarray, factor: int, refinement=None) -> np.ndarray:
    parts = refine(pipe, request, film, factor, refinement)
    return np.concatenate([event.images for event in parts if isinstance(event, Frames)])


@pytest.fixture(scope="module")
def large():
    return oracle.simulated(3, side=64)


def smaller_model(large: np.ndarray, side: int) -> Pipeline:
    """A model that knows the large film, but was trained for windows of `side` pixels."""
    pipe = oracle.oracle_pipeline({"a ball": large})
    recipe = dataclasses.replace(pipe.model.recipe, size=(side, side))
    model = dataclasses.replace(pipe.model, recipe=recipe)
    return Pipeline(model, device=pipe.device, choice=pipe.choice)


@pytest.mark.parametrize("upsample", ["pixels", "latents"])
def test_a_true_velocity_brings_the_detail(large, upsample) -> None:
    low = halved(large)
    pipe = smaller_model(large, 64)
    made = refined(pipe, request_for(pipe, low), low, 2, Refinement(upsample=upsample))
    lanczos = np.stack([resized(frame, (64, 64)) for frame in low])
    assert psnr(made, large) > psnr(lanczos, large) + 10
    assert abs(sharpness(made) / sharpness(large) - 1) < abs(sharpness(lanczos) / sharpness(large) - 1)


def test_windows_find_the_same_film(large) -> None:
    low = halved(large)
    pipe = smaller_model(large, 32)
    made = refined(pipe, request_for(pipe, low), low, 2)
    assert same(made, large)
    # Three by three windows, with the prompt and without, in the one of four steps that begins below 0.4.
    assert len(pipe.model.oracle.calls) == 9 * 2


def test_a_long_film_is_refined_in_windows_of_time(large) -> None:
    film = oracle.simulated(1, frames=33)
    pipe = oracle.oracle_pipeline({"a ball": film}, frames=17)
    low = halved(film)
    assert same(refined(pipe, request_for(pipe, low), low, 2), film)
    assert set(pipe.model.oracle.calls) == {(0, 5), (2, 5), (4, 5)}


def test_any_number_of_frames_comes_back(large) -> None:
    low = halved(large)[:15]
    pipe = smaller_model(large, 64)
    made = refined(pipe, request_for(pipe, halved(large)), low, 2)
    assert same(made[:13], large[:13])
    assert made.shape == (15, 64, 64, 3)


def test_four_is_two_passes(large) -> None:
    small = halved(halved(large))
    pipe = smaller_model(large, 64)
    # The oracle knows one size; in the first pass a plain enlargement stands in for it.
    knows = pipe.model.oracle

    def forward(latents, time, context, *, cache):
        if latents.shape[-1] == knows.films[0].shape[-1]:
            return type(knows).forward(knows, latents, time, context, cache=cache)
        return torch.zeros_like(latents.repeat(context.batch, 1, 1, 1, 1))

    knows.forward = forward
    # What stands in is not the film at that size, so nothing of it may be kept.
    free = Refinement(faithful=False)
    events = list(refine(pipe, request_for(pipe, small), small, 4, free))
    made = np.concatenate([event.images for event in events if isinstance(event, Frames)])
    assert np.array_equal(made, large)
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.index for step in steps] == list(range(steps[0].of))
    assert len(steps) == 2


def test_a_little_noise_keeps_more_of_the_enlargement(large) -> None:
    """The level says how much is made anew: a network that says nothing leaves the noise that was put in."""
    low = halved(large)
    pipe = smaller_model(large, 64)
    pipe.model.oracle.forward = lambda latents, time, context, **_: torch.zeros_like(
        latents.repeat(context.batch, 1, 1, 1, 1)
    )
    request = request_for(pipe, low, steps=10)
    a, b = (refined(pipe, request, low, 2, Refinement(level=level, faithful=False)) for level in (0.2, 0.6))
    enlarged = np.stack([resized(frame, (64, 64)) for frame in low])
    assert psnr(a, enlarged) > psnr(b, enlarged) + 3


def test_pictures_come_in_their_own_detail(large) -> None:
    low = halved(large)
    pipe = smaller_model(large, 64)
    other = oracle.simulated(4, side=64)[0]
    picture = Picture(image=halved(other[None])[0], original=other)
    low[0] = picture.image
    made = refined(pipe, request_for(pipe, low, pictures=(picture,)), low, 2)
    assert same(made[0], other)
    assert same(made[1:], large[1:])


def test_it_stays_faithful_to_the_film(large) -> None:
    """Whatever the network says, squares of the larger film have the means of the smaller one's pixels."""
    low = halved(large)
    pipe = smaller_model(oracle.simulated(4, side=64), 64)
    request = request_for(pipe, low)
    kept, lost = (refined(pipe, request, low, 2, Refinement(faithful=each)) for each in (True, False))
    assert psnr(halved(kept), low) > psnr(halved(lost), low) + 10


@settings(max_examples=60)
@given(
    film=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12)),
    window=st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(1, 8)),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    patch=st.sampled_from([1, 2]),
)
def test_windows_of_a_field_are_the_field(film, window, overlap, patch) -> None:
    """They cover everything, are no larger than asked, and blend to what each of them says."""
    shape = LatentShape(frames=film[0], height=film[1] * patch, width=film[2] * patch)
    size = LatentShape(frames=window[0], height=window[1] * patch, width=window[2] * patch)
    cuts = windows(shape, size, overlap=overlap, patch=patch)
    field = torch.randn(1, 2, shape.frames, shape.height, shape.width)
    asked = torch.linspace(0.1, 1, shape.frames, dtype=torch.float64)[None]

    def of(cut: Window):
        assert len(cut.frames) <= size.frames
        assert len(cut.rows) <= size.height
        assert cut.rows.start % patch == cut.rows.stop % patch == 0

        def velocity(latents, time):
            assert torch.equal(time, asked[:, cut.frames.start : cut.frames.stop])
            assert torch.equal(latents, cut.of(field))
            return cut.of(field) * 2

        return velocity

    assert torch.allclose(blended(of, cuts)(field, asked), 2 * field, atol=1e-5)


def test_windows_overlap_as_asked() -> None:
    shape, size = (LatentShape(frames=1, height=n, width=n) for n in (16, 8))
    starts = {cut.rows.start for cut in windows(shape, size, overlap=0.5, patch=2)}
    assert starts == {0, 4, 8}


def test_large_frames_are_decoded_in_tiles() -> None:
    assert tiling_of(8, 512) is None
    tiling = tiling_of(24, 528)
    assert tiling is not None
    assert tiling.tile % 24 == tiling.overlap % 24 == 0
    vae = oracle.exact_vae(spatial=8)
    film = torch.rand(1, 3, 5, 64, 640).mul(2).sub(1)
    with torch.no_grad():
        latents = vae.encode(film)
    parts = [*Decoder(vae, of=5).frames(latents)]
    made = np.concatenate([part.images for part in parts])
    assert (oracle.to_float(made) - film).abs().max() < 0.005


def test_what_can_not_be_refined_is_said(large) -> None:
    model = oracle.oracle_model({"a ball": large})
    with pytest.raises(UserError, match="give 2 or 4"):
        check_refine(model, 3)
    for changes, words in [
        ({"pictures": "channels"}, "can't refine"),
        ({"guidance": (3.0, 3.0), "boundary": 0.3}, "below 0.3"),
    ]:
        other = dataclasses.replace(model, recipe=dataclasses.replace(model.recipe, **changes))
        with pytest.raises(UserError, match=words):
            check_refine(other, 2)
    with pytest.raises(UserError, match="level is above 0"):
        Refinement(level=1.0)
