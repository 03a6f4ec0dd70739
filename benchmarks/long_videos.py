"""Long videos sampled as a stream: peak memory, drift of sharpness and colour, and object identity.

Each video is streamed to a file in a separate process.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from benchmarks.harness import BenchRow, run_subprocess
from kinema.evaluation.frame_statistics import Drift, compute_drift
from kinema.pipeline.streaming import ContextMode

SHORT_SECONDS = 10.0
"""Seconds of the video whose peak memory is the reference."""
COMPARED_SECONDS = 5.0
"""Seconds at each end of a video that are compared."""
PROMPTS = (
    "A red ball rolls to the right.",
    "A blue cube stands to the left of a green cylinder.",
    "A yellow ball is dropped and bounces.",
    "A green ball rolls to the left and hits an orange cube.",
    "Three purple cubes are on the ground.",
    "A cyan cylinder stands still.",
    "A red cone is on the left and a blue ball is on the right.",
    "An orange cube slides to the right and stops.",
    "A pink ball rolls to the left, disappears behind a green screen and reappears on the left.",
    "A yellow cylinder stands to the right of a purple cone.",
)
MIN_UNCHANGED_SHARE = 0.9
"""Share of the videos whose objects stay what they are to the end."""

_STREAM_SCRIPT = """
import dataclasses, json, sys
import torch
torch.set_num_threads(1)
import kinema
from kinema.media import open_writer
from kinema.pipeline.progress import FrameChunk
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.streaming import default_streaming_config, stream_segments
path, model, request, changes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
pipe = kinema.load(model, device="cpu", dtype="float32", memory="high")
if "context_mode" in changes:
    defaults = dataclasses.replace(pipe.model.sampling_defaults, streaming_mode=changes.pop("context_mode"))
    config = default_streaming_config(dataclasses.replace(pipe.model, sampling_defaults=defaults))
else:
    config = default_streaming_config(pipe.model)
resolved = pipe.resolve(VideoRequest.from_dict(request))
with open_writer(path, fps=resolved.fps, size=resolved.size, quality="lossless") as writer:
    for event in stream_segments(pipe.components, resolved, dataclasses.replace(config, **changes)):
        if isinstance(event, FrameChunk):
            writer.write(event.frames)
"""


@dataclass(frozen=True, kw_only=True)
class StreamedVideoStats:
    """Measurements of one streamed video.

    Attributes:
        drift: change from the first to the last seconds.
        survival_seconds: time until the first object changes or disappears (measure 8 of the scorecard).
        peak_mib: peak resident memory, in MiB.
        cpu_seconds: CPU time of the process.
    """

    drift: Drift
    survival_seconds: float
    peak_mib: float
    cpu_seconds: float


def time_to_first_change(frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> float:
    """Seconds until the first object of the beginning changes or disappears, whatever the prompt is."""
    from kinema.evaluation.identity import measure_identity, survival_seconds
    from kinema.evaluation.permanence import measure_permanence
    from kinema.evaluation.tracking import track_objects

    video = track_objects(frames, fps)
    return survival_seconds(
        measure_identity(video, grounded=True, lost_frame=measure_permanence(video).first_lost_frame),
        video.num_frames / fps,
    )


def stream_in_subprocess(
    prompt: str,
    *,
    seconds: float,
    model: str,
    num_inference_steps: int | None,
    seed: int,
    context_mode: ContextMode | None = None,
    context_sigma: float | None = None,
) -> StreamedVideoStats:
    """Stream a video in a separate process, and measure it.

    Args:
        prompt: what the video shows.
        seconds: length of the video.
        model: as for `kinema.load`.
        num_inference_steps: solver steps of each block; None: as many as the model needs.
        seed: seed of the noise.
        context_mode: how a block attends to finished frames; None is the default of the model.
        context_sigma: noise level of the finished frames; None is the default of the model.

    Raises:
        RuntimeError: the process failed.
    """
    from kinema.media import read_video

    request = {
        "prompt": prompt, "seconds": seconds, "seed": seed, "num_inference_steps": num_inference_steps
    }  # fmt: skip
    changes = {"context_mode": context_mode, "context_sigma": context_sigma}
    changes = {name: value for name, value in changes.items() if value is not None}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.webm"
        usage = run_subprocess(_STREAM_SCRIPT, str(path), model, json.dumps(request), json.dumps(changes))
        video = read_video(path)
    return StreamedVideoStats(
        drift=compute_drift(video.frames, round(COMPARED_SECONDS * video.fps)),
        survival_seconds=time_to_first_change(video.frames, video.fps),
        peak_mib=usage.peak_mib,
        cpu_seconds=usage.cpu_seconds,
    )


def run_benchmark(
    *,
    seconds: float = 60.0,
    model: str = "world",
    num_inference_steps: int | None = None,
    context_mode: ContextMode | None = None,
    context_sigma: float | None = None,
    prompts: Sequence[str] = PROMPTS,
) -> list[BenchRow]:
    """Compare the memory of long videos with that of a video of 10 s, and measure their drift.

    Args:
        seconds: length of the long videos.
        model: as for `kinema.load`.
        num_inference_steps: solver steps of each block; None: as many as the model needs.
        context_mode: see `stream_in_subprocess`.
        context_sigma: see `stream_in_subprocess`.
        prompts: one video for each; its index is the seed.
    """

    def stream(prompt: str, seed: int, seconds: float) -> StreamedVideoStats:
        return stream_in_subprocess(
            prompt,
            seconds=seconds,
            model=model,
            num_inference_steps=num_inference_steps,
            seed=seed,
            context_mode=context_mode,
            context_sigma=context_sigma,
        )

    short = stream(prompts[0], 0, SHORT_SECONDS)
    videos = [stream(prompt, seed, seconds) for seed, prompt in enumerate(prompts)]
    peak = max(video.peak_mib for video in videos)
    cpu = statistics.median(video.cpu_seconds for video in videos)
    sharpness_change = max(abs(video.drift.sharpness_ratio - 1) for video in videos)
    each = ", ".join(f"{video.drift.sharpness_ratio:.2f} and {video.drift.delta_e:.1f}" for video in videos)
    return [
        BenchRow(
            label=f"peak memory, {seconds:g} s", ours=peak, theirs=short.peak_mib,
            ratio=peak / short.peak_mib, at_most=1.05, unit="MiB",
            note=f"against {SHORT_SECONDS:g} s; {cpu:.0f} core-seconds per video",
        ),
        BenchRow(
            label="change of sharpness", ours=sharpness_change, at_most=0.15, unit="",
            note=f"last {COMPARED_SECONDS:g} s against first; sharpness ratio and ΔE of each video: {each}",
        ),
        BenchRow(
            label="ΔE of mean colour", ours=max(video.drift.delta_e for video in videos), at_most=3.0,
            unit="", note=f"largest of {len(videos)}",
        ),
        BenchRow(
            label="share of the videos in which an object changes", at_most=1 - MIN_UNCHANGED_SHARE, unit="",
            ours=statistics.mean(video.survival_seconds < seconds - 1 for video in videos),
            note="no change for " + ", ".join(f"{video.survival_seconds:.0f}" for video in videos) + " s",
        ),
    ]  # fmt: skip
