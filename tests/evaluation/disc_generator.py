"""A model for the scorecard's tests that any process can make: it draws, by its seed, what may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.video_sources import FrameArray, SampleRequest, VideoFormat
from tests.evaluation.disc_videos import Disc, constant_path, disc_video, linear_path


@dataclass(frozen=True, kw_only=True)
class DiscGenerator:
    """Draws the first two things of a prompt as discs that go or stand somewhere."""

    per_process: bool
    batch_size: int = 1

    def load_generator(self) -> DiscGenerator:
        return self

    def fingerprint(self) -> str:
        return "drawing"

    def generate(self, requests: Sequence[SampleRequest], video_format: VideoFormat) -> list[FrameArray]:
        return [self._generate_one(order.prompt, order.seed, video_format) for order in requests]

    def _generate_one(self, prompt: str, seed: int, video_format: VideoFormat) -> FrameArray:
        rng = np.random.default_rng([seed, len(prompt)])
        discs = []
        for thing in parse_prompt(prompt).objects[:2]:
            x = linear_path(*rng.uniform(10, video_format.width - 10, 2), video_format.num_frames)
            discs.append(
                Disc(
                    colour=thing.colour,
                    x=x,
                    y=constant_path(float(rng.uniform(20, 40)), video_format.num_frames),
                    radius=6.0,
                )
            )
        return disc_video(*discs, frames=video_format.num_frames, size=video_format.width)
