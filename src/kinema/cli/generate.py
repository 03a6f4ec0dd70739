"""`kinema generate` and `kinema plan`: a film from words and pictures, and what it would cost."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema.cli.options import GenerationArgs, OutputArgs
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.cli.run_and_report import FinishedVideo
    from kinema.pipeline.cost import CostEstimate
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.resolve import Keyframe, ResolvedRequest, VideoRequest


@dataclass(frozen=True, kw_only=True)
class InputArgs:
    """What a film is made from, beside the prompt."""

    image: Path | None = None
    """The first frame."""
    last_image: Path | None = None
    """The last frame."""
    keyframe: tuple[str, ...] = ()
    """Pictures at their times: 2.5:b.png stands at 2.5 seconds."""
    storyboard: Path | None = None
    """A TOML file of shots, in place of a prompt; see docs/verbs.md."""
    loop: bool = False
    """The last frame flows into the first."""

    def apply_to(self, request: VideoRequest) -> VideoRequest:
        """The wish with this."""
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
        seconds = board.seconds if request.seconds is None else request.seconds
        return dataclasses.replace(request, storyboard=board.shots, seconds=seconds)


def parse_keyframe(text: str) -> Keyframe:
    """A keyframe from `2.5:b.png`.

    Raises:
        UserError: it is written otherwise.
    """
    from kinema.pipeline.resolve import Keyframe

    time, colon, name = text.partition(":")
    try:
        seconds = float(time)
    except ValueError:
        seconds = float("nan")
    if not colon or not name or not 0 <= seconds < float("inf"):
        raise UserError(f"{text!r} is no keyframe; write seconds:picture, for example 2.5:b.png")
    return Keyframe(seconds=seconds, image=Path(name))


@dataclass(frozen=True, kw_only=True)
class Generate(OutputArgs, InputArgs, GenerationArgs):
    """Make a film from words and pictures."""

    prompt: Annotated[str, tyro.conf.Positional] = ""
    """What the film shows; none with a storyboard."""
    count: int = 1
    """So many films, with one seed after the other."""
    best_of: int = 1
    """Make so many and keep the one in which most of the prompt is right; prompts of the film set's lab."""
    upscale: int = 1
    """2 or 4: make the film that much larger, with detail from the model."""
    preview: Path | None = None
    """A second file that can be watched while the film is made."""

    def run(self) -> None:
        """Make it, with a bar that knows what is left."""
        from kinema.cli.run_and_report import report_errors

        with report_errors(self):
            self._run()

    def _run(self) -> None:
        from kinema.cli.run_and_report import note_unknown_words, run_request, save_and_report, state_path
        from kinema.media.formats import resolve_format
        from kinema.pipeline.resolve import resolve_request

        resolve_format(
            self.out, None, "good"
        )  # A name that can't be written is told before the work, not after.
        self._validate()
        pipe = self.load_pipeline()
        wish = dataclasses.replace(self.apply_to(self.to_request(self.prompt)), upscale=self.upscale)
        seeds = range(self.seed, self.seed + max(self.count, self.best_of))
        requests = [resolve_request(pipe.model, dataclasses.replace(wish, seed=seed)) for seed in seeds]
        note_unknown_words(pipe, requests[0], self)
        best: tuple[float, int, FinishedVideo] | None = None
        for seed, request in zip(seeds, requests, strict=True):
            out = self.out if self.count == 1 else numbered_path(self.out, seed - self.seed + 1)
            if self._needs_streaming_output(pipe, request):
                self._stream_to_file(pipe, request, out)
                continue
            made = run_request(pipe, request, dataclasses.replace(self, out=out), state=state_path(out))
            if self.best_of == 1:
                save_and_report(made, self, out, seed=seed, note=self._loop_seam_note(made))
                continue
            score = self._score(made, seed)
            if best is None or score > best[0]:
                best = (score, seed, made)
        if best is not None:
            score, seed, made = best
            note = f"best of {self.best_of}: {score:.0%} of what the prompt asks for is right"
            save_and_report(made, self, self.out, seed=seed, note=note)

    def _needs_streaming_output(self, pipe: Pipeline, request: ResolvedRequest) -> bool:
        from kinema.pipeline.streaming import needs_streaming

        meanwhile = self.upscale > 1 or self.preview is not None or needs_streaming(pipe.model, request)
        if meanwhile and self.best_of > 1:
            raise UserError(
                "best-of chooses among whole films; leave it out for long, refined or previewed ones"
            )
        return meanwhile

    def _stream_to_file(self, pipe: Pipeline, request: ResolvedRequest, out: Path) -> None:
        """Make a film whose frames go to its file as they are made."""
        import time

        from kinema.cli.run_and_report import report_saved
        from kinema.cli.streaming_output import write_stream
        from kinema.pipeline.metadata import build_metadata

        began = time.monotonic()
        comment = build_metadata(request, pipe.model, pipe.policy, pipe.device).to_json()
        frames = write_stream(pipe, request, out, upscale=self.upscale, preview=self.preview, comment=comment)
        size = (self.upscale * request.video_shape.width, self.upscale * request.video_shape.height)
        took = time.monotonic() - began
        report_saved(
            self, out, num_frames=frames, size=size, fps=request.fps, seed=request.seed, elapsed=took
        )

    def _validate(self) -> None:
        if self.storyboard is None and not self.prompt.strip():
            raise UserError('say what the film shows: kinema generate "a red ball rolls to the left"')
        if self.count < 1 or self.best_of < 1:
            raise UserError("count and best-of are 1 or more")
        if self.count > 1 and self.best_of > 1:
            raise UserError("count keeps all films and best-of one of them; give one of the two")
        if self.best_of > 1:
            from kinema.evaluation.prompt_parser import parse_prompt

            if self.storyboard is not None:
                raise UserError("a storyboard has no one prompt to judge its films by; leave out best-of")
            parse_prompt(self.prompt)  # A prompt that can't be judged is told before the work.

    def _loop_seam_note(self, result: FinishedVideo) -> str:
        if not self.loop:
            return ""
        from kinema.pipeline.segments import loop_seam_ratio

        return f"seam {loop_seam_ratio(result.video.frames):.2f} (the step from last to first over the usual one)"

    def _score(self, result: FinishedVideo, seed: int) -> float:
        from kinema.cli.run_and_report import emit_event
        from kinema.evaluation.prompt_parser import parse_prompt
        from kinema.evaluation.score_video import MEASURES, score_video

        seen = score_video(parse_prompt(self.prompt), result.video.frames, result.video.fps)
        verdicts = {name: right for name in MEASURES if (right := seen.verdict(name)) is not None}
        wrong = [name for name, right in verdicts.items() if not right]
        score = 1 - len(wrong) / max(1, len(verdicts))
        emit_event(self, "judged", seed=seed, score=score, wrong=wrong)
        if not self.json:
            print(f"seed {seed}: {score:.0%} right{f', wrong: {chr(44).join(wrong)}' if wrong else ''}")
        return score


def numbered_path(path: Path, number: int) -> Path:
    """`film-2.mp4` for the second `film.mp4`."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


@dataclass(frozen=True, kw_only=True)
class Estimate(InputArgs, GenerationArgs):
    """Say what a film would cost here."""

    def run(self) -> None:
        """Count, measure, and print; refuse what does not fit."""
        from kinema.pipeline.resolve import resolve_request

        pipe = self.load_pipeline()
        request = resolve_request(pipe.model, self.apply_to(self.to_request("")))
        expected = pipe.estimate_cost(request)
        _print_estimate(pipe, request, expected)
        pipe.require_memory(request)


def _print_estimate(pipe: Pipeline, request: ResolvedRequest, estimate: CostEstimate) -> None:
    from rich.console import Console
    from rich.table import Table

    film = estimate.video_shape
    kind = str(pipe.policy.dtype).removeprefix("torch.") + (" and int8" if pipe.policy.int8 else "")
    table = Table(
        title=f"{film.frames} frames at {film.width}x{film.height}, {film.frames / request.fps:.2f} s, "
        f"{estimate.num_inference_steps} steps, {kind} on {pipe.device}",
        title_justify="left",
    )
    table.add_column("stage")
    for column in ("operations", "time", "peak memory"):
        table.add_column(column, justify="right")
    for cost in estimate.costs:
        table.add_row(
            cost.name,
            f"{cost.flops:.2e}",
            _format_duration(cost.seconds),
            f"{cost.peak_bytes / 2**30:.2f} GiB",
        )
    table.add_row(
        "all",
        f"{sum(cost.flops for cost in estimate.costs):.2e}",
        _format_duration(estimate.seconds),
        f"{estimate.peak_bytes / 2**30:.2f} GiB",
    )
    console = Console()
    console.print(table)
    console.print(
        f"free: {estimate.available / 2**30:.2f} GiB. Times leave out reading the weights from disk.",
        highlight=False,
    )


def _format_duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
