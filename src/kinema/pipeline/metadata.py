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
from kinema.models.formats.fingerprint import fingerprint
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.serialization import from_json, to_json
from kinema.pipeline.memory_policy import MemoryPolicy
from kinema.pipeline.request import (
    EditInput,
    ExtendInput,
    ImageInput,
    InterpolateInput,
    Keyframe,
    Shot,
    Transition,
    VideoRequest,
)
from kinema.pipeline.resolve import ResolvedRequest


@dataclass(frozen=True, kw_only=True)
class FileReference:
    """A picture or film that was given: where it was and its SHA-256, or for an array its PNG in base64."""

    path: str = ""
    sha256: str
    png: str = ""

    @classmethod
    def of(cls, source: ImageInput) -> FileReference:
        """A file, or an array uint8 h w 3."""
        if isinstance(source, np.ndarray):
            from PIL import Image as Pillow

            stream = io.BytesIO()
            Pillow.fromarray(source).save(stream, format="PNG")
            data = stream.getvalue()
            return cls(sha256=hashlib.sha256(data).hexdigest(), png=base64.b64encode(data).decode())
        return cls(path=os.fspath(source), sha256=_path_sha256(Path(source)))

    def resolve(self, base_dir: Path) -> ImageInput:
        """The file, where it was or beside the film; or the array.

        Raises:
            UserError: it is not there any more, or it has changed.
        """
        if self.png:
            from PIL import Image as Pillow

            return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(self.png))).convert("RGB"))
        places = [Path(self.path), base_dir / self.path, base_dir / Path(self.path).name]
        there = [place for place in places if place.exists()]
        for place in there:
            if _path_sha256(place) == self.sha256:
                return place
        what = "has changed since" if there else "is not there"
        raise UserError(f"the film was made from {self.path}, which {what}; put back the file as it was")


@dataclass(frozen=True, kw_only=True)
class KeyframeRecord:
    """A picture at its time."""

    seconds: float
    image: FileReference


@dataclass(frozen=True, kw_only=True)
class ShotRecord:
    """A shot of a storyboard."""

    prompt: str
    seconds: float
    image: FileReference | None
    transition: Transition


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """A `VideoRequest` as plain values; the films of its source come first to last."""

    prompt: str
    negative_prompt: str
    size: tuple[int, int]
    num_frames: int | None
    seconds: float | None
    fps: float
    num_inference_steps: int
    guidance_scale: tuple[float, ...]
    flow_shift: float
    seed: int
    noise: str = ""
    """SHA-256 of noise that was given; the film does not carry it."""
    image: FileReference | None = None
    last_image: FileReference | None = None
    keyframes: tuple[KeyframeRecord, ...] = ()
    storyboard: tuple[ShotRecord, ...] = ()
    loop: bool = False
    source: Literal["", "extend", "connect", "edit"] = ""
    videos: tuple[FileReference, ...] = ()
    backward: bool = False
    strength: float = 0.0
    mask: FileReference | None = None
    upscale: int = 1

    def to_request(self, base_dir: Path) -> VideoRequest:
        """The wish again; files are looked for where they were and in the folder `base_dir`.

        Raises:
            UserError: a file is gone or has changed, or the film was made from noise that it does not carry.
        """
        if self.noise:
            raise UserError("the film was made from noise that was given; its file does not carry that")

        def resolve_image(reference: FileReference | None) -> ImageInput | None:
            return None if reference is None else reference.resolve(base_dir)

        def resolve_video(number: int) -> Path:
            source = self.videos[number].resolve(base_dir)
            return Path(str(source))

        source: ExtendInput | InterpolateInput | EditInput | None = None
        if self.source == "extend":
            source = ExtendInput(video=resolve_video(0), backward=self.backward)
        elif self.source == "connect":
            source = InterpolateInput(first=resolve_video(0), last=resolve_video(1))
        elif self.source == "edit":
            source = EditInput(video=resolve_video(0), strength=self.strength, mask=resolve_image(self.mask))
        return VideoRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            size=self.size,
            num_frames=self.num_frames,
            seconds=self.seconds,
            fps=self.fps,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            flow_shift=self.flow_shift,
            seed=self.seed,
            image=resolve_image(self.image),
            last_image=resolve_image(self.last_image),
            keyframes=tuple(
                Keyframe(seconds=key.seconds, image=key.image.resolve(base_dir)) for key in self.keyframes
            ),
            storyboard=tuple(
                Shot(
                    prompt=shot.prompt,
                    seconds=shot.seconds,
                    image=resolve_image(shot.image),
                    transition=shot.transition,
                )
                for shot in self.storyboard
            ),
            loop=self.loop,
            source=source,
            upscale=self.upscale,
        )


@dataclass(frozen=True, kw_only=True)
class GenerationMetadata:
    """What made a film.

    Attributes:
        model: what the model was loaded from.
        fingerprint: of the model, see `kinema.models.formats.fingerprint`.
        request: what was asked for, every setting decided.
        device: its type; `dtype` and `int8`: how the model was held there.
        kinema: the version; `torch` likewise.
        frames_sha256: SHA-256 of the frames as they were made, before a codec took its share; empty where they went
            to the file as they were made.
    """

    model: str
    fingerprint: str
    request: RequestRecord
    device: str
    dtype: str
    int8: bool
    kinema: str
    torch: str
    frames_sha256: str

    def to_json(self) -> str:
        """As the film's file keeps it."""
        return to_json(self)


def parse_metadata(text: str, *, what: str) -> GenerationMetadata:
    """What `Origin.to_json` wrote.

    Raises:
        UserError: the text is something else.
    """
    return from_json(GenerationMetadata, text, source=what)


def build_metadata(
    resolved: ResolvedRequest,
    model: ModelCheckpoint,
    policy: MemoryPolicy,
    device: torch.device,
    frames: UInt8[np.ndarray, "f h w 3"] | None = None,
) -> GenerationMetadata:
    """What makes a film; `frames_sha256` where it is finished."""
    return GenerationMetadata(
        model=model.name,
        fingerprint=fingerprint(model.folder),
        request=request_record(resolved),
        device=device.type,
        dtype=str(policy.dtype).removeprefix("torch."),
        int8=policy.int8,
        kinema=kinema.__version__,
        torch=torch.__version__,
        frames_sha256="" if frames is None else array_sha256(frames),
    )


def request_record(resolved: ResolvedRequest) -> RequestRecord:
    """The request as plain values. Files that were given are read for their hashes."""
    wish = resolved.request

    def image_reference(source: ImageInput | None) -> FileReference | None:
        return None if source is None else FileReference.of(source)

    source, films = wish.source, ()
    if isinstance(source, ExtendInput | EditInput):
        films = (FileReference.of(source.video),)
    elif isinstance(source, InterpolateInput):
        films = (FileReference.of(source.first), FileReference.of(source.last))
    edit = source if isinstance(source, EditInput) else None
    return RequestRecord(
        prompt=wish.prompt,
        negative_prompt=resolved.conditioning.negative_prompt,
        size=(resolved.video_shape.width, resolved.video_shape.height),
        num_frames=wish.num_frames,
        seconds=wish.seconds,
        fps=resolved.fps,
        num_inference_steps=resolved.num_inference_steps,
        guidance_scale=resolved.guidance_scale,
        flow_shift=resolved.flow_shift,
        seed=resolved.seed,
        noise="" if resolved.noise is None else array_sha256(resolved.noise.cpu().numpy()),
        image=image_reference(wish.image),
        last_image=image_reference(wish.last_image),
        keyframes=tuple(
            KeyframeRecord(seconds=key.seconds, image=FileReference.of(key.image)) for key in wish.keyframes
        ),
        storyboard=tuple(
            ShotRecord(
                prompt=shot.prompt,
                seconds=shot.seconds,
                image=image_reference(shot.image),
                transition=shot.transition,
            )
            for shot in wish.storyboard
        ),
        loop=wish.loop,
        source="" if source is None else _SOURCE_KINDS[type(source)],
        videos=films,
        backward=isinstance(source, ExtendInput) and source.backward,
        strength=0.0 if edit is None else edit.strength,
        mask=None if edit is None else image_reference(edit.mask),
        upscale=wish.upscale,
    )


SourceKind = Literal["", "extend", "connect", "edit"]
_SOURCE_KINDS: dict[type, SourceKind] = {
    ExtendInput: "extend",
    InterpolateInput: "connect",
    EditInput: "edit",
}


def array_sha256(values: np.ndarray) -> str:
    """SHA-256 of an array's numbers."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _path_sha256(path: Path) -> str:
    """Of a file, or of the files of a folder in order."""
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()
