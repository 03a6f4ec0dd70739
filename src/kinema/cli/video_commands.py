"""`kinema extend`, `interpolate`, `edit`, `reproduce` and `resume`: videos from videos."""

from __future__ import annotations

import dataclasses
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from kinema.cli.options import DeviceArgs, OutputArgs, ReportArgs, SamplingArgs
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.pipeline.request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class _SourceCommand(OutputArgs, SamplingArgs, ABC):
    """A command that generates a video from source videos and a prompt."""

    @abstractmethod
    def build_request(self) -> VideoRequest:
        """The request of the options."""

    def run(self) -> None:
        """Generate and write the video."""
        from kinema.cli.run_and_report import (
            check_output_format,
            print_summary,
            print_warnings,
            report_errors,
            run_request,
            warn_unused_lora_modules,
        )

        with report_errors(self):
            check_output_format(self.out)
            request, pipe = self.build_request(), self.load_pipeline()
            resolved = pipe.resolve(request)
            print_warnings(pipe, resolved, self)
            warn_unused_lora_modules(resolved, self)
            print_summary(self, run_request(pipe, resolved, self), resolved)


@dataclass(frozen=True, kw_only=True)
class ExtendVideo(_SourceCommand):
    """Continue a video, or generate what comes before it."""

    video: Positional[Path]
    """The video; one that Kinema generated is continued from its own latents."""
    prompt: Positional[str]
    """What the new part shows."""
    backward: bool = False
    """Generate what comes before the video."""

    def build_request(self) -> VideoRequest:
        """The request of the options."""
        from kinema.pipeline.request import ExtendInput

        source = ExtendInput(video=self.video, backward=self.backward)
        return dataclasses.replace(self.to_request(self.prompt), source=source)


@dataclass(frozen=True, kw_only=True)
class InterpolateVideos(_SourceCommand):
    """Generate the frames between two videos."""

    first: Positional[Path]
    """The video before the new part."""
    last: Positional[Path]
    """The video after the new part."""
    prompt: Positional[str]
    """What happens between them."""

    def build_request(self) -> VideoRequest:
        """The request of the options."""
        from kinema.pipeline.request import InterpolateInput

        source = InterpolateInput(first=self.first, last=self.last)
        return dataclasses.replace(self.to_request(self.prompt), source=source)


@dataclass(frozen=True, kw_only=True)
class EditVideo(_SourceCommand):
    """Change a video."""

    video: Positional[Path]
    """The video."""
    prompt: Positional[str]
    """What the changed video shows."""
    strength: float = 0.6
    """Noise level to which the video is noised: near 0 changes little, 1 keeps nothing."""
    mask: Path | None = None
    """An image or a video, white where the video may change; other pixels are kept exactly."""
    expand: str | None = None
    """Pixels to add to the left, top, right and bottom: 64,0,64,0; for models with a control branch."""

    def build_request(self) -> VideoRequest:
        """The request of the options."""
        from kinema.pipeline.request import EditInput

        expand = None if self.expand is None else parse_expand(self.expand)
        # What is new has no source to keep something of.
        strength = 1.0 if expand is not None else self.strength
        source = EditInput(video=self.video, strength=strength, mask=self.mask, expand=expand)
        return dataclasses.replace(self.to_request(self.prompt), source=source)


def parse_expand(text: str) -> tuple[int, int, int, int]:
    """Parse four numbers of pixels such as `64,0,64,0`.

    Raises:
        UserError: it has another form.
    """
    from kinema.errors import UserError

    numbers = text.split(",")
    if len(numbers) != 4 or not all(
        number.strip().isascii() and number.strip().isdigit() for number in numbers
    ):
        raise UserError(f"{text!r} is not left,top,right,bottom in pixels; write for example 64,0,64,0")
    left, top, right, bottom = (int(number) for number in numbers)
    return left, top, right, bottom


@dataclass(frozen=True, kw_only=True)
class _FromFileArgs(ReportArgs, DeviceArgs):
    """Options of commands that generate a video from the request in a file."""

    out: Path | None = None
    """File to write."""
    model: str | None = None
    """The model; without it, only a model that Kinema contains is used."""
    vae: str | None = None
    """The autoencoder, for a Wan model in a single file."""
    text_encoder: str | None = None
    """The text encoder, for a Wan model in a single file."""
    lora: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A LoRA of the video that is not below the folder of the file. Repeat for several."""
    input: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """An input image or video that is not below the folder of the file. Repeat for several."""

    def output_args(self, default: Path) -> OutputArgs:
        """The output options, with a default file."""
        return OutputArgs(out=self.out or default, json=self.json, open=self.open)


@dataclass(frozen=True, kw_only=True)
class Reproduce(_FromFileArgs):
    """Generate a video again from the request in its file, and compare the frames."""

    video: Positional[Path]
    """A video that Kinema generated."""

    def run(self) -> None:
        """Generate it and compare; exit with 1 if the frames differ."""
        from kinema.cli.run_and_report import print_summary, report_errors, run_request
        from kinema.pipeline.reproduce import frames_differ, read_metadata, restore_pipeline

        output = self.output_args(self.video.with_name(f"{self.video.stem}-reproduced{self.video.suffix}"))
        with report_errors(output):
            metadata = read_metadata(self.video)
            pipe, resolved = restore_pipeline(
                metadata,
                self.video.parent,
                model=self.model,
                vae=self.vae,
                text_encoder=self.text_encoder,
                device=self.device,
                memory=self.memory,
                inputs=self.input,
                loras=self.lora,
            )
            run = run_request(pipe, resolved, output)
            if metadata.frames_sha256 and run.frames is not None:
                differ = frames_differ(metadata, run.frames)
            else:
                differ = _decoded_frames_differ(self.video, output.out)
            note = (
                f"frames differ from {self.video}" if differ else f"same frames as {self.video}, bit for bit"
            )
            print_summary(output, run, resolved, note=note)
        if differ:
            print(
                f"kinema: the frames differ; {self.video} was generated with Kinema {metadata.kinema}, torch "
                f"{metadata.torch}, {metadata.dtype} on {metadata.device}",
                file=sys.stderr,
            )
            raise SystemExit(1)


def _decoded_frames_differ(first: Path, second: Path) -> bool:
    """Compare two files frame by frame: the metadata of a streamed video has no digest of its frames."""
    import numpy as np

    from kinema.media import read_video

    return not np.array_equal(read_video(first).frames, read_video(second).frames)


@dataclass(frozen=True, kw_only=True)
class Resume(_FromFileArgs):
    """Continue an interrupted run."""

    state: Positional[Path]
    """The saved state (video.mp4.state)."""

    def run(self) -> None:
        """Generate the rest; the video is that of the uninterrupted run, and the state is removed."""
        from kinema.cli.run_and_report import check_output_format, print_summary, report_errors, run_request
        from kinema.pipeline.reproduce import load_state, restore_pipeline

        with report_errors(self):
            saved = load_state(self.state)
            output = self.output_args(self._default_output())
            check_output_format(output.out)
            pipe, resolved = restore_pipeline(
                saved.metadata,
                self.state.parent,
                model=self.model,
                vae=self.vae,
                text_encoder=self.text_encoder,
                device=self.device,
                memory=self.memory,
                inputs=self.input,
                loras=self.lora,
            )
            run = run_request(pipe, resolved, output, state=saved.sampler_state, state_path=self.state)
            print_summary(output, run, resolved)
        self.state.unlink(missing_ok=True)

    def _default_output(self) -> Path:
        """The name of the state without `.state`. A file of that name is not replaced unasked."""
        path = self.state.with_suffix("")
        if self.out is None and (self.state.suffix != ".state" or path.exists()):
            reason = f"{path} exists already" if path.exists() else f"{self.state} does not end in .state"
            raise UserError(f"{reason}; say where the video goes: --out FILE")
        return path
