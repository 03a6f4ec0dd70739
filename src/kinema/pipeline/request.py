"""The request: every field that a user may set, for every task, in one JSON-serialisable dataclass."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kinema.errors import UserError
from kinema.models.formats.serialization import from_values

ImageInput = str | os.PathLike[str] | np.ndarray
"""A path, an array uint8 h w 3, or a `data:image/png;base64,...` string."""
VideoPath = str | os.PathLike[str]
Transition = Literal["cut", "blend"]
ControlKind = Literal["depth", "pose", "edge", "raw"]
Task = Literal["generate", "extend", "interpolate", "edit"]
DATA_URL = "data:image/png;base64,"
_MAX_STRENGTH = 20.0
"""Of a LoRA. Sliders go to about 10; more is a mistake in any case."""
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def check_text(text: str) -> str:
    """The text, if it has no control characters but tabs and line breaks.

    They say nothing to a model, a database may not store them (U+0000), and a terminal obeys them.

    Raises:
        ValueError: there is one; the message names it.
    """
    if found := _CONTROL_CHARACTER.search(text):
        raise ValueError(
            f"it contains the control character U+{ord(found[0]):04X}; remove it (tabs and line breaks may "
            "stay)"
        )
    return text


@dataclass(frozen=True, kw_only=True, eq=False)
class Keyframe:
    """An image that the video shows at a time, in seconds from its beginning."""

    seconds: float
    image: ImageInput


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """A part of a storyboard.

    Attributes:
        prompt: what it shows.
        seconds: when it begins; the first shot begins at 0.
        image: its first frame.
        transition: how it begins: `cut` starts a new shot, `blend` changes the prompt within the shot before.
    """

    prompt: str
    seconds: float = 0.0
    image: ImageInput | None = None
    transition: Transition = "cut"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA (arXiv 2106.09685): a small change of the model's weights for a style, a subject or a motion.

    Attributes:
        file: a safetensors file; a folder with one, or with a pair for high and low noise; or a name that
            `Pipeline.load_lora` or the server's settings have for it.
        strength: factor of the change: 1 as it was trained, 0 none.
        low_noise_strength: of the second expert in models that have two; None: as `strength`.
    """

    file: str | os.PathLike[str]
    strength: float = 1.0
    low_noise_strength: float | None = None

    def __post_init__(self) -> None:
        for strength in (self.strength, self.low_noise_strength or 0.0):
            # NaN is not in the range either.
            if not -_MAX_STRENGTH <= strength <= _MAX_STRENGTH:
                raise UserError(
                    f"a LoRA can't have strength {strength}; give -{_MAX_STRENGTH:g} to {_MAX_STRENGTH:g}, "
                    "where 1 is as it was trained"
                )


@dataclass(frozen=True, kw_only=True)
class ExtendInput:
    """Continue a video, or with `backward` generate what comes before it."""

    kind: Literal["extend"] = "extend"
    video: VideoPath
    backward: bool = False


@dataclass(frozen=True, kw_only=True)
class InterpolateInput:
    """Generate the frames between the end of one video and the beginning of another."""

    kind: Literal["interpolate"] = "interpolate"
    first: VideoPath
    last: VideoPath


@dataclass(frozen=True, kw_only=True, eq=False)
class EditInput:
    """Change a video (SDEdit, arXiv 2108.01073), or what a mask shows of it (VACE, arXiv 2503.07598).

    Attributes:
        video: the source.
        strength: the sigma to which the source is noised, above 0 to 1; 1 keeps nothing of it.
        mask: an image or a video, white where the video may change; None: everywhere.
        expand: pixels to add to the left, top, right and bottom, which are generated; for models with a
            control branch, and then with strength 1.
    """

    kind: Literal["edit"] = "edit"
    video: VideoPath
    strength: float = 0.6
    mask: ImageInput | None = None
    expand: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.expand is not None and (min(self.expand) < 0 or not any(self.expand)):
            raise UserError(f"a video can't be expanded by {self.expand}; give four numbers of pixels from 0")
        if self.expand is not None and self.mask is not None:
            raise UserError("an edit has a mask or is expanded, not both; leave out one of them")
        if not 0 < self.strength <= 1:
            raise UserError(f"an edit can't have strength {self.strength}; give above 0 up to 1 (new)")


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlInput:
    """A video that the result follows in depth, poses or edges; for models with a control branch (VACE).

    Attributes:
        video: the control video.
        kind: what it shows. `edge` computes the edges of a plain video here. The others are passed on as
            they are: `depth` and `pose` made by another program, `raw` any signal that the model knows.
        scale: how strongly the result follows it; 1 is as trained, 0 not at all.
    """

    video: VideoPath
    kind: ControlKind = "raw"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= 10:
            raise UserError(f"a control video can't have scale {self.scale}; give 0 to 10, usually 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoRequest:
    """All that a user may set. None leaves the choice to the model.

    Attributes:
        prompt: what the video shows.
        negative_prompt: what guidance steers away from.
        size: width and height in pixels; None: the model's, in the aspect ratio of the first image or video.
        num_frames: the length in frames, or else
        seconds: the length in seconds, rounded to what the model can make. For an extension or an
            interpolation: the length of the new part.
        fps: frames per second.
        num_inference_steps: solver steps.
        guidance_scale: scale of classifier-free guidance, 1 is off; one for each expert, or one for all.
        flow_shift: shift of the sigma schedule towards noise.
        seed: of the noise, which is drawn on the CPU, so that every machine draws the same.
        image: the first frame; it is cropped to the video's aspect ratio.
        last_image: the last frame.
        keyframes: images at their times.
        storyboard: shots; the prompt is left empty then.
        loop: whether the last frame leads into the first.
        source: videos to extend, to interpolate between, or to edit.
        upscale: sides of the video, in multiples of what is sampled first: 1, 2 or 4.
        loras: changes of the model's weights, all at once.
        recipe: how step-distilled weights are sampled: a name of `kinema.models.sampling_recipes`, `fast` for
            the model's own or that of its LoRA, `none` for the model's usual steps. None: the one that the
            names of the files stand for, if any.
        control: a video that the result follows.
        references: images of things that the video shows; for models with a control branch.
        step_cache: how far the velocity may change before a step is computed again instead of reusing the
            last result, above 0 to 1, for example 0.05: faster, and the video changes (EasyCache). None:
            every step is computed.
        rewrite_prompt: whether prompts in everyday English are rewritten into the wording of the model's
            captions, if the model has a rewriter. Never with LoRAs, which may know other words.
    """

    prompt: str = ""
    negative_prompt: str | None = None
    size: tuple[int, int] | None = None
    num_frames: int | None = None
    seconds: float | None = None
    fps: float | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | tuple[float, ...] | None = None
    flow_shift: float | None = None
    seed: int = 0
    image: ImageInput | None = None
    last_image: ImageInput | None = None
    keyframes: tuple[Keyframe, ...] = ()
    storyboard: tuple[Shot, ...] = ()
    loop: bool = False
    source: ExtendInput | InterpolateInput | EditInput | None = None
    upscale: int = 1
    loras: tuple[Lora, ...] = ()
    recipe: str | None = None
    control: ControlInput | None = None
    references: tuple[ImageInput, ...] = ()
    step_cache: float | None = None
    rewrite_prompt: bool = True

    @property
    def task(self) -> Task:
        """What is done."""
        return "generate" if self.source is None else self.source.kind

    @property
    def allows_rewriting(self) -> bool:
        """Whether a model's prompt rewriter may read the prompts; LoRAs may know words that it does not."""
        return self.rewrite_prompt and not self.loras

    def map_files(self, change: Callable[[ImageInput], ImageInput]) -> VideoRequest:
        """The same request with `change` applied to every image and video input (videos are paths)."""

        def image(value: ImageInput | None) -> ImageInput | None:
            return None if value is None else change(value)

        def video(value: VideoPath) -> VideoPath:
            changed = change(value)
            if isinstance(changed, np.ndarray):
                raise TypeError("a video input is a path, not an array")
            return changed

        source = self.source
        match source:
            case ExtendInput():
                source = dataclasses.replace(source, video=video(source.video))
            case InterpolateInput():
                source = dataclasses.replace(source, first=video(source.first), last=video(source.last))
            case EditInput():
                source = dataclasses.replace(source, video=video(source.video), mask=image(source.mask))
        return dataclasses.replace(
            self,
            image=image(self.image),
            last_image=image(self.last_image),
            keyframes=tuple(dataclasses.replace(key, image=change(key.image)) for key in self.keyframes),
            storyboard=tuple(dataclasses.replace(shot, image=image(shot.image)) for shot in self.storyboard),
            source=source,
            control=None
            if self.control is None
            else dataclasses.replace(self.control, video=video(self.control.video)),
            references=tuple(change(reference) for reference in self.references),
        )

    def files(self) -> tuple[str, ...]:
        """Paths of all image and video inputs, each once, in the order of the fields."""
        paths: list[str] = []

        def note(value: ImageInput) -> ImageInput:
            if not isinstance(value, np.ndarray) and not is_data_url(value):
                paths.append(os.fspath(value))
            return value

        self.map_files(note)
        return tuple(dict.fromkeys(paths))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. Fields at their defaults are left out; arrays become PNG data URLs."""
        loras = tuple(dataclasses.replace(lora, file=os.fspath(lora.file)) for lora in self.loras)
        plain = dataclasses.asdict(dataclasses.replace(self.map_files(_to_text), loras=loras))
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {name: value for name, value in plain.items() if value != defaults[name]}

    @classmethod
    def from_dict(cls, values: object, *, source: str = "the request") -> VideoRequest:
        """What `to_dict` wrote.

        Args:
            values: the parsed JSON object.
            source: what it is called in messages.

        Raises:
            UserError: a field is unknown or has the wrong type; the message names it.
        """
        return from_values(cls, values, source=source)


def is_data_url(value: ImageInput) -> bool:
    """Whether an image input carries the image itself."""
    return isinstance(value, str) and value.startswith(DATA_URL)


def decode_data_url(value: str) -> np.ndarray:
    """The image in a PNG data URL, uint8 h w 3.

    Raises:
        UserError: it is no PNG.
    """
    from PIL import Image

    try:
        data = base64.b64decode(value.removeprefix(DATA_URL), validate=True)
        # Only the PNG decoder: the string may come from a file's metadata, which nobody vouches for.
        return np.asarray(Image.open(io.BytesIO(data), formats=("PNG",)).convert("RGB"))
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f"an image that starts with {DATA_URL} is not a valid PNG") from None


def _to_text(value: ImageInput) -> str:
    if not isinstance(value, np.ndarray):
        return os.fspath(value)
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(value).save(stream, format="PNG")
    return DATA_URL + base64.b64encode(stream.getvalue()).decode()


def resolve_path(value: ImageInput, folder: Path) -> ImageInput:
    """A path input relative to a folder; arrays and data URLs stay as they are."""
    if isinstance(value, np.ndarray) or is_data_url(value):
        return value
    return os.fspath(folder / value)
