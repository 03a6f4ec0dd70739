"""What the benchmarks of verbs and of long films measure, on films whose answer is known."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from kinema.bench import verbs
from kinema.bench.long import unchanged
from kinema.bench.verbs import Joined, Joins, step_at
from kinema.media import read_film
from kinema.pipeline.request import ExtendInput, InterpolateInput, VideoRequest
from kinema.pipeline.video import GeneratedVideo
from kinema.world.clip import ClipSpec, make_clip


def filmed(event="roll", frames=17, seed=3):
    spec = ClipSpec(
        seed=seed, lab=True, event=event, split="test", height=64, width=64, frames=frames, fps=8.0
    )
    made = make_clip(spec).frames
    assert made is not None
    return made


def test_a_step_is_told_by_the_steps_around_it():
    ramp = np.zeros((20, 4, 4, 3), np.uint8)
    ramp += np.arange(20, dtype=np.uint8)[:, None, None, None] * 3
    assert step_at(ramp, 10) == pytest.approx(1)
    ramp[10:] += 6
    assert step_at(ramp, 10) == pytest.approx(3)
    assert step_at(ramp, 9) == pytest.approx(1)


FAKE = SimpleNamespace(recipe=SimpleNamespace(frames=17, size=(64, 64), fps=8.0))


class Simulated:
    """Goes on from a film smoothly, but for a jump of so many levels where what is new begins."""

    model = FAKE

    def __init__(self, jump=0):
        self.jump, self.wishes, self.given = jump, [], []

    def make(self, wish: VideoRequest) -> GeneratedVideo:
        self.wishes.append(wish)
        source = wish.source
        if isinstance(source, ExtendInput):
            before = read_film(source.video).frames
            self.given.append(before)
            frames = np.concatenate([before, self.shifted(before[::-1][1:])])
        elif isinstance(source, InterpolateInput):
            first, last = (read_film(path).frames for path in (source.first, source.last))
            self.given += [first, last]
            middle = np.stack([np.roll(first[-1], k, axis=1) for k in range(1, 9)])
            frames = np.concatenate([first, self.shifted(middle), last])
        else:
            frames = np.concatenate([filmed(frames=5), filmed(frames=5)[::-1][1:-1]])
        return GeneratedVideo(
            frames=frames, fps=8.0, prompt=wish.prompt, seed=0, num_inference_steps=1, guidance_scale=(1.0,), model="fake",
            tail_latents=None, metadata=None,
        )  # fmt: skip

    def shifted(self, frames):
        return (frames.astype(int) + self.jump).clip(0, 255).astype(np.uint8)


def test_joins_that_show_are_found():
    smooth = verbs.joined(Simulated(), "roll", 1, steps=1)
    jump = verbs.joined(Simulated(jump=40), "roll", 1, steps=1)
    for good, bad in ((smooth.set, jump.set), (smooth.slower, jump.slower)):
        assert good.extended < 1.5 < bad.extended
        assert good.left < 3 < bad.left
        assert bad.arrived > 3
        assert good.true == bad.true
    assert smooth.slower.true == pytest.approx(1, abs=0.5)
    assert smooth.colour < 1 < jump.colour
    assert smooth.looped < 1.5


def test_every_verb_is_asked_for_as_a_person_would():
    pipe = Simulated()
    verbs.joined(pipe, "roll", 1, steps=7)
    sources = [type(wish.source) for wish in pipe.wishes]
    assert sources.count(ExtendInput) == verbs.CHAIN + 1
    assert sources.count(InterpolateInput) == 2
    assert [wish.loop for wish in pipe.wishes].count(True) == 1
    assert all(wish.steps == 7 for wish in pipe.wishes)
    # A film of the model's length is cut in two, and loses its middle: what is made fills it up again.
    assert [len(film) for film in pipe.given[:3]] == [9, 5, 4]
    assert [wish.seconds for wish in pipe.wishes if wish.source is not None][:2] == [1.0, 1.0]


def test_the_table_says_how_many_films_are_within(monkeypatch):
    fine = Joins(extended=1.2, left=1.2, arrived=1.2, true=1.0)
    good = Joined(set=fine, slower=fine, looped=1.2, colour=0.5)
    bad = dataclasses.replace(good, set=dataclasses.replace(fine, extended=9.0))
    found = iter([good, bad, good])
    monkeypatch.setattr(verbs, "run_load", lambda *_, **__: None)
    monkeypatch.setattr(verbs, "append", lambda *_, **__: next(found))
    extended, *others = verbs.rows(films=3, events=("roll",))
    assert extended.ours == 1.2
    assert extended.holds
    assert "2 of 3 films within; largest 9.00" in extended.note
    assert len(others) == 7
    assert all("3 of 3 films within" in row.note for row in others)


def test_things_of_a_minute_are_followed():
    still = np.repeat(filmed("still", frames=2)[:1], 160, axis=0)
    assert unchanged(still, 8.0) == pytest.approx(20)
    floor = np.median(still[0], axis=1, keepdims=True).astype(np.uint8)
    gone = still.copy()
    gone[100:] = floor
    assert unchanged(gone, 8.0) <= 12.5
