"""What callers may send, field by field. This is where untyped text becomes typed values."""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from starlette.datastructures import UploadFile

from kinema.errors import did_you_mean
from kinema.server.errors import bad_request
from kinema.server.form_parsing import Fields

MAX_PROMPT_CHARS = 32_000
MAX_SHOTS = 32

Upload = Annotated[InstanceOf[UploadFile], WithJsonSchema({"type": "string", "format": "binary"})]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_CHARS)]


def _number_to_text(value: object) -> object:
    """A number where text is meant, as people write `seconds=4`."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _parse_json_text(value: object) -> object:
    """A list or object that was written as JSON into a form."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _check_seconds_length(value: object) -> object:
    if isinstance(value, str) and len(value) > 32:
        raise ValueError("is no number of seconds")
    return value


Seconds = Annotated[
    float,
    BeforeValidator(_check_seconds_length),
    Field(gt=0, le=86400, allow_inf_nan=False, examples=["4"]),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^[0-9]{1,4}(\.[0-9]{1,3})?$"},
                              {"type": "number", "exclusiveMinimum": 0, "maximum": 86400}]}),
]  # fmt: skip
Size = Annotated[str, StringConstraints(max_length=40), Field(examples=["1280x720"])]


class StrictModel(BaseModel):
    """A name that is not known is a mistake, and said so."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ImageUrl(StrictModel):
    """A picture in place: `data:image/png;base64,...`; or an address, if the operator allows its host."""

    image_url: str


class VideoRef(StrictModel):
    """A film of this server."""

    id: Annotated[str, StringConstraints(max_length=100)]


ImageInput = Annotated[Upload | ImageUrl, BeforeValidator(_parse_json_text)]
VideoInput = Annotated[Upload | VideoRef, BeforeValidator(_parse_json_text)]


class ShotRequest(StrictModel):
    """A shot of a storyboard."""

    prompt: Prompt
    seconds: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 0.0
    """When it begins."""
    image: ImageInput | None = None
    transition: Literal["cut", "blend"] = "cut"


class SamplingOptions(StrictModel):
    """What Kinema takes beyond the Videos API."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, lt=1000, allow_inf_nan=False)] | None = None
    negative_prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARS)] | None = None


class CreateVideoRequest(SamplingOptions):
    """A film from words."""

    prompt: Prompt
    model: Annotated[str, StringConstraints(max_length=200)] | None = None
    seconds: Seconds | None = None
    size: Size | None = None
    input_reference: ImageInput | None = None
    last_frame: ImageInput | None = None
    fps: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] | None = None
    loop: bool = False
    storyboard: Annotated[
        list[ShotRequest], BeforeValidator(_parse_json_text), Field(max_length=MAX_SHOTS)
    ] = []


class RemixRequest(SamplingOptions):
    """A film of this server once more, with other words."""

    prompt: Prompt
    strength: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None


class EditRequest(RemixRequest):
    """A film changed."""

    video: VideoInput


class ExtendRequest(SamplingOptions):
    """A film that goes on."""

    prompt: Prompt
    seconds: Seconds
    video: VideoInput
    backward: bool = False


class InterpolateRequest(SamplingOptions):
    """A bridge from the end of one film to the beginning of another."""

    prompt: Prompt
    seconds: Seconds | None = None
    video: VideoInput
    next_video: VideoInput


T = TypeVar("T", bound=StrictModel)


def validate_body(body_type: type[T], fields: Fields) -> T:
    """The fields as what they are.

    Raises:
        ApiError: a field is missing, unknown, or of another type; the first one is named.
    """
    try:
        return body_type.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = [
        str(part) for part in first["loc"] if part not in ("is-instance[UploadFile]", "PictureUrl", "FilmId")
    ]
    name = ".".join(where)[:200]
    if first["type"] == "missing":
        raise bad_request(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(where[-1], body_type.model_fields) if len(where) == 1 else ""
        raise bad_request(f"Unknown parameter: '{name}'{hint}.", param=name, code="unknown_parameter")
    message = first["msg"]
    if first["type"] == "is_instance_of":
        message = "a file, or an object with image_url (a picture) or id (a film), is expected"
    raise bad_request(f"Invalid value for '{name}': {message}.", param=name, code="invalid_value")
