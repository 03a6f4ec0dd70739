"""The evaluator against the simulator: error of its centroids, speed, and noise floor on PhyWorld."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from benchmarks.harness import BenchRow
from kinema.evaluation.phyworld import evaluator_noise_floor
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.score_video import score_video
from kinema.evaluation.tracking import track_objects
from kinema.process_pool import process_pool
from kinema.simulator.annotations import Event
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.phyworld import PhyWorldConfig, PhyWorldVideos, Scenario
from kinema.simulator.render.tracer import render
from kinema.simulator.render_scene import build_render_scene, sample_environment
from kinema.simulator.scene_sampler import sample_scene

_SUPERSAMPLING = 4
"""Scale of the id buffer from which the true centroids are computed."""
_CASES: tuple[tuple[Event, str], ...] = (
    ("roll", "stops"), ("roll", "keeps going"), ("drop", "bounces high"), ("collide", "pushed"),
    ("collide", "short of"), ("still", "pair"),
)  # fmt: skip


def centroid_error(clips: int) -> float:
    """Root mean square error of the motion of soft centroids between frames, in pixels at 128, per axis.

    The reference is the centroid of the object's mask in an id buffer rendered four times finer. Frames in
    which the object is cut off or touches another object are left out, as in the evaluator.
    """
    errors = []
    for number in range(clips):
        event, outcome = _CASES[number % len(_CASES)]
        spec = ClipSpec(seed=700_000 + number, lab=True, event=event, outcome=outcome, split="train")
        scene = sample_scene(spec)
        render_scene = build_render_scene(spec, scene, sample_environment(spec, scene))
        frames = render(render_scene, spec.height, spec.width, object_ids=False, threads=1).frames
        fine = replace(spec, height=spec.height * _SUPERSAMPLING, width=spec.width * _SUPERSAMPLING)
        rendering = render(render_scene, fine.height, fine.width, samples=1, object_ids=True, threads=1)
        if rendering.object_ids is None:
            raise ValueError("the ray tracer returned no id buffer")
        tracked = track_objects(frames, spec.fps)
        for index, entity in enumerate(scene.entities):
            mask = rendering.object_ids == index + 1
            reference = _centroids(mask) / _SUPERSAMPLING - (1 - 1 / _SUPERSAMPLING) / 2
            for track in tracked.tracks:
                if track.colour == entity.colour:
                    visible = track.clearly_visible[1:] & track.clearly_visible[:-1]
                    errors.append(np.diff(track.centre - reference, axis=0)[visible].ravel())
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def _centroids(mask: np.ndarray) -> Float[np.ndarray, "f 2"]:
    count = mask.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        x = mask.sum(axis=1) @ np.arange(mask.shape[2]) / count
        y = mask.sum(axis=2) @ np.arange(mask.shape[1]) / count
    return np.stack([x, y], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ScoringCase:
    prompt: str
    frames: UInt8[np.ndarray, "f h w 3"]
    fps: float


def _time_scoring(case: _ScoringCase) -> float:
    start = time.process_time()
    score_video(parse_prompt(case.prompt), case.frames, case.fps)
    return time.process_time() - start


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Speed of scoring videos of 33 frames at 128 x 128 by all measures, without reading files.

    Attributes:
        clips_per_second: by wall-clock time, so other processes of the machine matter.
        core_seconds: CPU seconds per clip.
    """

    clips_per_second: float
    core_seconds: float


def measure_throughput(clips: int, workers: int) -> Throughput:
    """Score clips in several processes."""
    cases = []
    for number in range(clips):
        event, outcome = _CASES[number % len(_CASES)]
        clip = make_clip(ClipSpec(seed=number, lab=True, event=event, outcome=outcome, split="train"))
        if clip.frames is None:
            raise ValueError("the clip was not rendered")
        cases.append(
            _ScoringCase(
                prompt=generate_captions(clip.annotations)[0].text,
                frames=clip.frames,
                fps=clip.annotations.fps,
            )
        )
    with process_pool(workers) as pool:
        list(pool.map(_time_scoring, cases[: 2 * workers]))
        start = time.perf_counter()
        cpu_seconds = list(pool.map(_time_scoring, cases))
        wall_seconds = time.perf_counter() - start
    return Throughput(clips_per_second=clips / wall_seconds, core_seconds=sum(cpu_seconds) / clips)


def run_benchmark(*, clips: int = 24, workers: int = 2) -> list[BenchRow]:
    """Measure the evaluator's errors and its speed."""
    speed = measure_throughput(clips, workers)
    rows = [
        BenchRow(label="soft centroids, px per frame", ours=centroid_error(clips), at_most=0.02, unit=""),
        BenchRow(
            label="core-seconds per clip", ours=speed.core_seconds, at_most=2 / 8,
            note=f"{speed.clips_per_second:.1f} clips/s by wall clock, {workers} workers",
        ),
    ]  # fmt: skip
    bounds: dict[Scenario, float] = {"uniform": 0.0105, "collision": 0.0125, "parabola": 0.022}
    for scenario, bound in bounds.items():
        videos = PhyWorldVideos(config=PhyWorldConfig(scenarios=(scenario,)), num_clips=50)
        error = evaluator_noise_floor(videos)
        rows.append(BenchRow(label=f"PhyWorld {scenario}, m/s", ours=error, at_most=bound, unit=""))
    return rows
