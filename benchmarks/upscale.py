"""Upscaling by 2 against interpolation, on lab videos rendered at twice the size of the model."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmarks.harness import BenchRow
from kinema.evaluation.frame_statistics import sharpness
from kinema.frames import to_frames, to_model_range
from kinema.media import psnr
from kinema.pipeline.pipeline import Pipeline, load
from kinema.pipeline.progress import FrameChunk
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.upscale import UpscaleConfig, upscale
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A video against the reference.

    Attributes:
        psnr: in dB.
        sharpness_ratio: sharpness over that of the reference.
    """

    psnr: float
    sharpness_ratio: float


def upsample_2x(
    video: UInt8[np.ndarray, "f h w 3"], resample: Image.Resampling
) -> UInt8[np.ndarray, "f h2 w2 3"]:
    """Twice the height and width by interpolation."""
    size = (2 * video.shape[2], 2 * video.shape[1])
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, resample)) for frame in video])


def downsample_2x(video: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f h2 w2 3"]:
    """Half the height and width by averaging squares of 2 x 2 pixels."""
    f, h, w, c = video.shape
    return video.reshape(f, h // 2, 2, w // 2, 2, c).mean((2, 4)).round().astype(np.uint8)


def compute_quality(video: UInt8[np.ndarray, "f h w 3"], reference: UInt8[np.ndarray, "f h w 3"]) -> Quality:
    """Compare a video with the reference."""
    return Quality(
        psnr=psnr(video, reference), sharpness_ratio=sharpness(video) / max(sharpness(reference), 1e-6)
    )


def measure_methods(
    pipe: Pipeline, seed: int, *, num_inference_steps: int, upscale_config: UpscaleConfig
) -> dict[str, Quality]:
    """Upscale one held-out lab video by each method.

    `autoencoder` is the reference encoded and decoded, an upper limit of what the model can reach.
    """
    defaults = pipe.model.sampling_defaults
    width, height = defaults.size
    clip = make_clip(
        ClipSpec(
            seed=seed, lab=True, split="test", height=2 * height, width=2 * width,
            num_frames=defaults.num_frames, fps=defaults.fps,
        )
    )  # fmt: skip
    assert clip.frames is not None
    reference, low = clip.frames, downsample_2x(clip.frames)
    request = VideoRequest(
        prompt=generate_captions(clip.annotations)[0].text, seed=seed, num_inference_steps=num_inference_steps
    )
    events = upscale(pipe.components, pipe.resolve(request), low, 2, upscale_config)
    upscaled = np.concatenate([event.frames for event in events if isinstance(event, FrameChunk)])
    vae = pipe.vae
    videos = {
        "bicubic": upsample_2x(low, Image.Resampling.BICUBIC),
        "Lanczos": upsample_2x(low, Image.Resampling.LANCZOS),
        "upscaled": upscaled,
        "autoencoder": to_frames(vae.decode(vae.encode(to_model_range(reference)))),
    }
    return {method: compute_quality(video, reference) for method, video in videos.items()}


def run_benchmark(
    *, model: str = "world", num_videos: int = 4, num_inference_steps: int = 20, sigma: float = 0.4
) -> list[BenchRow]:
    """Medians over held-out videos: in tiles and in one piece, from upsampled pixels and latents."""
    import torch

    pipe = load(model, device="cpu", dtype="float32", memory="high")
    rows: list[BenchRow] = []
    for tiled, upsample in ((True, "pixels"), (False, "pixels"), (True, "latents")):
        config = UpscaleConfig(sigma=sigma, tiled=tiled, upsample=upsample)
        with torch.no_grad():
            videos = [
                measure_methods(pipe, seed, num_inference_steps=num_inference_steps, upscale_config=config)
                for seed in range(num_videos)
            ]
        median = {
            method: Quality(
                psnr=statistics.median(video[method].psnr for video in videos),
                sharpness_ratio=statistics.median(video[method].sharpness_ratio for video in videos),
            )
            for method in videos[0]
        }
        note = ", ".join(
            f"{method} {quality.psnr:.1f} dB, sharpness {quality.sharpness_ratio:.2f}"
            for method, quality in median.items()
        )
        rows.append(
            BenchRow(
                label=f"PSNR below Lanczos, {'tiles' if tiled else 'one piece'}, from {upsample}",
                ours=median["Lanczos"].psnr - median["upscaled"].psnr,
                at_most=0.0,
                unit="dB",
                note=note,
            )
        )
    return rows
