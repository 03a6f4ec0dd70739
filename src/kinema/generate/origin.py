"""Where a film comes from: the whole request and what made it, as its file keeps them."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

import kinema
from kinema.errors import UserError
from kinema.generate.request import Request
from kinema.generate.residency import Choice
from kinema.generate.wish import Connect, Edit, Extend, Image, Keyframe, Shot, Transition, Wish
from kinema.models.config_json import from_json, to_json
from kinema.models.fingerprint import fingerprint
from kinema.models.source import ModelFolder


@dataclass(frozen=True, kw_only=True)
class Given:
    """A picture or film that was given: where it was and its SHA-256, or for an array its PNG in base64."""

    path: str = ""
    sha256: str
    png: str = ""

    @classmethod
    def of(cls, source: Image) -> Given:
        """A file, or an array uint8 h w 3."""
        if isinstance(source, np.ndarray):
            from PIL import Image as Pillow

            stream = io.BytesIO()
            Pillow.fromarray(source).save(stream, format="PNG")
            data = stream.getvalue()
            return cls(sha256=hashlib.sha256(data).hexdigest(), png=base64.b64encode(data).decode())
        return cls(path=os.fspath(source), sha256=_sha256(Path(source)))

    def source(self, beside: Path) -> Image:
        """The file, where it was or beside the film; or the array.

        Raises:
            UserError: it is not there any more, or it has changed.
        """
        if self.png:
            from PIL import Image as Pillow

            return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(self.png))).convert("RGB"))
        places = [Path(self.path), beside / self.path, beside / Path(self.path).name]
        there = [place for place in places if place.exists()]
        for place in there:
            if _sha256(place) == self.sha256:
                return place
        what = "has changed since" if there else "is not there"
        raise UserError(f"the film was made from {self.path}, which {what}; put back the file as it was")


@dataclass(frozen=True, kw_only=True)
class GivenKeyframe:
    """A picture at its time."""

    seconds: float
    image: Given


@dataclass(frozen=True, kw_only=True)
class GivenShot:
    """A shot of a storyboard."""

    prompt: str
    seconds: float
    image: Given | None
    transition: Transition


@dataclass(frozen=True, kw_only=True)
class Told:
    """A `Wish` as plain values; the films of its source come first to last."""

    prompt: str
    negative: str
    size: tuple[int, int]
    frames: int | None
    seconds: float | None
    fps: float
    steps: int
    guidance: tuple[float, ...]
    shift: float
    seed: int
    noise: str = ""
    """SHA-256 of noise that was given; the film does not carry it."""
    image: Given | None = None
    last_image: Given | None = None
    keyframes: tuple[GivenKeyframe, ...] = ()
    storyboard: tuple[GivenShot, ...] = ()
    loop: bool = False
    source: Literal["", "extend", "connect", "edit"] = ""
    films: tuple[Given, ...] = ()
    backward: bool = False
    strength: float = 0.0
    mask: Given | None = None
    refine: int = 1

    def wish(self, beside: Path) -> Wish:
        """The wish again; files are looked for where they were and in the folder `beside`.

        Raises:
            UserError: a file is gone or has changed, or the film was made from noise that it does not carry.
        """
        if self.noise:
            raise UserError("the film was made from noise that was given; its file does not carry that")

        def picture(given: Given | None) -> Image | None:
            return None if given is None else given.source(beside)

        def film(number: int) -> Path:
            source = self.films[number].source(beside)
            return Path(str(source))

        source: Extend | Connect | Edit | None = None
        if self.source == "extend":
            source = Extend(film=film(0), backward=self.backward)
        elif self.source == "connect":
            source = Connect(first=film(0), last=film(1))
        elif self.source == "edit":
            source = Edit(film=film(0), strength=self.strength, mask=picture(self.mask))
        return Wish(
            prompt=self.prompt,
            negative=self.negative,
            size=self.size,
            frames=self.frames,
            seconds=self.seconds,
            fps=self.fps,
            steps=self.steps,
            guidance=self.guidance,
            shift=self.shift,
            seed=self.seed,
            image=picture(self.image),
            last_image=picture(self.last_image),
            keyframes=tuple(
                Keyframe(seconds=key.seconds, image=key.image.source(beside)) for key in self.keyframes
            ),
            storyboard=tuple(
                Shot(
                    prompt=shot.prompt,
                    seconds=shot.seconds,
                    image=picture(shot.image),
                    transition=shot.transition,
                )
                for shot in self.storyboard
            ),
            loop=self.loop,
            source=source,
            refine=self.refine,
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What made a film.

    Attributes:
        model: what the model was loaded from.
        fingerprint: of the model, see `kinema.models.fingerprint`.
        request: what was asked for, every setting decided.
        device: its type; `dtype` and `int8`: how the model was held there.
        kinema: the version; `torch` likewise.
        frames: SHA-256 of the frames as they were made, before a codec took its share; empty where they went
            to the file as they were made.
    """

    model: str
    fingerprint: str
    request: Told
    device: str
    dtype: str
    int8: bool
    kinema: str
    torch: str
    frames: str

    def to_json(self) -> str:
        """As the film's file keeps it."""
        return to_json(self)


def origin_from(text: str, *, what: str) -> Origin:
    """What `Origin.to_json` wrote.

    Raises:
        UserError: the text is something else.
    """
    return from_json(Origin, text, what=what)


def origin_of(
    request: Request,
    model: ModelFolder,
    choice: Choice,
    device: torch.device,
    frames: UInt8[np.ndarray, "f h w 3"] | None = None,
) -> Origin:
    """What makes a film; `frames` where it is finished."""
    return Origin(
        model=model.name,
        fingerprint=fingerprint(model.folder),
        request=told(request),
        device=device.type,
        dtype=str(choice.dtype).removeprefix("torch."),
        int8=choice.int8,
        kinema=kinema.__version__,
        torch=torch.__version__,
        frames="" if frames is None else digest(frames),
    )


def told(request: Request) -> Told:
    """The request as plain values. Files that were given are read for their hashes."""
    wish = request.wish

    def picture(source: Image | None) -> Given | None:
        return None if source is None else Given.of(source)

    source, films = wish.source, ()
    if isinstance(source, Extend | Edit):
        films = (Given.of(source.film),)
    elif isinstance(source, Connect):
        films = (Given.of(source.first), Given.of(source.last))
    edit = source if isinstance(source, Edit) else None
    return Told(
        prompt=wish.prompt,
        negative=request.condition.negative,
        size=(request.film.width, request.film.height),
        frames=wish.frames,
        seconds=wish.seconds,
        fps=request.fps,
        steps=request.steps,
        guidance=request.guidance,
        shift=request.shift,
        seed=request.seed,
        noise="" if request.noise is None else digest(request.noise.cpu().numpy()),
        image=picture(wish.image),
        last_image=picture(wish.last_image),
        keyframes=tuple(
            GivenKeyframe(seconds=key.seconds, image=Given.of(key.image)) for key in wish.keyframes
        ),
        storyboard=tuple(
            GivenShot(
                prompt=shot.prompt,
                seconds=shot.seconds,
                image=picture(shot.image),
                transition=shot.transition,
            )
            for shot in wish.storyboard
        ),
        loop=wish.loop,
        source="" if source is None else _KINDS[type(source)],
        films=films,
        backward=isinstance(source, Extend) and source.backward,
        strength=0.0 if edit is None else edit.strength,
        mask=None if edit is None else picture(edit.mask),
        refine=wish.refine,
    )


Kind = Literal["", "extend", "connect", "edit"]
_KINDS: dict[type, Kind] = {Extend: "extend", Connect: "connect", Edit: "edit"}


def digest(values: np.ndarray) -> str:
    """SHA-256 of an array's numbers."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _sha256(path: Path) -> str:
    """Of a file, or of the files of a folder in order."""
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()
