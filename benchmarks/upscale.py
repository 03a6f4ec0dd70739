"""Upscaling against interpolation: lab videos that the autoencoder decoded, and larger renders of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmarks.harness import BenchRow
from kinema.frames import FrameArray, to_frames, to_model_range
from kinema.media import psnr
from kinema.media.metrics import near_edges, psnr_near_edges
from kinema.models.super_resolution import FACTORS
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.progress import Event, FrameChunk
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.super_resolution import enlarge_events
from kinema.pipeline.upscale import upscale
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip, render_larger
from kinema.simulator.clip_spec import ClipSpec

NETWORK = "super-resolution"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A video against the reference.

    Attributes:
        edge_psnr: near edges of the reference, in dB.
        psnr: in dB.
        flicker_ratio: change from frame to frame near edges, over that of the reference.
    """

    edge_psnr: float
    psnr: float
    flicker_ratio: float


def enlarge(video: FrameArray, factor: int, resample: Image.Resampling) -> UInt8[np.ndarray, "f h2 w2 3"]:
    """A video enlarged by interpolation."""
    size = (factor * video.shape[2], factor * video.shape[1])
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, resample)) for frame in video])


def compute_quality(video: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"]) -> Quality:
    """Compare a video with the reference."""
    chosen = near_edges(reference)[1:]

    def flicker(frames: UInt8[np.ndarray, "f h w 3"]) -> float:
        return float(np.abs(np.diff(frames.astype(np.int16), axis=0))[chosen].mean())

    return Quality(
        edge_psnr=psnr_near_edges(video, reference),
        psnr=psnr(video, reference),
        flicker_ratio=flicker(video) / max(flicker(reference), 1e-6),
    )


def measure_methods(
    pipe: Pipeline, seed: int, *, num_inference_steps: int | None, diffusion: bool
) -> dict[tuple[str, int], Quality]:
    """Upscale one held-out lab video by each method and factor."""
    defaults = pipe.model.sampling_defaults
    width, height = defaults.size
    spec = ClipSpec(
        seed=seed, lab=True, split="test", height=height, width=width,
        num_frames=defaults.num_frames, fps=defaults.fps,
    )  # fmt: skip
    rendered, references = render_larger(spec, FACTORS, range(defaults.num_frames))
    vae = pipe.vae
    decoded = to_frames(vae.decode(vae.encode(to_model_range(rendered))))
    methods: dict[str, Callable[[int], FrameArray]] = {
        "bicubic": lambda factor: enlarge(decoded, factor, Image.Resampling.BICUBIC),
        "Lanczos": lambda factor: enlarge(decoded, factor, Image.Resampling.LANCZOS),
    }
    if diffusion:
        prompt = generate_captions(make_clip(spec, render=False).annotations)[0].text
        request = VideoRequest(prompt=prompt, seed=seed, num_inference_steps=num_inference_steps)
        resolved = pipe.resolve(request)
        methods["diffusion"] = lambda factor: _frames(upscale(pipe.components, resolved, decoded, factor))
    if pipe.components.super_resolution is not None:
        network, total = pipe.components.super_resolution.get(), len(decoded)
        events = [FrameChunk(frames=decoded, done=total, total=total)]
        methods[NETWORK] = lambda factor: _frames(
            enlarge_events(network, iter(events), factor, pipe.components.device)
        )
    return {
        (name, factor): compute_quality(method(factor), references[factor])
        for name, method in methods.items()
        for factor in FACTORS
    }


def _frames(events: Iterable[Event]) -> FrameArray:
    return np.concatenate([event.frames for event in events if isinstance(event, FrameChunk)])


def run_benchmark(
    *,
    model: str = "world",
    num_videos: int = 4,
    num_inference_steps: int | None = None,
    diffusion: bool = False,
) -> list[BenchRow]:
    """Medians over held-out videos.

    Args:
        model: its autoencoder decodes the videos, and it upscales them.
        num_videos: how many.
        num_inference_steps: of upscaling by diffusion.
        diffusion: also upscale by diffusion, in minutes.
    """
    import torch

    pipe = load(model, device="cpu", dtype="float32", memory="high")
    with torch.no_grad():
        videos = [
            measure_methods(pipe, seed, num_inference_steps=num_inference_steps, diffusion=diffusion)
            for seed in range(num_videos)
        ]

    def median(key: tuple[str, int], name: str) -> float:
        return statistics.median(getattr(video[key], name) for video in videos)

    rows: list[BenchRow] = []
    for name, factor in videos[0]:
        if name == "bicubic":
            continue
        is_network = name == NETWORK
        bicubic, own = ("bicubic", factor), (name, factor)
        rows.append(
            BenchRow(
                label=f"x{factor} {name}: PSNR near edges below bicubic",
                ours=median(bicubic, "edge_psnr") - median(own, "edge_psnr"),
                at_most=-2.0 if is_network else None,
                unit="dB",
                note=f"near edges {median(own, 'edge_psnr'):.1f} dB, bicubic "
                f"{median(bicubic, 'edge_psnr'):.1f}; all pixels {median(own, 'psnr'):.1f} dB, bicubic "
                f"{median(bicubic, 'psnr'):.1f}",
            )
        )
        rows.append(
            BenchRow(
                label=f"x{factor} {name}: flicker over the reference's",
                ours=median(own, "flicker_ratio"),
                at_most=1.2 if is_network else None,
                unit="",
                note=f"bicubic {median(bicubic, 'flicker_ratio'):.2f}",
            )
        )
    return rows
