"""`kinema generate` and `kinema estimate`: a video from text and images, and its cost."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema.cli.options import OutputArgs, SamplingArgs
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.cli.run_and_report import CompletedRun
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.request import Keyframe, VideoRequest
    from kinema.pipeline.resolved_request import ResolvedRequest


@dataclass(frozen=True, kw_only=True)
class InputArgs:
    """Images and shots of a request."""

    image: Path | None = None
    """The first frame."""
    last_image: Path | None = None
    """The last frame."""
    keyframe: tuple[str, ...] = ()
    """Images at their times: 2.5:b.png is shown at 2.5 seconds."""
    storyboard: Path | None = None
    """A TOML file of shots, in place of the prompt."""
    loop: bool = False
    """Let the last frame lead into the first."""

    def add_to(self, request: VideoRequest) -> VideoRequest:
        """The request with these inputs.

        Raises:
            UserError: a keyframe or the storyboard can't be parsed.
        """
        request = dataclasses.replace(
            request,
            image=self.image,
            last_image=self.last_image,
            keyframes=tuple(parse_keyframe(text) for text in self.keyframe),
            loop=self.loop,
        )
        if self.storyboard is None:
            return request
        from kinema.pipeline.storyboard import read_storyboard

        board = read_storyboard(self.storyboard)
        no_length = request.seconds is None and request.num_frames is None
        seconds = board.seconds if no_length else request.seconds
        return dataclasses.replace(request, storyboard=board.shots, seconds=seconds)


def parse_keyframe(text: str) -> Keyframe:
    """Parse a keyframe such as `2.5:b.png`.

    Raises:
        UserError: it has another form.
    """
    from kinema.pipeline.request import Keyframe

    time, colon, name = text.partition(":")
    try:
        seconds = float(time)
    except ValueError:
        seconds = float("nan")
    if not colon or not name or not 0 <= seconds < float("inf"):
        raise UserError(f"{text!r} is not a keyframe; write seconds:image, for example 2.5:b.png")
    return Keyframe(seconds=seconds, image=Path(name))


@dataclass(frozen=True, kw_only=True)
class Generate(OutputArgs, InputArgs, SamplingArgs):
    """Generate a video from text and images."""

    prompt: Annotated[str, tyro.conf.Positional] = ""
    """What the video shows; empty with a storyboard."""
    count: int = 1
    """Number of videos, with consecutive seeds."""
    best_of: int = 1
    """Generate this many, and keep the one that shows most of the prompt; for lab prompts."""
    preview: Path | None = None
    """A second file, which can be played while the video is generated."""

    def run(self) -> None:
        """Generate and write the video or videos."""
        from kinema.cli.run_and_report import (
            check_output_format,
            print_warnings,
            report_errors,
            warn_unused_lora_modules,
        )

        with report_errors(self):
            check_output_format(self.out)
            self._validate()
            pipe = self.load_pipeline()
            request = self.add_to(self.to_request(self.prompt))
            seeds = range(self.seed, self.seed + max(self.count, self.best_of))
            requests = [pipe.resolve(dataclasses.replace(request, seed=seed)) for seed in seeds]
            print_warnings(pipe, requests[0], self)
            warn_unused_lora_modules(requests[0], self)
            if self.best_of > 1:
                self._generate_best(pipe, requests)
            else:
                self._generate_each(pipe, requests)

    def _validate(self) -> None:
        if self.storyboard is None and not self.prompt.strip():
            raise UserError('the prompt is empty; give one: kinema generate "a red ball rolls to the left"')
        if self.count < 1 or self.best_of < 1:
            raise UserError("count and best-of must be 1 or more")
        if self.count > 1 and self.best_of > 1:
            raise UserError("count writes all videos and best-of writes one of them; give one of the two")
        if self.best_of > 1 and self.storyboard is not None:
            raise UserError("a storyboard has no single prompt to score its videos by; leave out best-of")

    def _generate_each(self, pipe: Pipeline, requests: list[ResolvedRequest]) -> None:
        from kinema.cli.run_and_report import print_summary, run_request

        for number, resolved in enumerate(requests, 1):
            path = self.out if self.count == 1 else numbered_path(self.out, number)
            output = dataclasses.replace(self, out=path)
            run = run_request(pipe, resolved, output, preview=self.preview)
            print_summary(output, run, resolved, note=self._loop_seam_note(run))

    def _generate_best(self, pipe: Pipeline, requests: list[ResolvedRequest]) -> None:
        from kinema.cli.run_and_report import emit_event, print_summary, run_request
        from kinema.evaluation.lab_scores import score_prompt
        from kinema.evaluation.prompt_parser import parse_prompt
        from kinema.pipeline.video import GeneratedVideo

        if self.upscale > 1 or self.preview is not None or any(resolved.is_streamed for resolved in requests):
            raise UserError("best-of needs short videos without upscale and preview; leave out best-of")
        prompts = [one.rewritten_prompts.get(self.prompt, self.prompt) for one in requests]
        # A prompt that can't be scored is an error before the work.
        parse_prompt(prompts[0])
        best: tuple[float, GeneratedVideo, CompletedRun, ResolvedRequest] | None = None
        for resolved, prompt in zip(requests, prompts, strict=True):
            run = run_request(pipe, resolved, self, write=False)
            if run.frames is None:
                raise RuntimeError("a video that is not streamed came without all its frames")
            score = score_prompt(prompt, run.frames, resolved.fps)
            emit_event(self, "score", seed=resolved.seed, accuracy=score.accuracy, failed=score.failed)
            if not self.json:
                failed = f", failed: {', '.join(score.failed)}" if score.failed else ""
                print(f"seed {resolved.seed}: {score.accuracy:.0%}{failed}")
            if best is None or score.accuracy > best[0]:
                video = GeneratedVideo(
                    frames=run.frames,
                    fps=resolved.fps,
                    tail_latents=run.tail_latents,
                    metadata=pipe.metadata(resolved, run.frames),
                )
                best = score.accuracy, video, run, resolved
        if best is not None:
            accuracy, video, run, resolved = best
            if pipe.is_main:
                video.save(self.out)
            note = f"best of {self.best_of}: shows {accuracy:.0%} of what the prompt states"
            print_summary(self, run, resolved, note=note)

    def _loop_seam_note(self, run: CompletedRun) -> str:
        if not self.loop or run.frames is None:
            return ""
        from kinema.evaluation.frame_statistics import loop_seam_ratio

        return f"loop seam {loop_seam_ratio(run.frames):.2f} (last to first frame over the median)"


def numbered_path(path: Path, number: int) -> Path:
    """`video-2.mp4` for the second `video.mp4`."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")
