"""The verbs that go on from a film, on films of the set that are cut: do joins show, do colours drift?"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from benchmarks.harness import BenchRow
from benchmarks.long_videos import compute_drift
from kinema.media import write_video
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.request import ExtendInput, InterpolateInput, VideoRequest
from kinema.pipeline.segments import frame_differences, loop_seam_ratio
from kinema.pipeline.video import GeneratedVideo
from kinema.simulator.annotations import Event
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import ClipSpec, make_clip

MOVING_EVENTS: tuple[Event, ...] = ("roll", "collide", "occlude", "drop")
"""Events whose films are cut: in a film that stands still every step is a large one."""
NEIGHBOUR_STEPS = 8
"""Steps on either side of a join that it is compared with."""
NUM_EXTENSIONS = 4
"""Extensions one behind the other."""
MAX_JOIN_RATIO, MAX_DELTA_E = 1.5, 2.0
"""What is asked for: steps at joins over the usual step, and ΔE."""

FrameArray = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, kw_only=True)
class JoinMetrics:
    """What one film showed: steps at its joins over the usual step around them."""

    extension: float
    interpolation_start: float
    """Where a bridge leaves the first film."""
    interpolation_end: float
    """Where it comes to the second."""
    reference: float
    """The simulator's own step where the film was cut to be extended."""


@dataclass(frozen=True, kw_only=True)
class ContinuationMetrics:
    """What the films of one seed showed."""

    native_length: JoinMetrics
    """A film of the length of the model's own, cut in two, and with its middle taken out."""
    triple_length: JoinMetrics
    """A film three times as long, in which the same happens more slowly: the first and the last third are
    gone on from."""
    loop_seam: float
    delta_e: float
    """ΔE of the mean colours of the first and last frames, after a chain of extensions of the slower film."""


def join_step_ratio(frames: FrameArray, index: int) -> float:
    """The step into frame `index` over the median of the steps around it."""
    steps = frame_differences(frames)
    usual = float(np.median(steps[max(0, index - 1 - NEIGHBOUR_STEPS) : index + NEIGHBOUR_STEPS]))
    return steps[index - 1] / max(usual, 1e-6)


def measure_continuations(
    pipe: Pipeline, event: Event, seed: int, *, num_inference_steps: int
) -> ContinuationMetrics:
    """Cut held-out lab films of a seed, and go on from them in every way."""
    part, fps = pipe.model.sampling_defaults.num_frames, pipe.model.sampling_defaults.fps
    quarter = (part - 1) // 4
    short, prompt = _render_clip(pipe, event, seed, part)
    wish = VideoRequest(
        prompt=prompt, seconds=2 * quarter / fps, seed=seed, num_inference_steps=num_inference_steps
    )
    loop = pipe.generate_request(dataclasses.replace(wish, seconds=None, loop=True)).frames
    with tempfile.TemporaryDirectory() as folder:
        own, _ = _measure_joins(pipe, wish, short, (1 + 2 * quarter, 1 + quarter, quarter), Path(folder))
    long, prompt = _render_clip(pipe, event, seed, 3 * part - 2)
    wish = dataclasses.replace(wish, prompt=prompt, seconds=(part - 1) / fps)
    with tempfile.TemporaryDirectory() as folder:
        slower, longer = _measure_joins(pipe, wish, long, (part, part, part), Path(folder))
        chained = _extend_repeatedly(pipe, wish, longer, Path(folder))
    colour = compute_drift(chained, max(1, part // 2)).delta_e
    return ContinuationMetrics(
        native_length=own, triple_length=slower, loop_seam=loop_seam_ratio(loop), delta_e=colour
    )


def _render_clip(pipe: Pipeline, event: Event, seed: int, num_frames: int) -> tuple[FrameArray, str]:
    """A held-out film of the set and its plain caption."""
    width, height = pipe.model.sampling_defaults.size
    spec = ClipSpec(
        seed=seed, lab=True, event=event, split="test", height=height, width=width,
        num_frames=num_frames, fps=pipe.model.sampling_defaults.fps,
    )  # fmt: skip
    clip = make_clip(spec)
    assert clip.frames is not None
    return clip.frames, generate_captions(clip.annotations)[0].text


def _measure_joins(
    pipe: Pipeline, request: VideoRequest, reference: FrameArray, cut: tuple[int, int, int], folder: Path
) -> tuple[JoinMetrics, GeneratedVideo]:
    """Extend a film, and lead from its beginning to its end; also the extended film.

    Args:
        pipe: the model.
        request: how it goes on.
        reference: the whole film.
        cut: how many of its first frames are extended, how many a bridge leaves, how many it comes to.
        folder: for the pieces.
    """
    extended, first, last = cut
    paths = [folder / name for name in ("extended.webm", "first.webm", "last.webm")]
    for path, frames in zip(paths, (reference[:extended], reference[:first], reference[-last:]), strict=True):
        write_video(path, frames, fps=pipe.model.sampling_defaults.fps, quality="lossless")
    longer = pipe.generate_request(dataclasses.replace(request, source=ExtendInput(video=paths[0])))
    both = pipe.generate_request(
        dataclasses.replace(request, source=InterpolateInput(first=paths[1], last=paths[2]))
    ).frames
    found = JoinMetrics(
        extension=join_step_ratio(longer.frames, extended),
        interpolation_start=join_step_ratio(both, first),
        interpolation_end=join_step_ratio(both, len(both) - last),
        reference=join_step_ratio(reference, extended),
    )
    return found, longer


def _extend_repeatedly(
    pipe: Pipeline, request: VideoRequest, video: GeneratedVideo, folder: Path
) -> FrameArray:
    """A film that was extended once, extended again and again as its files would be by a person."""
    for number in range(NUM_EXTENSIONS - 1):
        path = folder / f"chain-{number}.mp4"
        video.save(path)
        video = pipe.generate_request(dataclasses.replace(request, source=ExtendInput(video=path)))
    return video.frames


def run_benchmark(
    *,
    model: str = "world",
    videos_per_event: int = 2,
    num_inference_steps: int = 20,
    events: Sequence[Event] = MOVING_EVENTS,
) -> list[BenchRow]:
    """Medians over films of each event; the worst, and how many are within what is asked, in the notes.

    Args:
        model: as for `kinema.load`.
        videos_per_event: of each event.
        num_inference_steps: of the solver.
        events: that are filmed.
    """
    pipe = load(model, device="cpu", dtype="float32", memory="high")
    each = [
        measure_continuations(pipe, event, seed, num_inference_steps=num_inference_steps)
        for event in events
        for seed in range(videos_per_event)
    ]

    def row(what: str, found: list[float], at_most: float, more: str = "") -> BenchRow:
        within = sum(value <= at_most for value in found)
        return BenchRow(
            label=what, ours=statistics.median(found), at_most=at_most, unit="",
            note=f"{within} of {len(found)} films within; largest {max(found):.2f}{more}",
        )  # fmt: skip

    found = []
    for name, pieces in (
        ("", [one.native_length for one in each]),
        ("slower, ", [one.triple_length for one in each]),
    ):
        true = statistics.median(film.reference for film in pieces)
        found += [
            row(
                f"{name}extended: step at the join",
                [f.extension for f in pieces],
                MAX_JOIN_RATIO,
                f"; true {true:.2f}",
            ),
            row(
                f"{name}connected: step out of the first film",
                [f.interpolation_start for f in pieces],
                MAX_JOIN_RATIO,
            ),
            row(
                f"{name}connected: step into the second film",
                [f.interpolation_end for f in pieces],
                MAX_JOIN_RATIO,
            ),
        ]
    return [
        *found,
        row("looped: step from end to beginning", [one.loop_seam for one in each], MAX_JOIN_RATIO),
        row(f"ΔE after {NUM_EXTENSIONS} extensions", [one.delta_e for one in each], MAX_DELTA_E),
    ]
