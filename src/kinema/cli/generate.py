"""`kinema generate` and `kinema plan`: a film from words and pictures, and what it would cost."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema.cli.settings import Output, Settings
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.cli.watch import Made
    from kinema.pipeline.cost import CostEstimate
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.resolve import Keyframe, ResolvedRequest, VideoRequest


@dataclass(frozen=True, kw_only=True)
class Content:
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

    def added(self, wish: VideoRequest) -> VideoRequest:
        """The wish with this."""
        wish = dataclasses.replace(
            wish,
            image=self.image,
            last_image=self.last_image,
            keyframes=tuple(parse_keyframe(text) for text in self.keyframe),
            loop=self.loop,
        )
        if self.storyboard is None:
            return wish
        from kinema.pipeline.storyboard import read_storyboard

        board = read_storyboard(self.storyboard)
        seconds = board.seconds if wish.seconds is None else wish.seconds
        return dataclasses.replace(wish, storyboard=board.shots, seconds=seconds)


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
class Generate(Output, Content, Settings):
    """Make a film from words and pictures."""

    prompt: Annotated[str, tyro.conf.Positional] = ""
    """What the film shows; none with a storyboard."""
    count: int = 1
    """So many films, with one seed after the other."""
    best_of: int = 1
    """Make so many and keep the one in which most of the prompt is right; prompts of the film set's lab."""
    refine: int = 1
    """2 or 4: make the film that much larger, with detail from the model."""
    preview: Path | None = None
    """A second file that can be watched while the film is made."""

    def run(self) -> None:
        """Make it, with a bar that knows what is left."""
        from kinema.cli.watch import told

        with told(self):
            self._run()

    def _run(self) -> None:
        from kinema.cli.watch import finish, make, note_unknown_words, state_path
        from kinema.media.formats import format_of
        from kinema.pipeline.resolve import resolve_request

        format_of(self.out, None, "good")  # A name that can't be written is told before the work, not after.
        self._check()
        pipe = self.loaded()
        wish = dataclasses.replace(self.added(self.wish(self.prompt)), upscale=self.refine)
        seeds = range(self.seed, self.seed + max(self.count, self.best_of))
        requests = [resolve_request(pipe.model, dataclasses.replace(wish, seed=seed)) for seed in seeds]
        note_unknown_words(pipe, requests[0], self)
        best: tuple[float, int, Made] | None = None
        for seed, request in zip(seeds, requests, strict=True):
            out = self.out if self.count == 1 else numbered(self.out, seed - self.seed + 1)
            if self._is_written_meanwhile(pipe, request):
                self._write(pipe, request, out)
                continue
            made = make(pipe, request, dataclasses.replace(self, out=out), state=state_path(out))
            if self.best_of == 1:
                finish(made, self, out, seed=seed, note=self._note(made))
                continue
            score = self._judged(made, seed)
            if best is None or score > best[0]:
                best = (score, seed, made)
        if best is not None:
            score, seed, made = best
            note = f"best of {self.best_of}: {score:.0%} of what the prompt asks for is right"
            finish(made, self, self.out, seed=seed, note=note)

    def _is_written_meanwhile(self, pipe: Pipeline, request: ResolvedRequest) -> bool:
        from kinema.pipeline.streaming import needs_streaming

        meanwhile = self.refine > 1 or self.preview is not None or needs_streaming(pipe.model, request)
        if meanwhile and self.best_of > 1:
            raise UserError(
                "best-of chooses among whole films; leave it out for long, refined or previewed ones"
            )
        return meanwhile

    def _write(self, pipe: Pipeline, request: ResolvedRequest, out: Path) -> None:
        """Make a film whose frames go to its file as they are made."""
        import time

        from kinema.cli.delivery import write
        from kinema.cli.watch import say
        from kinema.pipeline.metadata import build_metadata

        began = time.monotonic()
        comment = build_metadata(request, pipe.model, pipe.policy, pipe.device).to_json()
        frames = write(pipe, request, out, factor=self.refine, preview=self.preview, comment=comment)
        size = (self.refine * request.video_shape.width, self.refine * request.video_shape.height)
        took = time.monotonic() - began
        say(self, out, frames=frames, size=size, fps=request.fps, seed=request.seed, took=took)

    def _check(self) -> None:
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

    def _note(self, made: Made) -> str:
        if not self.loop:
            return ""
        from kinema.pipeline.segments import loop_seam_ratio

        return (
            f"seam {loop_seam_ratio(made.film.frames):.2f} (the step from last to first over the usual one)"
        )

    def _judged(self, made: Made, seed: int) -> float:
        from kinema.cli.watch import tell
        from kinema.evaluation.prompt_parser import parse_prompt
        from kinema.evaluation.score_video import MEASURES, score_video

        seen = score_video(parse_prompt(self.prompt), made.film.frames, made.film.fps)
        verdicts = {name: right for name in MEASURES if (right := seen.verdict(name)) is not None}
        wrong = [name for name, right in verdicts.items() if not right]
        score = 1 - len(wrong) / max(1, len(verdicts))
        tell(self, "judged", seed=seed, score=score, wrong=wrong)
        if not self.json:
            print(f"seed {seed}: {score:.0%} right{f', wrong: {chr(44).join(wrong)}' if wrong else ''}")
        return score


def numbered(path: Path, number: int) -> Path:
    """`film-2.mp4` for the second `film.mp4`."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


@dataclass(frozen=True, kw_only=True)
class PlanFilm(Content, Settings):
    """Say what a film would cost here."""

    def run(self) -> None:
        """Count, measure, and print; refuse what does not fit."""
        from kinema.pipeline.resolve import resolve_request

        pipe = self.loaded()
        request = resolve_request(pipe.model, self.added(self.wish("")))
        expected = pipe.estimate_cost(request)
        _print_plan(pipe, request, expected)
        pipe.require_memory(request)


def _print_plan(pipe: Pipeline, request: ResolvedRequest, expected: CostEstimate) -> None:
    from rich.console import Console
    from rich.table import Table

    film = expected.video_shape
    kind = str(pipe.policy.dtype).removeprefix("torch.") + (" and int8" if pipe.policy.int8 else "")
    table = Table(
        title=f"{film.frames} frames at {film.width}x{film.height}, {film.frames / request.fps:.2f} s, "
        f"{expected.num_inference_steps} steps, {kind} on {pipe.device}",
        title_justify="left",
    )
    table.add_column("stage")
    for column in ("operations", "time", "peak memory"):
        table.add_column(column, justify="right")
    for cost in expected.costs:
        table.add_row(
            cost.name, f"{cost.flops:.2e}", _duration(cost.seconds), f"{cost.peak_bytes / 2**30:.2f} GiB"
        )
    table.add_row(
        "all",
        f"{sum(cost.flops for cost in expected.costs):.2e}",
        _duration(expected.seconds),
        f"{expected.peak_bytes / 2**30:.2f} GiB",
    )
    console = Console()
    console.print(table)
    console.print(
        f"free: {expected.available / 2**30:.2f} GiB. Times leave out reading the weights from disk.",
        highlight=False,
    )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
