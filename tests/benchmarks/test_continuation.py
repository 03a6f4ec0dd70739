"""The continuation and long-video benchmarks, on videos whose measurements are known."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.continuation import ContinuationMetrics, JoinMetrics, join_step_ratio
from benchmarks.long_videos import time_to_first_change

from benchmarks import continuation
from kinema.media import read_video
from kinema.pipeline.request import ExtendInput, InterpolateInput, VideoRequest
from kinema.pipeline.video import GeneratedVideo
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec


def render_clip(event="roll", num_frames=17, seed=3):
    spec = ClipSpec(
        seed=seed, lab=True, event=event, split="test", height=64, width=64, num_frames=num_frames, fps=8.0
    )
    frames = make_clip(spec).frames
    assert frames is not None
    return frames


def test_join_step_ratio():
    ramp = np.zeros((20, 4, 4, 3), np.uint8)
    ramp += np.arange(20, dtype=np.uint8)[:, None, None, None] * 3
    assert join_step_ratio(ramp, 10) == pytest.approx(1)
    ramp[10:] += 6
    assert join_step_ratio(ramp, 10) == pytest.approx(3)
    assert join_step_ratio(ramp, 9) == pytest.approx(1)


FAKE_MODEL = SimpleNamespace(sampling_defaults=SimpleNamespace(num_frames=17, size=(64, 64), fps=8.0))


class FakePipeline:
    """Continues videos smoothly, except that the new part is brighter by `jump` grey levels."""

    model = FAKE_MODEL

    def __init__(self, jump=0):
        self.jump, self.requests, self.sources = jump, [], []

    def generate(self, request: VideoRequest) -> GeneratedVideo:
        self.requests.append(request)
        source = request.source
        if isinstance(source, ExtendInput):
            before = read_video(source.video).frames
            self.sources.append(before)
            frames = np.concatenate([before, self.shift_levels(before[::-1][1:])])
        elif isinstance(source, InterpolateInput):
            first, last = (read_video(path).frames for path in (source.first, source.last))
            self.sources += [first, last]
            middle = np.stack([np.roll(first[-1], k, axis=1) for k in range(1, 9)])
            frames = np.concatenate([first, self.shift_levels(middle), last])
        else:
            frames = np.concatenate([render_clip(num_frames=5), render_clip(num_frames=5)[::-1][1:-1]])
        return GeneratedVideo(frames=frames, fps=8.0)

    def shift_levels(self, frames):
        return (frames.astype(int) + self.jump).clip(0, 255).astype(np.uint8)


def test_visible_joins_are_found():
    smooth = continuation.measure_continuations(FakePipeline(), "roll", 1, num_inference_steps=1)
    jump = continuation.measure_continuations(FakePipeline(jump=40), "roll", 1, num_inference_steps=1)
    for good, bad in ((smooth.native_length, jump.native_length), (smooth.triple_length, jump.triple_length)):
        assert good.extension < 1.5 < bad.extension
        assert good.interpolation_start < 3 < bad.interpolation_start
        assert bad.interpolation_end > 3
        assert good.reference == bad.reference
    assert smooth.triple_length.reference == pytest.approx(1, abs=0.5)
    assert smooth.delta_e < 1 < jump.delta_e
    assert smooth.loop_seam < 1.5


def test_every_task_is_requested():
    pipe = FakePipeline()
    continuation.measure_continuations(pipe, "roll", 1, num_inference_steps=7)
    sources = [type(request.source) for request in pipe.requests]
    assert sources.count(ExtendInput) == continuation.NUM_EXTENSIONS + 1
    assert sources.count(InterpolateInput) == 2
    assert [request.loop for request in pipe.requests].count(True) == 1
    assert all(request.num_inference_steps == 7 for request in pipe.requests)
    # A video of the model's length is cut in two and loses its middle; the new part has the missing length.
    assert [len(video) for video in pipe.sources[:3]] == [9, 5, 4]
    assert [request.seconds for request in pipe.requests if request.source is not None][:2] == [1.0, 1.0]


def test_table_counts_videos_within_bounds(monkeypatch):
    joins = JoinMetrics(extension=1.2, interpolation_start=1.2, interpolation_end=1.2, reference=1.0)
    good = ContinuationMetrics(native_length=joins, triple_length=joins, loop_seam=1.2, delta_e=0.5)
    bad = dataclasses.replace(good, native_length=dataclasses.replace(joins, extension=9.0))
    results = iter([good, bad, good])
    monkeypatch.setattr(continuation, "load", lambda *_, **__: None)
    monkeypatch.setattr(continuation, "measure_continuations", lambda *_, **__: next(results))
    extension, *others = continuation.run_benchmark(videos_per_event=3, events=("roll",))
    assert extension.ours == 1.2
    assert extension.within_bound
    assert "2 of 3 videos within; largest 9.00" in extension.note
    assert len(others) == 7
    assert all("3 of 3 videos within" in row.note for row in others)


def test_time_to_first_change():
    still = np.repeat(render_clip("still", num_frames=2)[:1], 160, axis=0)
    assert time_to_first_change(still, 8.0) == pytest.approx(20)
    floor = np.median(still[0], axis=1, keepdims=True).astype(np.uint8)
    disappearing = still.copy()
    disappearing[100:] = floor
    assert time_to_first_change(disappearing, 8.0) <= 12.5
