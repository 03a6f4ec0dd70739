"""Pieces of films for the autoencoder: squares where something is, cut on the processor or on the GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from kinema.train import chance
from kinema.train.films import Films

STANDS_OUT = 60
"""How far, of 255, a pixel differs from the usual colour of its row to count as a thing."""
MOVING = 0.5
"""Share of the pixels that stand out which is drawn among those that change, where a film has such."""
SPOTS = 64
"""Pixels that stand out, kept of each film that lies on the device."""


def corner(
    frames: UInt8[np.ndarray, "f h w 3"], side: int, near: float, draw: np.random.Generator
) -> tuple[int, int]:
    """Where a square crop begins, with probability `near` round a pixel that stands out, or that changes."""
    _, height, width, _ = frames.shape
    y, x = int(draw.integers(0, height)), int(draw.integers(0, width))
    if draw.random() < near:
        frame = frames[int(draw.integers(len(frames)))].astype(np.int16)
        # What stands out differs from the frame's usual colour, row by row (floors fade into backdrops).
        away = np.abs(frame - np.median(frame, axis=1, keepdims=True)).max(-1)
        rows, columns = np.nonzero(away > STANDS_OUT)
        if draw.random() < MOVING:
            # What moves blurs first: four frames share a latent frame, and a still thing needs but one.
            change = np.abs(frames[-1].astype(np.int16) - frames[0])
            middle = np.abs(frames[len(frames) // 2].astype(np.int16) - frames[0])
            moved = np.nonzero(np.maximum(change, middle).max(-1) > STANDS_OUT)
            if len(moved[0]):
                rows, columns = moved
        if len(rows):
            pick = int(draw.integers(len(rows)))
            y = int(rows[pick]) + int(draw.integers(-side // 3, side // 3 + 1))
            x = int(columns[pick]) + int(draw.integers(-side // 3, side // 3 + 1))
    return min(max(y - side // 2, 0), height - side), min(max(x - side // 2, 0), width - side)


def cropped(
    frames: UInt8[np.ndarray, "f h w 3"], side: int, near: float, draw: np.random.Generator
) -> UInt8[np.ndarray, "f s s 3"]:
    """A square crop of all frames, at a `corner`."""
    top, left = corner(frames, side, near, draw)
    return frames[:, top : top + side, left : left + side]


def cropped_alike(
    frames: UInt8[np.ndarray, "f h w 3"],
    latents: Float[Tensor, "c f2 h2 w2"],
    side: int,
    near: float,
    draw: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "f s s 3"], Float[Tensor, "c f2 s2 s2"]]:
    """A square crop of a film and of its latents: near a `corner`, where a latent begins."""
    stride = frames.shape[1] // latents.shape[2]
    top, left = (at // stride for at in corner(frames, side, near, draw))
    few = side // stride
    there = frames[:, top * stride :, left * stride :][:, :side, :side]
    return there, latents[..., top : top + few, left : left + few]


def as_input(films: UInt8[np.ndarray, "b f h w 3"], device: torch.device) -> Float[Tensor, "b 3 f h w"]:
    """uint8 films as the models take them, in [-1, 1]."""
    return _scaled(torch.from_numpy(np.array(films)).to(device))


def _scaled(films: UInt8[Tensor, "b f h w 3"]) -> Float[Tensor, "b 3 f h w"]:
    return films.float().permute(0, 4, 1, 2, 3) / 127.5 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidentFilms:
    """Films that lie on the device, where a batch of crops is one gathering and the processor has no part."""

    pixels: UInt8[Tensor, "n f h w 3"]
    spots: Int[Tensor, "n k 2"]
    """Rows and columns that stand out, on the CPU; where nothing does, anywhere."""

    @classmethod
    def of(cls, films: Films, device: torch.device, *, seed: int) -> ResidentFilms:
        """All films; the spots are of one frame each, drawn from (seed, film)."""
        pixels = torch.from_numpy(np.stack([films.frames(i) for i in range(len(films))])).to(device)
        spots = torch.stack([_spots(film, seed, index) for index, film in enumerate(pixels)])
        return cls(pixels=pixels, spots=spots)

    def whole(self, chosen: list[int]) -> Float[Tensor, "b 3 f h w"]:
        """Films in [-1, 1]."""
        return _scaled(self.pixels[torch.tensor(chosen, device=self.pixels.device)])

    def crops(
        self, chosen: list[int], picks: Float[Tensor, "b 4"], side: int, near: float
    ) -> Float[Tensor, "b 3 f s s"]:
        """Square crops in [-1, 1], with probability `near` round a pixel that stands out.

        Args:
            chosen: the films.
            picks: uniform numbers in [0, 1), on the CPU: whether near, which spot, how far down and across.
            side: of the crops.
            near: the probability.
        """
        frames, height, width = self.pixels.shape[1:4]
        films = torch.tensor(chosen)
        size = torch.tensor([height, width])
        spot = self.spots[films, (picks[:, 1] * self.spots.shape[1]).long()]
        around = spot + ((picks[:, 2:] * 2 - 1) * side / 3).long()
        anywhere = (picks[:, 2:] * size).long()
        middle = torch.where((picks[:, :1] < near), around, anywhere)
        corner = (middle - side // 2).clamp(min=torch.zeros(2, dtype=torch.long), max=size - side)
        device = self.pixels.device
        reach = torch.arange(side)
        rows = (corner[:, :1] + reach).to(device)[:, None, :, None]
        columns = (corner[:, 1:] + reach).to(device)[:, None, None, :]
        which = films.to(device)[:, None, None, None]
        when = torch.arange(frames, device=device)[None, :, None, None]
        return _scaled(self.pixels[which, when, rows, columns])


def _spots(film: UInt8[Tensor, "f h w 3"], seed: int, index: int) -> Int[Tensor, "k 2"]:
    place = chance.generator(seed, "spots", index)
    frame = film[int(torch.randint(len(film), (1,), generator=place))].float()
    usual = frame.median(dim=1, keepdim=True).values
    found = ((frame - usual).abs().amax(-1) > STANDS_OUT).nonzero().cpu()
    first, middle, last = (film[i].float() for i in (0, len(film) // 2, -1))
    change = torch.maximum((last - first).abs(), (middle - first).abs())
    moved = (change.amax(-1) > STANDS_OUT).nonzero().cpu()
    if len(moved) and len(found):
        count = int(MOVING * SPOTS)
        some = (moved, count), (found, SPOTS - count)
        return torch.cat([each[torch.randint(len(each), (n,), generator=place)] for each, n in some])
    if not len(found):
        height, width = frame.shape[:2]
        return (torch.rand(SPOTS, 2, generator=place) * torch.tensor([height, width])).long()
    return found[torch.randint(len(found), (SPOTS,), generator=place)]
