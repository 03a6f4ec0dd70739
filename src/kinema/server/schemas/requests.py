"""Request bodies, field by field. Here untyped text becomes typed values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    InstanceOf,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from starlette.datastructures import UploadFile

from kinema.errors import UserError, did_you_mean
from kinema.models.sampling_recipes import find_recipe
from kinema.pipeline.request import ControlKind, check_text
from kinema.server.errors import bad_request
from kinema.server.form_parsing import Fields, parse_json_text

MAX_PROMPT_CHARS = 32_000
MAX_SHOTS = 32
MAX_KEYFRAMES = 32
MAX_LORAS = 8
MAX_REFERENCES = 8
MAX_EXPANSION = 4096

Upload = Annotated[InstanceOf[UploadFile], WithJsonSchema({"type": "string", "format": "binary"})]
PLAIN = AfterValidator(check_text)
"""For whatever is stored: no control characters."""
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_CHARS), PLAIN]


def _parse_json_text(value: object) -> object:
    """A list or object that a form field holds as JSON."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return parse_json_text(value)
        except ValueError:
            return value
    return value


def _parse_image(value: object) -> object:
    """An image as an object; a plain string is its address."""
    if isinstance(value, str) and value[:5].lower() in ("data:", "https", "http:"):
        return {"image_url": value}
    return _parse_json_text(value)


def check_count(most: int) -> Callable[[object], object]:
    """Refuse long lists before their entries are validated."""

    def check(value: object) -> object:
        if isinstance(value, list) and len(value) > most:
            raise ValueError(f"it has {len(value)} entries, and at most {most} are allowed")
        return value

    return check


def _check_seconds_length(value: object) -> object:
    if isinstance(value, str) and len(value) > 32:
        raise ValueError("it is not a number of seconds")
    return value


Seconds = Annotated[
    float,
    BeforeValidator(_check_seconds_length),
    Field(gt=0, le=86400, allow_inf_nan=False, examples=["4"]),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^[0-9]{1,4}(\.[0-9]{1,3})?$"},
                              {"type": "number", "exclusiveMinimum": 0, "maximum": 86400}]}),
]  # fmt: skip
ShortText = Annotated[str, StringConstraints(max_length=40), PLAIN]


def _check_recipe(name: str) -> str:
    if name not in ("fast", "none"):
        try:
            find_recipe(name)
        except UserError as error:
            raise ValueError(str(error)) from None
    return name


Size = Annotated[ShortText, Field(examples=["1280x720"])]
NumFrames = Annotated[int, Field(ge=1, le=1_000_000)]
GuidanceScale = Annotated[float, Field(ge=0, lt=1000, allow_inf_nan=False)]


class StrictModel(BaseModel):
    """Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ImageUrl(StrictModel):
    """An image: `data:image/png;base64,...`, or an https address if the operator allows its host."""

    image_url: str


class VideoRef(StrictModel):
    """A video of this server."""

    id: Annotated[str, StringConstraints(max_length=100), PLAIN]


ImageInput = Annotated[Upload | ImageUrl, BeforeValidator(_parse_image)]
VideoInput = Annotated[Upload | VideoRef, BeforeValidator(_parse_json_text)]
Time = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class ShotRequest(StrictModel):
    """A shot of a storyboard."""

    prompt: Prompt
    seconds: Time = 0.0
    """When it starts."""
    image: ImageInput | None = None
    transition: Literal["cut", "blend"] = "cut"


class KeyframeRequest(StrictModel):
    """An image that the video shows at a time."""

    seconds: Time
    image: ImageInput


LoraStrength = Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)]


class LoraRequest(StrictModel):
    """A LoRA of this server: `/v1/models` lists the names."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64), PLAIN]
    strength: LoraStrength = 1.0
    """1 as it was trained, 0 none."""
    low_noise_strength: LoraStrength | None = None
    """Of the second expert of a model with two; without it, as `strength`."""


class GenerationOptions(StrictModel):
    """Options of every request beyond the OpenAI API; names and meaning as in `VideoRequest`."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    fps: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] | None = None
    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance_scale: GuidanceScale | None = None
    guidance_scale_2: GuidanceScale | None = None
    """Of the second expert (low noise) of a model with two."""
    boundary_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """The sigma at which the second expert takes over: the model's own, no other is possible."""
    flow_shift: Annotated[float, Field(gt=0, lt=1000, allow_inf_nan=False)] | None = None
    negative_prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARS), PLAIN] | None = None
    upscale: Annotated[int, Field(ge=1, le=4)] | None = None
    loras: Annotated[
        Annotated[list[LoraRequest], Field(max_length=MAX_LORAS)] | None,
        BeforeValidator(check_count(MAX_LORAS)),
        BeforeValidator(_parse_json_text),
    ] = None
    recipe: Annotated[ShortText, AfterValidator(_check_recipe), Field(examples=["lightning-4"])] | None = None
    """How step-distilled weights are sampled; `fast` is the model's own, `none` its usual steps."""
    step_cache: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    """How far the velocity may change before a step is computed again instead of reusing the last result."""
    rewrite_prompt: bool | None = None
    """Whether prompts in everyday English are rewritten into the wording of the model's captions."""

    def image_inputs(self) -> Iterator[tuple[str, UploadFile | ImageUrl]]:
        """All images of the request, each with the name of its parameter."""
        yield from ()


class CreateVideoRequest(GenerationOptions):
    """A new video."""

    prompt: Prompt
    model: Annotated[str, StringConstraints(max_length=200), PLAIN] | None = None
    seconds: Seconds | None = None
    num_frames: NumFrames | None = None
    """The length in frames, in place of `seconds`; rounded to what the model can generate."""
    size: Size | None = None
    aspect_ratio: Annotated[ShortText, Field(examples=["16:9"])] | None = None
    """In place of `size`: at the model's own number of pixels."""
    resolution: Annotated[ShortText, Field(examples=["720p"])] | None = None
    """In place of `size`: the shorter side, in the aspect ratio."""
    input_reference: ImageInput | None = None
    """The first frame."""
    last_image: ImageInput | None = None
    """The last frame."""
    keyframes: Annotated[
        list[KeyframeRequest],
        FailFast(),
        BeforeValidator(check_count(MAX_KEYFRAMES)),
        BeforeValidator(_parse_json_text),
        Field(max_length=MAX_KEYFRAMES),
    ] = []
    storyboard: Annotated[
        list[ShotRequest],
        FailFast(),
        BeforeValidator(check_count(MAX_SHOTS)),
        BeforeValidator(_parse_json_text),
        Field(max_length=MAX_SHOTS),
    ] = []
    loop: bool = False
    control: VideoInput | None = None
    """A video that the result follows; for models with a control branch."""
    control_kind: ControlKind = "raw"
    """What it shows; `edge`: its edges are computed, so send any video."""
    control_scale: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0
    references: Annotated[
        list[ImageInput],
        FailFast(),
        BeforeValidator(check_count(MAX_REFERENCES)),
        BeforeValidator(_parse_json_text),
        Field(max_length=MAX_REFERENCES),
    ] = []
    """Images of things that the video shows; for models with a control branch."""

    def image_inputs(self) -> Iterator[tuple[str, UploadFile | ImageUrl]]:
        """As `GenerationOptions.image_inputs`."""
        if self.input_reference is not None:
            yield "input_reference", self.input_reference
        if self.last_image is not None:
            yield "last_image", self.last_image
        for number, keyframe in enumerate(self.keyframes):
            yield f"keyframes.{number}.image", keyframe.image
        for number, shot in enumerate(self.storyboard):
            if shot.image is not None:
                yield f"storyboard.{number}.image", shot.image
        for number, reference in enumerate(self.references):
            yield f"references.{number}", reference


class LabelsRequest(StrictModel):
    """What the owner notes about a video; fields that are left out stay as they are."""

    favorite: bool | None = None
    folder: Annotated[str, StringConstraints(max_length=200, strip_whitespace=True), PLAIN] | None = None
    """Null or empty: in no folder."""


class RemixRequest(GenerationOptions):
    """A video of this server with another prompt."""

    prompt: Prompt
    strength: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None


class EditRequest(RemixRequest):
    """A change of a video."""

    video: VideoInput
    mask: ImageInput | None = None
    """White where the video may change."""
    expand: Annotated[
        Annotated[list[Annotated[int, Field(ge=0, le=MAX_EXPANSION)]], Field(min_length=4, max_length=4)]
        | None,
        BeforeValidator(_parse_json_text),
    ] = None
    """Pixels to add to the left, top, right and bottom; for models with a control branch."""

    def image_inputs(self) -> Iterator[tuple[str, UploadFile | ImageUrl]]:
        """As `GenerationOptions.image_inputs`."""
        if self.mask is not None:
            yield "mask", self.mask


class ExtendRequest(GenerationOptions):
    """A continuation of a video."""

    prompt: Prompt
    seconds: Seconds | None = None
    """Length of the new part; by default the model's own length."""
    num_frames: NumFrames | None = None
    """Length of the new part in frames, in place of `seconds`."""
    video: VideoInput
    backward: bool = False
    loop: bool = False
    """Whether the new part leads back to the beginning of the video."""


class InterpolateRequest(GenerationOptions):
    """The part between the end of one video and the beginning of another."""

    prompt: Prompt
    seconds: Seconds | None = None
    """Length of the new part."""
    video: VideoInput
    next_video: VideoInput


_UNION_MEMBERS = (ImageUrl.__name__, VideoRef.__name__)

T = TypeVar("T", bound=StrictModel)
MAX_IGNORED = 100
"""Unknown fields, beyond which a body is refused."""


def validate_body(body_type: type[T], fields: Fields, *, ignored: list[str] | None = None) -> T:
    """The fields as typed values.

    Args:
        body_type: what they should be.
        fields: of the request.
        ignored: where given, unknown fields are left out, and their names are added to this list.

    Raises:
        ApiError: a field is missing or invalid, or unknown where `ignored` is None; the error names it.
    """
    try:
        return body_type.model_validate(fields)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
    if ignored is not None:
        unknown = [_path(entry["loc"]) for entry in errors if entry["type"] == "extra_forbidden"]
        if len(ignored) + len(unknown) > MAX_IGNORED:
            raise bad_request(f"The body has more than {MAX_IGNORED} unknown fields.", param="body")
        if unknown and all(map(_is_plain, unknown)):
            ignored += [".".join(path)[:200] for path in unknown]
            return validate_body(body_type, _without(fields, unknown), ignored=ignored)
    first = errors[0]
    if first["type"] == "is_instance_of":  # An object is no file, but that may not be what is wrong with it.
        first = next((entry for entry in errors if _is_field_of_object(entry["loc"], entry["type"])), first)
    path = _path(first["loc"])
    name = ".".join(path)[:200] or "body"
    if first["type"] == "missing":
        raise bad_request(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    if first["type"] == "extra_forbidden":
        hint = unknown_field_hint(body_type, name)
        raise bad_request(f"Unknown parameter: '{name}'{hint}.", param=name, code="unknown_parameter")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "is_instance_of":
        message = "it must be a file, or an object with image_url (an image) or id (a video)"
    raise bad_request(f"Invalid value for '{name}': {message}.", param=name, code="invalid_value")


def unknown_field_hint(body_type: type[StrictModel], name: str) -> str:
    """` (did you mean ...?)`, or nothing."""
    return "" if "." in name else did_you_mean(name, body_type.model_fields)


def _is_field_of_object(location: tuple[int | str, ...], error_type: str) -> bool:
    """Whether an error is about the value of a field of an object that stands in place of a file."""
    is_value = error_type not in ("missing", "extra_forbidden")
    return is_value and len(location) > 2 and location[-2] in _UNION_MEMBERS


def _is_plain(path: list[str]) -> bool:
    """Whether a name has no control characters: names of ignored fields are stored with the job."""
    try:
        check_text(".".join(path))
    except ValueError:
        return False
    return True


def _path(location: tuple[int | str, ...]) -> list[str]:
    """The names of a parameter; members of unions are part of pydantic's location, but not of the name."""
    names = [str(part) for part in location if part not in _UNION_MEMBERS]
    return [name for name in names if "is-instance[" not in name]


def _without(fields: Fields, paths: list[list[str]]) -> Fields:
    """The fields without those at some paths."""

    def prune(value: object, inner: list[list[str]]) -> object:
        heads = {path[0]: [other[1:] for other in inner if other[0] == path[0]] for path in inner if path}
        parsed = _parse_json_text(value)
        if isinstance(parsed, dict):
            return {
                name: prune(entry, heads[name]) if name in heads else entry
                for name, entry in parsed.items()
                if [] not in heads.get(name, ())
            }
        if isinstance(parsed, list):
            return [
                prune(entry, heads[str(index)]) if str(index) in heads else entry
                for index, entry in enumerate(parsed)
            ]
        return value

    pruned = prune(fields, paths)
    return pruned if isinstance(pruned, dict) else fields
