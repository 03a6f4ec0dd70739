"""The dialect of self-hosted servers: the OpenAI Videos API with the fields of diffusers.

vLLM-Omni, SGLang and FastVideo accept it, and LiteLLM sends it (`hosted_vllm`). It has the paths of the
OpenAI API, so every request to `/v1/videos` goes through `parse_create`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import UploadFile

from kinema.server.errors import ApiError, bad_request
from kinema.server.form_parsing import Fields, parse_json_text
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    ExtendRequest,
    GenerationOptions,
    unknown_field_hint,
    validate_body,
)
from kinema.server.uploads import is_video

_GROUPS = ("extra_params", "extra_body", "extra_json", "video_params")
"""Objects, or JSON texts of objects, whose fields count as fields of the body."""
_UNSUPPORTED = {
    "generate_sound": "videos have no sound",
    "generate_audio": "videos have no sound",
    "sound_duration": "videos have no sound",
    "audio_reference": "videos have no sound",
    "source_audio": "videos have no sound",
    "audio_noise_mask": "videos have no sound",
    "true_cfg_scale": "guidance_scale is the only guidance",
    "enable_frame_interpolation": "send fps for more frames per second",
    "source_video": "send the video to /v1/videos/edits",
    "video_noise_mask": "send the mask to /v1/videos/edits",
    "enable_teacache": "send step_cache for cached steps",
    "characters": "no model here knows characters",
}
"""Fields that the dialect has and this server can't honour, with the reason."""
_NAMES = {"control_reference": "control", "control_type": "control_kind"}
"""Kinema's names of fields that have another one in the dialect."""
_CONTROL_KINDS = {"canny": "edge"}
_COUNTS = ("n", "num_outputs_per_prompt")
_OFF = (None, "", "false", "False", "0", False, 0)
_LORA_NAMES = ("name", "lora_name", "adapter", "path", "lora_path", "local_path")
_LORA_STRENGTHS = ("strength", "scale", "lora_scale", "weight")
_VIDEO_DATA_URL = re.compile(
    r"data:(?:video/[a-z0-9.+-]{1,40})?(?:;[a-z0-9=-]{1,40})*;base64,", re.IGNORECASE
)

T = TypeVar("T", bound=GenerationOptions)


@dataclass(frozen=True, kw_only=True)
class ParsedBody:
    """A body as a request of Kinema's API.

    Attributes:
        body: the request.
        ignored: names of fields that are unknown.
        warnings: what the client may have meant by them.
        origins: names of fields in the body, by Kinema's name, where they differ; for errors.
    """

    body: GenerationOptions
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    origins: dict[str, str]

    @contextlib.contextmanager
    def client_names(self) -> Iterator[None]:
        """Name fields in errors of the block as the client named them."""
        with client_names(self.origins):
            yield


@contextlib.contextmanager
def client_names(names: dict[str, str]) -> Iterator[None]:
    """Errors of the block name a parameter as the client did.

    Args:
        names: the client's names by Kinema's names.
    """
    try:
        yield
    except ApiError as error:
        head, dot, rest = (error.param or "").partition(".")
        if head in names:
            error.param = names[head] + dot + rest
            error.message = error.message.replace(f"'{head}", f"'{names[head]}")
        raise


def parse_options(body_type: type[T], fields: Fields, *, strict: bool) -> ParsedBody:
    """A body of a path that has Kinema's own fields only: an edit, an extension, an interpolation, a remix.

    Args:
        body_type: of the path.
        fields: of the body.
        strict: whether an unknown field is an error.

    Raises:
        ApiError: a field is missing or invalid.
    """
    if strict:
        return ParsedBody(body=validate_body(body_type, fields), origins={})
    ignored: list[str] = []
    body = validate_body(body_type, fields, ignored=ignored)
    return ParsedBody(body=body, ignored=tuple(ignored), warnings=_hints(body_type, ignored), origins={})


def parse_create(fields: Fields, *, strict: bool) -> ParsedBody:
    """A new video, or the continuation of the video that the body refers to.

    Args:
        fields: of the body.
        strict: whether an unknown field is an error.

    Raises:
        ApiError: a field is missing or invalid, or known and impossible here.
    """
    fields, origins = _merge_groups(fields)
    _refuse_unsupported(fields, origins)
    body_type: type[GenerationOptions] = CreateVideoRequest
    with client_names(origins):
        _rename(fields, origins)
        _merge_size(fields)
        _merge_lora(fields, origins)
        video = _merge_references(fields, origins)
        ignored: list[str] = []
        if video is not None:
            body_type, fields["video"] = ExtendRequest, video
        body = validate_body(body_type, fields, ignored=None if strict else ignored)
    names = tuple(origins.get(name, name) for name in ignored)
    return ParsedBody(body=body, ignored=names, warnings=_hints(body_type, ignored), origins=origins)


def _hints(body_type: type[GenerationOptions], ignored: list[str]) -> tuple[str, ...]:
    """A warning for each ignored name that looks like a typo."""
    hints = ((name, unknown_field_hint(body_type, name)) for name in ignored)
    return tuple(f"{name}: there is no such field{hint}" for name, hint in hints if hint)


def _merge_groups(fields: Fields) -> tuple[Fields, dict[str, str]]:
    """All fields on one level, and where they were."""
    merged = {name: value for name, value in fields.items() if name not in _GROUPS}
    origins: dict[str, str] = {}
    for group in _GROUPS:
        for name, value in _parse_object(group, fields.get(group)).items():
            origin = f"{group}.{name}"
            if name in merged and str(merged[name]) != str(value):
                raise bad_request(
                    f"{name!r} has two different values, in the body and in {group}; send one.",
                    param=origin,
                    code="invalid_value",
                )
            if name not in merged:
                merged[name], origins[name] = value, origin
    return merged, origins


def _parse_object(name: str, value: object) -> Fields:
    if value in (None, ""):
        return {}
    if isinstance(value, str):
        try:
            value = parse_json_text(value)
        except ValueError as error:
            raise bad_request(f"{name} is not JSON: {error}.", param=name, code="invalid_value") from None
    if not isinstance(value, dict):
        raise bad_request(f"{name} is not an object; send {{...}}.", param=name, code="invalid_value")
    return value


def _refuse_unsupported(fields: Fields, origins: dict[str, str]) -> None:
    """Refuse fields that can't be honoured, and drop those that are switched off."""
    for name, reason in _UNSUPPORTED.items():
        value = fields.pop(name, None)
        if value not in _OFF and value != [] and value != {}:
            raise bad_request(f"{name!r} is not possible here: {reason}.", param=origins.get(name, name),
                              code="unsupported_parameter")  # fmt: skip
    for name in _COUNTS:
        value = fields.pop(name, None)
        if value not in (None, "", 1, "1"):
            raise bad_request(f"{name!r} is 1 here: one request makes one video.",
                              param=origins.get(name, name), code="unsupported_parameter")  # fmt: skip


def _merge_size(fields: Fields) -> None:
    """`width` and `height` as `size`."""
    sides = [fields.pop("width", None), fields.pop("height", None)]
    if sides == [None, None]:
        return
    for name, other, side in (("width", "height", sides[0]), ("height", "width", sides[1])):
        if side is None:
            raise bad_request(f"{other!r} needs {name!r} beside it.", param=name,
                              code="missing_required_parameter")  # fmt: skip
        if not str(side).isdecimal() or not 0 < int(str(side)[:9]) < 100_000:
            raise bad_request(f"Invalid value for '{name}': it is a number of pixels.", param=name,
                              code="invalid_value")  # fmt: skip
    size = f"{int(str(sides[0]))}x{int(str(sides[1]))}"
    if fields.setdefault("size", size) != size:
        other = str(fields["size"])[:40]
        raise bad_request(f"size {other!r} and width x height {size} differ; send one of them.",
                          param="size", code="invalid_value")  # fmt: skip


def _rename(fields: Fields, origins: dict[str, str]) -> None:
    for theirs, ours in _NAMES.items():
        if theirs in fields and ours not in fields:
            fields[ours], origins[ours] = fields.pop(theirs), theirs
    kind = fields.get("control_kind")
    if isinstance(kind, str):
        fields["control_kind"] = _CONTROL_KINDS.get(kind, kind)


def _merge_lora(fields: Fields, origins: dict[str, str]) -> None:
    """`lora` of vLLM-Omni, one object, as `loras`. Its names for the fields vary."""
    value = _single("lora", fields.pop("lora", None))
    if value in (None, {}):
        return
    if not isinstance(value, dict):
        raise bad_request("lora is not an object; send {\"name\": ..., \"scale\": ...}.", param="lora",
                          code="invalid_value")  # fmt: skip
    if fields.get("loras"):
        raise bad_request("lora and loras mean the same; send one of them.", param="lora",
                          code="invalid_value")  # fmt: skip
    fields["loras"], origins["loras"] = [to_lora(value)], "lora"


def to_lora(value: Fields) -> Fields:
    """A LoRA of another dialect as one of this server: by name; a path is the name of its file."""
    name = next((value[key] for key in _LORA_NAMES if value.get(key)), "")
    strength = next((value[key] for key in _LORA_STRENGTHS if value.get(key) is not None), 1.0)
    return {"name": str(name).rpartition("/")[2].removesuffix(".safetensors"), "strength": strength}


def _merge_references(fields: Fields, origins: dict[str, str]) -> UploadFile | Fields | None:
    """The image reference as `input_reference`; a video reference is returned."""
    for name in ("reference_url", "image_reference"):
        value = _single(name, fields.pop(name, None))
        if value is None:
            continue
        if "input_reference" in fields:
            raise bad_request(f"{name} and input_reference are both a first image; send one of them.",
                              param=name, code="invalid_value")  # fmt: skip
        if isinstance(value, dict) and set(value) == {"file_id"}:
            raise bad_request("Files can't be stored here; send image_url.", param=name,
                              code="unsupported_parameter")  # fmt: skip
        fields["input_reference"] = value
        origins["input_reference"] = name
    videos = {
        name: _single(name, fields.pop(name, None)) for name in ("video_reference", "video_url", "video_path")
    }
    upload = fields.get("input_reference")
    if isinstance(upload, UploadFile) and _is_video_upload(upload):
        videos["input_reference"] = fields.pop("input_reference")
    found = {name: value for name, value in videos.items() if value is not None}
    if not found:
        return None
    name, value = next(iter(found.items()))
    if len(found) > 1 or "input_reference" in fields:
        raise bad_request(f"{name} can't be combined with another image or video; send one of them.",
                          param=name, code="invalid_value")  # fmt: skip
    origins["video"] = name
    if isinstance(value, dict):
        value = value.get("video_url", value)
    if isinstance(value, str):
        return decode_video_url(value, param=name)
    if isinstance(value, UploadFile) or (isinstance(value, dict) and "id" in value):
        return value
    raise bad_request(
        f"Invalid value for '{name}': send a file, video_url with a data URL, or the id of a video.",
        param=name,
        code="invalid_value",
    )


def _single(name: str, value: object) -> object:
    """A reference; a list of one counts as its entry, and JSON text as its value."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            value = parse_json_text(value)
        except ValueError as error:
            raise bad_request(f"{name} is not JSON: {error}.", param=name, code="invalid_value") from None
    if isinstance(value, list):
        if len(value) > 1:
            raise bad_request(f"{name} has {len(value)} entries; one is possible here.", param=name,
                              code="unsupported_parameter")  # fmt: skip
        value = value[0] if value else None
    return None if value == "" else value


def _is_video_upload(upload: UploadFile) -> bool:
    upload.file.seek(0)
    header = upload.file.read(16)
    upload.file.seek(0)
    return is_video(header)


def decode_video_url(url: str, *, param: str) -> UploadFile | Fields:
    """A video in a data URL as a file, or a video of this server by its address.

    Raises:
        ApiError: it is neither; videos of other servers are not downloaded.
    """
    own = re.search(r"/(video_[0-9a-f]{32})(?:/|$)", url) if not url.startswith("data:") else None
    if own is not None:
        return {"id": own[1]}
    match = _VIDEO_DATA_URL.match(url)
    if match is None:
        raise bad_request(
            "This server downloads no videos; upload the file or send data:video/mp4;base64,...",
            param=param,
            code="invalid_video_url",
        )
    try:
        data = base64.b64decode(url[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(
            "The data URL is not valid base64.", param=param, code="invalid_video_url"
        ) from None
    return UploadFile(io.BytesIO(data), size=len(data), filename="video")
