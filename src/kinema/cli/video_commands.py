"""`kinema extend`, `connect`, `edit`, `replay` and `resume`: films made from films."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kinema.cli.options import GenerationArgs, OutputArgs

if TYPE_CHECKING:
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.resolve import ResolvedRequest, VideoRequest


def _generate_and_save(args: GenerationArgs, output: OutputArgs, video_request: VideoRequest) -> None:
    """Make the film of a wish, from the model to the file."""
    from kinema.cli.run_and_report import (
        note_unknown_words,
        report_errors,
        run_request,
        save_and_report,
        state_path,
    )
    from kinema.media.formats import resolve_format
    from kinema.pipeline.resolve import resolve_request

    with report_errors(output):
        resolve_format(output.out, None, "good")
        pipe = args.load_pipeline()
        request = resolve_request(pipe.model, video_request)
        note_unknown_words(pipe, request, output)
        made = run_request(pipe, request, output, state=state_path(output.out))
        save_and_report(made, output, output.out, seed=args.seed)


@dataclass(frozen=True, kw_only=True)
class ExtendVideo(OutputArgs, GenerationArgs):
    """Let a film go on, or begin earlier."""

    video: Positional[Path]
    """The film; one of ours brings the latents it goes on from."""
    prompt: Positional[str]
    """What the new part shows."""
    backward: bool = False
    """Make what comes before it."""

    def run(self) -> None:
        """Make the whole film, old and new."""
        from kinema.pipeline.resolve import ExtendInput

        source = ExtendInput(video=self.video, backward=self.backward)
        _generate_and_save(self, self, dataclasses.replace(self.to_request(self.prompt), source=source))


@dataclass(frozen=True, kw_only=True)
class InterpolateVideos(OutputArgs, GenerationArgs):
    """Lead from the end of one film to the beginning of another."""

    first: Positional[Path]
    """The film that ends."""
    last: Positional[Path]
    """The film that begins."""
    prompt: Positional[str]
    """What happens between them."""

    def run(self) -> None:
        """Make the whole film: the first, the bridge, the last."""
        from kinema.pipeline.resolve import InterpolateInput

        source = InterpolateInput(first=self.first, last=self.last)
        _generate_and_save(self, self, dataclasses.replace(self.to_request(self.prompt), source=source))


@dataclass(frozen=True, kw_only=True)
class EditVideo(OutputArgs, GenerationArgs):
    """Change a film and keep the rest."""

    video: Positional[Path]
    """The film."""
    prompt: Positional[str]
    """What it shows then."""
    strength: float = 0.6
    """How much of it is forgotten: near 0 little, 1 all."""
    mask: Path | None = None
    """A picture, white where the film may change; the rest is kept pixel by pixel."""

    def run(self) -> None:
        """Make the changed film."""
        from kinema.cli.run_and_report import report_errors
        from kinema.pipeline.resolve import EditInput

        with report_errors(self):
            source = EditInput(video=self.video, strength=self.strength, mask=self.mask)
        _generate_and_save(self, self, dataclasses.replace(self.to_request(self.prompt), source=source))


@dataclass(frozen=True, kw_only=True)
class _ReproduceArgs:
    """What commands ask that make a film from what a file says."""

    out: Path | None = None
    """Where the film goes."""
    model: str | None = None
    """Where the model is now, if it is not where it was."""
    device: str = "auto"
    """cpu, cuda, cuda:1 or auto."""
    memory: str = "auto"
    """high keeps all parts in memory, low has one at a time."""
    json: bool = False
    """Tell the progress on standard output as one JSON object a line."""
    open: bool = False
    """Show the film when it is finished."""

    def output_args(self, default: Path) -> OutputArgs:
        """Where it goes, and how its making is told."""
        return OutputArgs(out=self.out or default, json=self.json, open=self.open)


@dataclass(frozen=True, kw_only=True)
class Reproduce(_ReproduceArgs):
    """Make a film again from the request in its file."""

    video: Positional[Path]
    """A film that Kinema made."""

    def run(self) -> None:
        """Make it, and say whether its frames are the same; exit with 1 if they are not."""
        from kinema.cli.run_and_report import report_errors, run_request, save_and_report, state_path
        from kinema.pipeline.reproduce import frames_differ, read_metadata, restore_pipeline

        output = self.output_args(self.video.with_name(f"{self.video.stem}-replay{self.video.suffix}"))
        with report_errors(output):
            origin = read_metadata(self.video)
            pipe, request = restore_pipeline(
                origin, self.video.parent, model=self.model, device=self.device, memory=self.memory
            )
            if origin.frames_sha256:
                made = run_request(pipe, request, output, state=state_path(output.out))
                other = frames_differ(origin, made.video.frames)
                save_and_report(
                    made, output, output.out, seed=origin.request.seed, note=self._comparison_note(other)
                )
            else:
                other = self._stream_and_compare(pipe, request, output)
        if other:
            print(
                f"kinema: the frames differ; {self.video} was made with Kinema {origin.kinema}, torch "
                f"{origin.torch}, {origin.dtype} on {origin.device}",
                file=sys.stderr,
            )
            raise SystemExit(1)

    def _comparison_note(self, frames_differ: bool) -> str:
        return (
            f"not the frames of {self.video}" if frames_differ else f"the frames of {self.video}, bit for bit"
        )

    def _stream_and_compare(self, pipe: Pipeline, request: ResolvedRequest, output: OutputArgs) -> bool:
        """A film whose frames go to the file as they are made, again; whether the file has other frames."""
        import time

        import numpy as np

        from kinema.cli.run_and_report import report_saved
        from kinema.cli.streaming_output import write_stream
        from kinema.media import read_video
        from kinema.pipeline.metadata import build_metadata

        began, factor = time.monotonic(), request.request.upscale
        comment = build_metadata(request, pipe.model, pipe.policy, pipe.device).to_json()
        frames = write_stream(pipe, request, output.out, upscale=factor, preview=None, comment=comment)
        other = not np.array_equal(read_video(self.video).frames, read_video(output.out).frames)
        size = (factor * request.video_shape.width, factor * request.video_shape.height)
        took = time.monotonic() - began
        report_saved(
            output, output.out, num_frames=frames, size=size, fps=request.fps, seed=request.seed, elapsed=took,
            note=self._comparison_note(other),
        )  # fmt: skip
        return other


@dataclass(frozen=True, kw_only=True)
class Resume(_ReproduceArgs):
    """Go on with a film that was stopped."""

    state: Positional[Path]
    """What the stopped film left (film.mp4.state)."""

    def run(self) -> None:
        """Make the rest; the film is the one that was stopped, and the state is removed."""
        from kinema.cli.run_and_report import report_errors, run_request, save_and_report
        from kinema.pipeline.reproduce import load_state, restore_pipeline

        with report_errors(self.output_args(Path())):
            state = load_state(self.state)
            output = self.output_args(Path(state.output_path))
            pipe, request = restore_pipeline(
                state.metadata, self.state.parent, model=self.model, device=self.device, memory=self.memory
            )
            made = run_request(pipe, request, output, state=self.state, resume_from=state.sampler_state)
            save_and_report(made, output, output.out, seed=state.metadata.request.seed)
        self.state.unlink(missing_ok=True)
