"""Pieces of films for the autoencoder: squares where something is, cut on the processor or on the GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from kinema.data import rng
from kinema.data.dataset import VideoDataset

OBJECT_THRESHOLD = 60
"""How far, of 255, a pixel differs from the usual colour of its row to count as a thing."""
MOVING_PIXEL_SHARE = 0.5
"""Share of the pixels that stand out which is drawn among those that change, where a film has such."""
OBJECT_PIXELS_PER_VIDEO = 64
"""Pixels that stand out, kept of each film that lies on the device."""


def crop_origin(
    frames: UInt8[np.ndarray, "f h w 3"], side: int, object_crop_p: float, generator: np.random.Generator
) -> tuple[int, int]:
    """Where a square crop begins, with probability `object_crop_p` round a pixel that stands out, or that changes."""
    _, height, width, _ = frames.shape
    y, x = int(generator.integers(0, height)), int(generator.integers(0, width))
    if generator.random() < object_crop_p:
        frame = frames[int(generator.integers(len(frames)))].astype(np.int16)
        # What stands out differs from the frame's usual colour, row by row (floors fade into backdrops).
        away = np.abs(frame - np.median(frame, axis=1, keepdims=True)).max(-1)
        rows, columns = np.nonzero(away > OBJECT_THRESHOLD)
        if generator.random() < MOVING_PIXEL_SHARE:
            # What moves blurs first: four frames share a latent frame, and a still thing needs but one.
            change = np.abs(frames[-1].astype(np.int16) - frames[0])
            middle = np.abs(frames[len(frames) // 2].astype(np.int16) - frames[0])
            moved = np.nonzero(np.maximum(change, middle).max(-1) > OBJECT_THRESHOLD)
            if len(moved[0]):
                rows, columns = moved
        if len(rows):
            pick = int(generator.integers(len(rows)))
            y = int(rows[pick]) + int(generator.integers(-side // 3, side // 3 + 1))
            x = int(columns[pick]) + int(generator.integers(-side // 3, side // 3 + 1))
    return min(max(y - side // 2, 0), height - side), min(max(x - side // 2, 0), width - side)


def random_crop(
    frames: UInt8[np.ndarray, "f h w 3"], side: int, object_crop_p: float, generator: np.random.Generator
) -> UInt8[np.ndarray, "f s s 3"]:
    """A square crop of all frames, at a `crop_origin`."""
    top, left = crop_origin(frames, side, object_crop_p, generator)
    return frames[:, top : top + side, left : left + side]


def crop_with_latents(
    frames: UInt8[np.ndarray, "f h w 3"],
    latents: Float[Tensor, "c f2 h2 w2"],
    side: int,
    object_crop_p: float,
    generator: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "f s s 3"], Float[Tensor, "c f2 s2 s2"]]:
    """A square crop of a film and of its latents: near a `crop_origin`, where a latent begins."""
    stride = frames.shape[1] // latents.shape[2]
    top, left = (at // stride for at in crop_origin(frames, side, object_crop_p, generator))
    few = side // stride
    there = frames[:, top * stride :, left * stride :][:, :side, :side]
    return there, latents[..., top : top + few, left : left + few]


def to_model_input(
    videos: UInt8[np.ndarray, "b f h w 3"], device: torch.device
) -> Float[Tensor, "b 3 f h w"]:
    """uint8 films as the models take them, in [-1, 1]."""
    return _to_model_range(torch.from_numpy(np.array(videos)).to(device))


def _to_model_range(videos: UInt8[Tensor, "b f h w 3"]) -> Float[Tensor, "b 3 f h w"]:
    return videos.float().permute(0, 4, 1, 2, 3) / 127.5 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceVideoCache:
    """Films that lie on the device, where a batch of crops is one gathering and the processor has no part."""

    pixels: UInt8[Tensor, "n f h w 3"]
    object_pixels: Int[Tensor, "n k 2"]
    """Rows and columns that stand out, on the CPU; where nothing does, anywhere."""

    @classmethod
    def from_dataset(cls, dataset: VideoDataset, device: torch.device, *, seed: int) -> DeviceVideoCache:
        """All films; the spots are of one frame each, drawn from (seed, film)."""
        pixels = torch.from_numpy(np.stack([dataset.frames(i) for i in range(len(dataset))])).to(device)
        spots = torch.stack([_sample_object_pixels(film, seed, index) for index, film in enumerate(pixels)])
        return cls(pixels=pixels, object_pixels=spots)

    def full_videos(self, indices: list[int]) -> Float[Tensor, "b 3 f h w"]:
        """Films in [-1, 1]."""
        return _to_model_range(self.pixels[torch.tensor(indices, device=self.pixels.device)])

    def crops(
        self, indices: list[int], uniforms: Float[Tensor, "b 4"], side: int, object_crop_p: float
    ) -> Float[Tensor, "b 3 f s s"]:
        """Square crops in [-1, 1], with probability `object_crop_p` round a pixel that stands out.

        Args:
            indices: the films.
            uniforms: uniform numbers in [0, 1), on the CPU: whether near, which spot, how far down and across.
            side: of the crops.
            object_crop_p: the probability.
        """
        frames, height, width = self.pixels.shape[1:4]
        films = torch.tensor(indices)
        size = torch.tensor([height, width])
        spot = self.object_pixels[films, (uniforms[:, 1] * self.object_pixels.shape[1]).long()]
        around = spot + ((uniforms[:, 2:] * 2 - 1) * side / 3).long()
        anywhere = (uniforms[:, 2:] * size).long()
        middle = torch.where((uniforms[:, :1] < object_crop_p), around, anywhere)
        corner = (middle - side // 2).clamp(min=torch.zeros(2, dtype=torch.long), max=size - side)
        device = self.pixels.device
        reach = torch.arange(side)
        rows = (corner[:, :1] + reach).to(device)[:, None, :, None]
        columns = (corner[:, 1:] + reach).to(device)[:, None, None, :]
        which = films.to(device)[:, None, None, None]
        when = torch.arange(frames, device=device)[None, :, None, None]
        return _to_model_range(self.pixels[which, when, rows, columns])


def _sample_object_pixels(video: UInt8[Tensor, "f h w 3"], seed: int, index: int) -> Int[Tensor, "k 2"]:
    place = rng.generator(seed, "spots", index)
    frame = video[int(torch.randint(len(video), (1,), generator=place))].float()
    usual = frame.median(dim=1, keepdim=True).values
    found = ((frame - usual).abs().amax(-1) > OBJECT_THRESHOLD).nonzero().cpu()
    first, middle, last = (video[i].float() for i in (0, len(video) // 2, -1))
    change = torch.maximum((last - first).abs(), (middle - first).abs())
    moved = (change.amax(-1) > OBJECT_THRESHOLD).nonzero().cpu()
    if len(moved) and len(found):
        count = int(MOVING_PIXEL_SHARE * OBJECT_PIXELS_PER_VIDEO)
        some = (moved, count), (found, OBJECT_PIXELS_PER_VIDEO - count)
        return torch.cat([each[torch.randint(len(each), (n,), generator=place)] for each, n in some])
    if not len(found):
        height, width = frame.shape[:2]
        return (
            torch.rand(OBJECT_PIXELS_PER_VIDEO, 2, generator=place) * torch.tensor([height, width])
        ).long()
    return found[torch.randint(len(found), (OBJECT_PIXELS_PER_VIDEO,), generator=place)]
