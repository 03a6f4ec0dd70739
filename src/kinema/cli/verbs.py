"""`kinema extend`, `connect`, `edit`, `replay` and `resume`: films made from films."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kinema.cli.settings import Output, Settings

if TYPE_CHECKING:
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.resolve import ResolvedRequest, VideoRequest


def _made(settings: Settings, output: Output, wish: VideoRequest) -> None:
    """Make the film of a wish, from the model to the file."""
    from kinema.cli.watch import finish, make, note_unknown_words, state_path, told
    from kinema.media.formats import format_of
    from kinema.pipeline.resolve import resolve_request

    with told(output):
        format_of(output.out, None, "good")
        pipe = settings.loaded()
        request = resolve_request(pipe.model, wish)
        note_unknown_words(pipe, request, output)
        made = make(pipe, request, output, state=state_path(output.out))
        finish(made, output, output.out, seed=settings.seed)


@dataclass(frozen=True, kw_only=True)
class ExtendFilm(Output, Settings):
    """Let a film go on, or begin earlier."""

    film: Positional[Path]
    """The film; one of ours brings the latents it goes on from."""
    prompt: Positional[str]
    """What the new part shows."""
    backward: bool = False
    """Make what comes before it."""

    def run(self) -> None:
        """Make the whole film, old and new."""
        from kinema.pipeline.resolve import ExtendInput

        source = ExtendInput(video=self.film, backward=self.backward)
        _made(self, self, dataclasses.replace(self.wish(self.prompt), source=source))


@dataclass(frozen=True, kw_only=True)
class ConnectFilms(Output, Settings):
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
        _made(self, self, dataclasses.replace(self.wish(self.prompt), source=source))


@dataclass(frozen=True, kw_only=True)
class EditFilm(Output, Settings):
    """Change a film and keep the rest."""

    film: Positional[Path]
    """The film."""
    prompt: Positional[str]
    """What it shows then."""
    strength: float = 0.6
    """How much of it is forgotten: near 0 little, 1 all."""
    mask: Path | None = None
    """A picture, white where the film may change; the rest is kept pixel by pixel."""

    def run(self) -> None:
        """Make the changed film."""
        from kinema.cli.watch import told
        from kinema.pipeline.resolve import EditInput

        with told(self):
            source = EditInput(video=self.film, strength=self.strength, mask=self.mask)
        _made(self, self, dataclasses.replace(self.wish(self.prompt), source=source))


@dataclass(frozen=True, kw_only=True)
class _Again:
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

    def output(self, usual: Path) -> Output:
        """Where it goes, and how its making is told."""
        return Output(out=self.out or usual, json=self.json, open=self.open)


@dataclass(frozen=True, kw_only=True)
class Replay(_Again):
    """Make a film again from the request in its file."""

    film: Positional[Path]
    """A film that Kinema made."""

    def run(self) -> None:
        """Make it, and say whether its frames are the same; exit with 1 if they are not."""
        from kinema.cli.watch import finish, make, state_path, told
        from kinema.pipeline.reproduce import frames_differ, read_metadata, restore_pipeline

        output = self.output(self.film.with_name(f"{self.film.stem}-replay{self.film.suffix}"))
        with told(output):
            origin = read_metadata(self.film)
            pipe, request = restore_pipeline(
                origin, self.film.parent, model=self.model, device=self.device, memory=self.memory
            )
            if origin.frames_sha256:
                made = make(pipe, request, output, state=state_path(output.out))
                other = frames_differ(origin, made.film.frames)
                finish(made, output, output.out, seed=origin.request.seed, note=self._note(other))
            else:
                other = self._written(pipe, request, output)
        if other:
            print(
                f"kinema: the frames differ; {self.film} was made with Kinema {origin.kinema}, torch "
                f"{origin.torch}, {origin.dtype} on {origin.device}",
                file=sys.stderr,
            )
            raise SystemExit(1)

    def _note(self, other: bool) -> str:
        return f"not the frames of {self.film}" if other else f"the frames of {self.film}, bit for bit"

    def _written(self, pipe: Pipeline, request: ResolvedRequest, output: Output) -> bool:
        """A film whose frames go to the file as they are made, again; whether the file has other frames."""
        import time

        import numpy as np

        from kinema.cli.delivery import write
        from kinema.cli.watch import say
        from kinema.media import read_film
        from kinema.pipeline.metadata import build_metadata

        began, factor = time.monotonic(), request.request.upscale
        comment = build_metadata(request, pipe.model, pipe.policy, pipe.device).to_json()
        frames = write(pipe, request, output.out, factor=factor, preview=None, comment=comment)
        other = not np.array_equal(read_film(self.film).frames, read_film(output.out).frames)
        size = (factor * request.video_shape.width, factor * request.video_shape.height)
        took = time.monotonic() - began
        say(
            output, output.out, frames=frames, size=size, fps=request.fps, seed=request.seed, took=took,
            note=self._note(other),
        )  # fmt: skip
        return other


@dataclass(frozen=True, kw_only=True)
class Resume(_Again):
    """Go on with a film that was stopped."""

    state: Positional[Path]
    """What the stopped film left (film.mp4.state)."""

    def run(self) -> None:
        """Make the rest; the film is the one that was stopped, and the state is removed."""
        from kinema.cli.watch import finish, make, told
        from kinema.pipeline.reproduce import load_state, restore_pipeline

        with told(self.output(Path())):
            state = load_state(self.state)
            output = self.output(Path(state.output_path))
            pipe, request = restore_pipeline(
                state.metadata, self.state.parent, model=self.model, device=self.device, memory=self.memory
            )
            made = make(pipe, request, output, state=self.state, start=state.sampler_state)
            finish(made, output, output.out, seed=state.metadata.request.seed)
        self.state.unlink(missing_ok=True)
