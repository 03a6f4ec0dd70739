"""Refinement against interpolation: lab films at half size made whole again, measured on the simulator's."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmarks.harness import BenchRow
from benchmarks.long_videos import sharpness
from kinema.media import psnr
from kinema.pipeline.decoder import FrameChunk
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.resolve import resolve_request
from kinema.pipeline.upscale import UpscaleConfig, upscale
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import ClipSpec, make_clip


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A film against the true one."""

    psnr: float
    """dB."""
    sharpness_ratio: float
    """Ratio to the true film's."""


def upsample_2x(
    video: UInt8[np.ndarray, "f h w 3"], resample: Image.Resampling
) -> UInt8[np.ndarray, "f h2 w2 3"]:
    """Twice as high and wide by an interpolation."""
    size = (2 * video.shape[2], 2 * video.shape[1])
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, resample)) for frame in video])


def downsample_2x(video: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f h2 w2 3"]:
    """Half as high and wide, by the mean of each square."""
    f, h, w, c = video.shape
    return video.reshape(f, h // 2, 2, w // 2, 2, c).mean((2, 4)).round().astype(np.uint8)


def compute_quality(video: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"]) -> Quality:
    """How near a film is to the true one."""
    return Quality(
        psnr=psnr(video, reference), sharpness_ratio=sharpness(video) / max(sharpness(reference), 1e-6)
    )


def measure_methods(
    pipe: Pipeline, seed: int, *, num_inference_steps: int, upscale_config: UpscaleConfig
) -> dict[str, Quality]:
    """A held-out lab film through each way of making it twice as large.

    `autoencoder` is the true film encoded and decoded: what no refinement can exceed.
    """
    from kinema.pipeline.conditioning import to_model_range
    from kinema.pipeline.video import to_frames

    recipe = pipe.model.sampling_defaults
    width, height = recipe.size
    spec = ClipSpec(
        seed=seed, lab=True, split="test", height=2 * height, width=2 * width, num_frames=recipe.num_frames,
        fps=recipe.fps,
    )  # fmt: skip
    clip = make_clip(spec)
    assert clip.frames is not None
    true, low = clip.frames, downsample_2x(clip.frames)
    wish = VideoRequest(
        prompt=generate_captions(clip.annotations)[0].text, seed=seed, num_inference_steps=num_inference_steps
    )
    parts = upscale(pipe, resolve_request(pipe.model, wish), low, 2, upscale_config)
    made = np.concatenate([part.frames for part in parts if isinstance(part, FrameChunk)])
    vae = pipe.vae
    ways = {
        "bicubic": upsample_2x(low, Image.Resampling.BICUBIC),
        "Lanczos": upsample_2x(low, Image.Resampling.LANCZOS),
        "refined": made,
        "autoencoder": to_frames(vae.decode(vae.encode(to_model_range(true)))),
    }
    return {name: compute_quality(film, true) for name, film in ways.items()}


def run_benchmark(
    *, model: str = "world", num_videos: int = 4, num_inference_steps: int = 20, sigma: float = 0.4
) -> list[BenchRow]:
    """Medians over held-out films: refined in windows and in one piece, from pixels and from latents."""
    import torch

    pipe = load(model, device="cpu", dtype="float32", memory="high")
    found: list[BenchRow] = []
    for windowed, upsample in ((True, "pixels"), (False, "pixels"), (True, "latents")):
        refinement = UpscaleConfig(sigma=sigma, tiled=windowed, upsample=upsample)
        with torch.no_grad():
            each = [
                measure_methods(
                    pipe, seed, num_inference_steps=num_inference_steps, upscale_config=refinement
                )
                for seed in range(num_videos)
            ]

        def middle(name: str, kind: str, each: list[dict[str, Quality]] = each) -> float:
            return statistics.median(getattr(one[name], kind) for one in each)

        name = f"{'windows' if windowed else 'one piece'}, from {upsample}"
        others = ", ".join(
            f"{way} {middle(way, 'psnr'):.1f} dB and {middle(way, 'sharpness'):.2f}"
            for way in ("bicubic", "Lanczos", "autoencoder")
        )
        found.append(
            BenchRow(
                label=f"loss of PSNR against Lanczos, {name}",
                ours=middle("Lanczos", "psnr") - middle("refined", "psnr"), at_most=0.0, unit="dB",
                note=f"refined {middle('refined', 'psnr'):.1f} dB and sharpness "
                f"{middle('refined', 'sharpness'):.2f} of the true; {others}",
            )
        )  # fmt: skip
    return found
