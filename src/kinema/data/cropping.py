"""Square crops of videos for training the autoencoder, on the CPU or from a cache on the device.

With a set probability a crop lies around an object pixel: one that differs from the usual colour of its
row, or that changes over time. Crops of an empty floor teach the autoencoder little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from kinema.data import rng
from kinema.data.dataset import VideoDataset
from kinema.frames import FrameArray, videos_to_model_range

OBJECT_THRESHOLD = 60
"""An object pixel differs by more than this from the median colour of its row, in one channel of 0 to 255."""
MOVING_PIXEL_SHARE = 0.5
"""Share of the object crops that lie around a moving pixel, where the video has one."""
OBJECT_PIXELS_PER_VIDEO = 64
"""Object pixels that `DeviceVideoCache` keeps of each video."""


def crop_origin(
    frames: FrameArray, side: int, object_crop_p: float, generator: np.random.Generator
) -> tuple[int, int]:
    """Draw the top left corner of a square crop.

    Args:
        frames: of one video, at least `side` high and wide.
        side: of the crop, in pixels.
        object_crop_p: probability that the crop lies around an object pixel, where there is one.
        generator: of the random numbers.

    Returns:
        Row and column.
    """
    _, height, width, _ = frames.shape
    y, x = int(generator.integers(0, height)), int(generator.integers(0, width))
    if generator.random() < object_crop_p:
        frame = frames[int(generator.integers(len(frames)))].astype(np.int16)
        # The usual colour is taken row by row, because floors fade into backgrounds.
        difference = np.abs(frame - np.median(frame, axis=1, keepdims=True)).max(-1)
        rows, columns = np.nonzero(difference > OBJECT_THRESHOLD)
        if generator.random() < MOVING_PIXEL_SHARE:
            # Motion blurs first: several frames share a latent frame, which is enough for a static object.
            change = np.abs(frames[-1].astype(np.int16) - frames[0])
            middle_change = np.abs(frames[len(frames) // 2].astype(np.int16) - frames[0])
            moving = np.nonzero(np.maximum(change, middle_change).max(-1) > OBJECT_THRESHOLD)
            if len(moving[0]):
                rows, columns = moving
        if len(rows):
            pick = int(generator.integers(len(rows)))
            y = int(rows[pick]) + int(generator.integers(-side // 3, side // 3 + 1))
            x = int(columns[pick]) + int(generator.integers(-side // 3, side // 3 + 1))
    return min(max(y - side // 2, 0), height - side), min(max(x - side // 2, 0), width - side)


def random_crop(
    frames: FrameArray, side: int, object_crop_p: float, generator: np.random.Generator
) -> UInt8[np.ndarray, "f s s 3"]:
    """Crop all frames at one `crop_origin`, which documents the arguments."""
    top, left = crop_origin(frames, side, object_crop_p, generator)
    return frames[:, top : top + side, left : left + side]


def crop_with_latents(
    frames: FrameArray,
    latents: Float[Tensor, "c f2 h2 w2"],
    side: int,
    object_crop_p: float,
    generator: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "f s s 3"], Float[Tensor, "c f2 s2 s2"]]:
    """Crop a video and its latents to the same square.

    The origin is a `crop_origin`, rounded down to a multiple of the spatial stride. `side` is such a
    multiple.
    """
    stride = frames.shape[1] // latents.shape[2]
    top, left = (offset // stride for offset in crop_origin(frames, side, object_crop_p, generator))
    latent_side = side // stride
    pixels = frames[:, top * stride :, left * stride :][:, :side, :side]
    return pixels, latents[..., top : top + latent_side, left : left + latent_side]


def to_model_input(
    videos: UInt8[np.ndarray, "b f h w 3"], device: torch.device
) -> Float[Tensor, "b 3 f h w"]:
    """Upload uint8 videos to the device and convert them there to floats in [-1, 1]."""
    return videos_to_model_range(torch.from_numpy(np.array(videos)).to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceVideoCache:
    """A dataset on the device, where a batch of crops is one gather and the CPU does nothing.

    Attributes:
        pixels: all videos.
        object_pixels: row and column of object pixels of each video, on the CPU; random pixels for videos
            without objects.
    """

    pixels: UInt8[Tensor, "n f h w 3"]
    object_pixels: Int[Tensor, "n k 2"]

    @classmethod
    def from_dataset(cls, dataset: VideoDataset, device: torch.device, *, seed: int) -> DeviceVideoCache:
        """Load a dataset; the object pixels of a video are drawn from (seed, video)."""
        pixels = torch.from_numpy(np.stack([dataset.frames(i) for i in range(len(dataset))])).to(device)
        object_pixels = torch.stack([_sample_object_pixels(video, seed, i) for i, video in enumerate(pixels)])
        return cls(pixels=pixels, object_pixels=object_pixels)

    def full_videos(self, indices: list[int]) -> Float[Tensor, "b 3 f h w"]:
        """Return whole videos in [-1, 1]."""
        return videos_to_model_range(self.pixels[torch.tensor(indices, device=self.pixels.device)])

    def crops(
        self, indices: list[int], uniforms: Float[Tensor, "b 4"], side: int, object_crop_p: float
    ) -> Float[Tensor, "b 3 f s s"]:
        """Return square crops in [-1, 1].

        Args:
            indices: of the videos.
            uniforms: random numbers in [0, 1) on the CPU, for each video: whether the crop lies around an
                object pixel, around which one, and two for the offset.
            side: of the crops, in pixels.
            object_crop_p: probability that a crop lies around an object pixel.
        """
        num_frames, height, width = self.pixels.shape[1:4]
        videos = torch.tensor(indices)
        size = torch.tensor([height, width])
        chosen = self.object_pixels[videos, (uniforms[:, 1] * self.object_pixels.shape[1]).long()]
        near_object = chosen + ((uniforms[:, 2:] * 2 - 1) * side / 3).long()
        anywhere = (uniforms[:, 2:] * size).long()
        centre = torch.where((uniforms[:, :1] < object_crop_p), near_object, anywhere)
        origin = (centre - side // 2).clamp(min=torch.zeros(2, dtype=torch.long), max=size - side)
        device = self.pixels.device
        offsets = torch.arange(side)
        rows = (origin[:, :1] + offsets).to(device)[:, None, :, None]
        columns = (origin[:, 1:] + offsets).to(device)[:, None, None, :]
        video_index = videos.to(device)[:, None, None, None]
        frame_index = torch.arange(num_frames, device=device)[None, :, None, None]
        return videos_to_model_range(self.pixels[video_index, frame_index, rows, columns])


def _sample_object_pixels(video: UInt8[Tensor, "f h w 3"], seed: int, index: int) -> Int[Tensor, "k 2"]:
    """Draw object pixels of one random frame and, where something moves, moving pixels."""
    generator = rng.generator(seed, "spots", index)
    frame = video[int(torch.randint(len(video), (1,), generator=generator))].float()
    row_colours = frame.median(dim=1, keepdim=True).values
    found = ((frame - row_colours).abs().amax(-1) > OBJECT_THRESHOLD).nonzero().cpu()
    first, middle, last = (video[i].float() for i in (0, len(video) // 2, -1))
    change = torch.maximum((last - first).abs(), (middle - first).abs())
    moving = (change.amax(-1) > OBJECT_THRESHOLD).nonzero().cpu()
    if len(moving) and len(found):
        num_moving = int(MOVING_PIXEL_SHARE * OBJECT_PIXELS_PER_VIDEO)
        parts = (moving, num_moving), (found, OBJECT_PIXELS_PER_VIDEO - num_moving)
        return torch.cat(
            [pixels[torch.randint(len(pixels), (count,), generator=generator)] for pixels, count in parts]
        )
    if not len(found):
        height, width = frame.shape[:2]
        uniforms = torch.rand(OBJECT_PIXELS_PER_VIDEO, 2, generator=generator)
        return (uniforms * torch.tensor([height, width])).long()
    return found[torch.randint(len(found), (OBJECT_PIXELS_PER_VIDEO,), generator=generator)]
