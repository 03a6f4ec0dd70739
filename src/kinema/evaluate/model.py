"""A model that films prompts, as the scorecard wants it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kinema.evaluate.makers import Frames
from kinema.generate.pipeline import Pipeline, load


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineGenerator:
    """Films from a pipeline, one after another: the noise of each comes from its own seed alone."""

    pipeline: Pipeline
    fps: float

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], frames: int, size: tuple[int, int]
    ) -> Iterator[Frames]:
        """One film for each prompt and seed."""
        for prompt, seed in zip(prompts, seeds, strict=True):
            film = self.pipeline.generate(prompt, seed=seed, frames=frames, size=size, fps=self.fps)
            yield film.frames


def generator_of(name: str, fps: float) -> PipelineGenerator:
    """Load a model by its folder or name.

    Raises:
        UserError: there is none.
    """
    return PipelineGenerator(pipeline=load(name), fps=fps)
