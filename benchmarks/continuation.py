"""Extension, interpolation and looping: visibility of joins and colour drift, on lab videos that are cut."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from benchmarks.harness import BenchRow
from kinema.evaluation.frame_statistics import compute_drift, frame_differences, loop_seam_ratio
from kinema.media import write_video
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.request import ExtendInput, InterpolateInput, VideoRequest
from kinema.pipeline.video import GeneratedVideo
from kinema.simulator.annotations import Event
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec

MOVING_EVENTS: tuple[Event, ...] = ("roll", "collide", "occlude", "drop")
"""Events of the videos that are cut. In a video without motion every frame difference is a large one."""
NUM_NEIGHBOURS = 8
"""Frame differences on either side of a join that it is compared with."""
NUM_EXTENSIONS = 4
"""Number of extensions in a chain."""
MAX_JOIN_RATIO, MAX_DELTA_E = 1.5, 2.0
"""Bounds of the join ratio and of ΔE."""

FrameArray = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, kw_only=True)
class JoinMetrics:
    """Join ratios of one video; see `join_step_ratio`.

    Attributes:
        extension: where an extension begins.
        interpolation_start: where an interpolation leaves the first video.
        interpolation_end: where an interpolation arrives at the second video.
        reference: of the simulated video, at the frame of the extension.
    """

    extension: float
    interpolation_start: float
    interpolation_end: float
    reference: float


@dataclass(frozen=True, kw_only=True)
class ContinuationMetrics:
    """Measurements of one seed.

    Attributes:
        native_length: a video of the model's own length; it is cut in two and extended, and its middle is
            removed and interpolated.
        triple_length: a video three times as long, with slower motion; its first third is extended, and its
            middle third is interpolated.
        loop_seam: see `loop_seam_ratio`.
        delta_e: ΔE between first and last frames after a chain of extensions of the longer video.
    """

    native_length: JoinMetrics
    triple_length: JoinMetrics
    loop_seam: float
    delta_e: float


def join_step_ratio(frames: FrameArray, index: int) -> float:
    """The difference of frames `index - 1` and `index`, over the median of the differences around it."""
    differences = frame_differences(frames)
    median = float(np.median(differences[max(0, index - 1 - NUM_NEIGHBOURS) : index + NUM_NEIGHBOURS]))
    return differences[index - 1] / max(median, 1e-6)


def measure_continuations(
    pipe: Pipeline, event: Event, seed: int, *, num_inference_steps: int | None
) -> ContinuationMetrics:
    """Cut held-out lab videos of a seed; extend, interpolate and loop them."""
    native, fps = pipe.model.sampling_defaults.num_frames, pipe.model.sampling_defaults.fps
    quarter = (native - 1) // 4
    short, prompt = _render_clip(pipe, event, seed, native)
    request = VideoRequest(
        prompt=prompt, seconds=2 * quarter / fps, seed=seed, num_inference_steps=num_inference_steps
    )
    loop = pipe.generate(dataclasses.replace(request, seconds=None, loop=True)).frames
    with tempfile.TemporaryDirectory() as folder:
        cuts = (1 + 2 * quarter, 1 + quarter, quarter)
        native_length, _ = _measure_joins(pipe, request, short, cuts, Path(folder))
    long, prompt = _render_clip(pipe, event, seed, 3 * native - 2)
    request = dataclasses.replace(request, prompt=prompt, seconds=(native - 1) / fps)
    with tempfile.TemporaryDirectory() as folder:
        cuts = (native, native, native)
        triple_length, extended = _measure_joins(pipe, request, long, cuts, Path(folder))
        chain = _extend_repeatedly(pipe, request, extended, Path(folder))
    return ContinuationMetrics(
        native_length=native_length,
        triple_length=triple_length,
        loop_seam=loop_seam_ratio(loop),
        delta_e=compute_drift(chain, max(1, native // 2)).delta_e,
    )


def _render_clip(pipe: Pipeline, event: Event, seed: int, num_frames: int) -> tuple[FrameArray, str]:
    """A held-out lab video and its core caption."""
    width, height = pipe.model.sampling_defaults.size
    spec = ClipSpec(
        seed=seed, lab=True, event=event, split="test", height=height, width=width,
        num_frames=num_frames, fps=pipe.model.sampling_defaults.fps,
    )  # fmt: skip
    clip = make_clip(spec)
    assert clip.frames is not None
    return clip.frames, generate_captions(clip.annotations)[0].text


def _measure_joins(
    pipe: Pipeline, request: VideoRequest, reference: FrameArray, cuts: tuple[int, int, int], folder: Path
) -> tuple[JoinMetrics, GeneratedVideo]:
    """Extend a video, and interpolate from its beginning to its end.

    Args:
        pipe: the model.
        request: prompt, length and seed of the new part.
        reference: all frames of the video.
        cuts: number of first frames that are extended, of first frames before an interpolation, and of last
            frames after it.
        folder: for temporary files.

    Returns:
        The metrics, and the extended video.
    """
    extended, first, last = cuts
    paths = [folder / name for name in ("extended.webm", "first.webm", "last.webm")]
    for path, frames in zip(paths, (reference[:extended], reference[:first], reference[-last:]), strict=True):
        write_video(path, frames, fps=pipe.model.sampling_defaults.fps, quality="lossless")
    extension = pipe.generate(dataclasses.replace(request, source=ExtendInput(video=paths[0])))
    source = InterpolateInput(first=paths[1], last=paths[2])
    interpolation = pipe.generate(dataclasses.replace(request, source=source)).frames
    metrics = JoinMetrics(
        extension=join_step_ratio(extension.frames, extended),
        interpolation_start=join_step_ratio(interpolation, first),
        interpolation_end=join_step_ratio(interpolation, len(interpolation) - last),
        reference=join_step_ratio(reference, extended),
    )
    return metrics, extension


def _extend_repeatedly(
    pipe: Pipeline, request: VideoRequest, video: GeneratedVideo, folder: Path
) -> FrameArray:
    """Extend an extended video again and again, through files as a user would."""
    for number in range(NUM_EXTENSIONS - 1):
        path = folder / f"chain-{number}.mp4"
        video.save(path)
        video = pipe.generate(dataclasses.replace(request, source=ExtendInput(video=path)))
    return video.frames


def run_benchmark(
    *,
    model: str = "world",
    videos_per_event: int = 2,
    num_inference_steps: int | None = None,
    events: Sequence[Event] = MOVING_EVENTS,
) -> list[BenchRow]:
    """Medians over videos of each event; the notes state the largest value and how many are within the bound.

    Args:
        model: as for `kinema.load`.
        videos_per_event: seeds of each event.
        num_inference_steps: solver steps; None: as many as the model needs.
        events: events of the simulated videos.
    """
    pipe = load(model, device="cpu", dtype="float32", memory="high")
    results = [
        measure_continuations(pipe, event, seed, num_inference_steps=num_inference_steps)
        for event in events
        for seed in range(videos_per_event)
    ]

    def row(label: str, values: list[float], at_most: float, note: str = "") -> BenchRow:
        within = sum(value <= at_most for value in values)
        return BenchRow(
            label=label, ours=statistics.median(values), at_most=at_most, unit="",
            note=f"{within} of {len(values)} videos within; largest {max(values):.2f}{note}",
        )  # fmt: skip

    def join_rows(prefix: str, joins: list[JoinMetrics]) -> list[BenchRow]:
        reference = statistics.median(join.reference for join in joins)
        columns: tuple[tuple[str, Callable[[JoinMetrics], float], str], ...] = (
            ("extension", lambda join: join.extension, f"; simulated video {reference:.2f}"),
            ("interpolation, start", lambda join: join.interpolation_start, ""),
            ("interpolation, end", lambda join: join.interpolation_end, ""),
        )
        return [
            row(f"{prefix}{label}", [read(join) for join in joins], MAX_JOIN_RATIO, note)
            for label, read, note in columns
        ]

    return [
        *join_rows("", [result.native_length for result in results]),
        *join_rows("slow motion, ", [result.triple_length for result in results]),
        row("loop, end to start", [result.loop_seam for result in results], MAX_JOIN_RATIO),
        row(f"ΔE after {NUM_EXTENSIONS} extensions", [result.delta_e for result in results], MAX_DELTA_E),
    ]
