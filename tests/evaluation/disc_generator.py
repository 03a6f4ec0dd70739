"""A generator for tests that any process can load: it draws discs that may or may not fit the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.video_sources import SampleRequest, VideoFormat
from kinema.frames import FrameArray
from tests.evaluation.disc_videos import Disc, constant_path, disc_video, linear_path


@dataclass(frozen=True, kw_only=True)
class DiscGenerator:
    """Draws the first two objects of a prompt as discs that stand or move, depending on the seed."""

    per_process: bool
    batch_size: int = 1

    def load_generator(self) -> DiscGenerator:
        return self

    def fingerprint(self) -> str:
        return "discs"

    def generate(self, requests: Sequence[SampleRequest], video_format: VideoFormat) -> list[FrameArray]:
        return [self._generate_one(request.prompt, request.seed, video_format) for request in requests]

    def _generate_one(self, prompt: str, seed: int, video_format: VideoFormat) -> FrameArray:
        rng = np.random.default_rng([seed, len(prompt)])
        num_frames, width = video_format.num_frames, video_format.width
        discs = []
        for spec in parse_prompt(prompt).objects[:2]:
            x = linear_path(*rng.uniform(10, width - 10, 2), num_frames)
            y = constant_path(float(rng.uniform(20, 40)), num_frames)
            discs.append(Disc(colour=spec.colour, x=x, y=y, radius=6.0))
        return disc_video(*discs, num_frames=num_frames, size=width)
