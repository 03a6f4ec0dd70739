"""Dataset configurations of musubi-tuner and diffusion-pipe (TOML), ai-toolkit (YAML) and SimpleTuner (JSON).

Keys that choose videos, captions, frames and sizes are used. Keys that belong to training are known and have
no effect here. Any other key is an error that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kinema.data.aspect_buckets import Size, diffusion_pipe_ratios
from kinema.data.formats.archives import read_webdataset
from kinema.data.formats.sidecars import read_captions_json, read_folder, read_text
from kinema.data.formats.tables import load_json, read_table, rows_to_items
from kinema.data.media_item import ClipOptions, MediaItem
from kinema.errors import UserError, did_you_mean, missing_extra

_MUSUBI_KEYS = {
    "resolution", "caption_extension", "batch_size", "num_repeats", "enable_bucket", "bucket_no_upscale",
    "image_directory", "image_jsonl_file", "video_directory", "video_jsonl_file", "cache_directory",
    "control_directory", "target_frames", "frame_extraction", "frame_stride", "frame_sample", "max_frames",
    "source_fps", "multiple_target", "no_resize_control", "control_resolution", "fp_latent_window_size",
    "fp_1f_clean_indices", "fp_1f_target_index", "fp_1f_no_post", "flux_kontext_no_resize_control",
    "qwen_image_edit_no_resize_control", "qwen_image_edit_control_resolution",
}  # fmt: skip
_DIFFUSION_PIPE_KEYS = {
    "resolutions", "enable_ar_bucket", "min_ar", "max_ar", "num_ar_buckets", "frame_buckets", "ar_buckets",
    "size_buckets", "path", "num_repeats", "mask_path", "control_path", "caption_prefix", "cache_shuffle_num",
    "cache_shuffle_delimiter", "skip_empty_caption", "directory", "shuffle_tags", "shuffle",
    "video_clip_mode",
}  # fmt: skip
_AI_TOOLKIT_KEYS = {
    "folder_path", "dataset_path", "caption_ext", "default_caption", "caption_dropout_rate", "num_frames",
    "resolution", "shrink_video_to_frames", "fps", "auto_frame_count", "trim_auto_frame_count_tail",
    "num_repeats", "control_path", "mask_path", "trigger_word", "token_dropout_rate", "shuffle_tokens",
    "cache_latents_to_disk", "cache_latents", "cache_text_embeddings", "is_reg", "network_weight", "bucket",
    "buckets", "flip_x", "flip_y", "do_i2v", "keep_tokens", "mask_min_value", "controls", "type", "scale",
    "random_crop", "random_scale", "crop_x", "crop_y", "num_workers", "prior_reg", "loss_multiplier",
}  # fmt: skip


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file.

    Raises:
        UserError: it is damaged.
    """
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}; correct it") from None


def read_musubi(path: Path, default: ClipOptions) -> list[MediaItem]:
    """musubi-tuner's dataset configuration.

    Args:
        path: of the TOML file; paths in it are relative to the working folder, or to the file.
        default: supplies the rate and the strides of the model.

    Raises:
        UserError: a key is unknown or missing, or a value is out of its range.
    """
    config = load_toml(path)
    _check_keys(path, config, {"general", "datasets"})
    general = config.get("general", {})
    items: list[MediaItem] = []
    for number, own in enumerate(config.get("datasets", []), 1):
        values = {**general, **own}
        where = f"{path}, dataset {number}"
        _check_keys(where, values, _MUSUBI_KEYS)
        source_fps = values.get("source_fps")
        only_images = "image_directory" in values or "image_jsonl_file" in values
        fixed = only_images and not values.get("enable_bucket", False)
        clips = _options(
            where,
            lambda v=values, rate=source_fps, one_size=fixed: dataclasses.replace(
                default,
                frames=tuple(v.get("target_frames", (1,))),
                mode=_choice("frame_extraction", v.get("frame_extraction", "head"), _MUSUBI_MODES),
                stride=v.get("frame_stride", 1),
                samples=v.get("frame_sample", 1),
                max_frames=v.get("max_frames", 129),
                fps=None if rate is None else default.fps,
                resampling="none" if rate is None else "musubi",
                source_fps=rate,
                resolutions=(_area(v.get("resolution", (960, 544))),),
                bucket_rule="fixed" if one_size else "musubi",
                no_upscale=v.get("bucket_no_upscale", False),
                size_buckets=(),
            ),
        )
        repeats = values.get("num_repeats", 1)
        folder = values.get("video_directory") or values.get("image_directory")
        table = values.get("video_jsonl_file") or values.get("image_jsonl_file")
        if folder:
            if "caption_extension" not in values:
                raise UserError(f'{where}: caption_extension is missing; add caption_extension = ".txt"')
            items += read_folder(
                _folder(where, folder, path.parent),
                caption_suffixes=(values["caption_extension"],),
                recursive=False,
                repeats=repeats,
                clips=clips,
            )
        elif table:
            items += read_table(_existing(where, table, path.parent), repeats=repeats, clips=clips)
        else:
            raise UserError(
                f"{where} has no videos; add video_directory, image_directory, video_jsonl_file or "
                "image_jsonl_file"
            )
    if not config.get("datasets"):
        raise UserError(f"{path} has no [[datasets]]; add one")
    return items


def read_diffusion_pipe(path: Path, default: ClipOptions) -> list[MediaItem]:
    """diffusion-pipe's dataset configuration.

    Args:
        path: of the TOML file.
        default: supplies the rate and the strides of the model.

    Raises:
        UserError: a key is unknown or missing, or a value is out of its range.
    """
    config = load_toml(path)
    _check_keys(path, config, _DIFFUSION_PIPE_KEYS)
    items: list[MediaItem] = []
    for number, own in enumerate(config.get("directory", []), 1):
        values = {**{key: value for key, value in config.items() if key != "directory"}, **own}
        where = f"{path}, directory {number}"
        _check_keys(where, values, _DIFFUSION_PIPE_KEYS)
        clips = _options(where, lambda v=values: _diffusion_pipe_options(v, default))
        folder = _folder(where, _required(where, values, "path"), path.parent)
        repeats = values.get("num_repeats", 1)
        if (folder / "captions.json").is_file():
            found = read_captions_json(
                folder, load_json(folder / "captions.json"), repeats=repeats, clips=clips
            )
        else:
            found = read_folder(
                folder, caption_suffixes=(".txt",), recursive=False, repeats=repeats, clips=clips
            )
        for tar in sorted(folder.glob("*.tar")):
            found += read_webdataset(tar, repeats=repeats, clips=clips)
        prefix = values.get("caption_prefix", "")
        items += [
            dataclasses.replace(item, captions=tuple(prefix + text for text in item.captions))
            for item in found
        ]
    if not config.get("directory"):
        raise UserError(f"{path} has no [[directory]]; add one")
    return items


def read_ai_toolkit(path: Path, default: ClipOptions) -> list[MediaItem]:
    """The datasets of ai-toolkit's YAML job, or its JSON object of absolute paths.

    Args:
        path: of the YAML or JSON file.
        default: supplies the rate and the strides of the model.

    Raises:
        UserError: the file is damaged, or a key is unknown or missing.
    """
    if path.suffix.lower() == ".json":
        return _ai_toolkit_paths(path, None, 1)
    try:
        import yaml
    except ImportError:
        raise missing_extra("reading YAML", "data") from None
    try:
        config = yaml.safe_load(read_text(path))
    except yaml.YAMLError:
        raise UserError(f"{path} is not YAML; correct it") from None
    datasets = list(_find_datasets(config))
    if not datasets:
        raise UserError(f"{path} has no `datasets`; give the job of ai-toolkit")
    items: list[MediaItem] = []
    for number, values in enumerate(datasets, 1):
        where = f"{path}, dataset {number}"
        _check_keys(where, values, _AI_TOOLKIT_KEYS)
        clips = _options(where, lambda v=values: _ai_toolkit_options(v, default))
        repeats = int(values.get("num_repeats", 1))
        if values.get("dataset_path"):
            found = _ai_toolkit_paths(_existing(where, values["dataset_path"], path.parent), clips, repeats)
        else:
            found = read_folder(
                _folder(where, _required(where, values, "folder_path"), path.parent),
                caption_suffixes=(values.get("caption_ext", "txt"), "txt"),
                default_caption=values.get("default_caption", ""),
                repeats=repeats,
                clips=clips,
            )
        trigger = values.get("trigger_word") or ""
        items += [
            dataclasses.replace(item, captions=tuple(_with_trigger(text, trigger) for text in item.captions))
            for item in found
        ]
    return items


def read_simpletuner(path: Path, default: ClipOptions) -> list[MediaItem]:
    """SimpleTuner's `multidatabackend.json`; entries of text embeddings are left out.

    Args:
        path: of the JSON file.
        default: supplies the rate and the strides of the model.

    Raises:
        UserError: an entry has no folder, or an unknown caption strategy.
    """
    items: list[MediaItem] = []
    for number, entry in enumerate(load_json(path), 1):
        where = f"{path}, entry {number}"
        if entry.get("dataset_type", "image") not in ("image", "video") or entry.get("disabled"):
            continue
        clips = _options(where, lambda v=entry: _simpletuner_options(v, default))
        repeats = int(entry.get("repeats", 0)) + 1
        folder = _folder(where, _required(where, entry, "instance_data_dir"), path.parent)
        strategy = entry.get("caption_strategy", "textfile")
        if strategy == "parquet":
            options = entry.get("parquet", {})
            name, caption = options.get("filename_column", "id"), options.get("caption_column", "caption")
            rows = pq.read_table(
                _existing(where, _required(where, options, "path"), path.parent), columns=[name, caption]
            ).to_pylist()
            table = [{"file": str(row[name]), "caption": row[caption]} for row in rows]
            items += rows_to_items(path, table, folder=folder, repeats=repeats, clips=clips)
            continue
        if strategy not in ("textfile", "filename", "instanceprompt"):
            raise UserError(
                f"{where}: caption_strategy {strategy!r} is not supported; use textfile, filename, "
                "instanceprompt or parquet"
            )
        found = read_folder(
            folder,
            caption_suffixes=(".txt",) if strategy == "textfile" else (),
            split_lines=not entry.get("disable_multiline_split", False),
            default_caption=entry.get("instance_prompt", "") if strategy == "instanceprompt" else "",
            repeats=repeats,
            clips=clips,
        )
        if strategy == "filename":
            found = [
                dataclasses.replace(item, captions=(item.stem.replace("_", " "),), caption_source="file_name")
                for item in found
            ]
        items += found
    return items


_MUSUBI_MODES = ("head", "chunk", "slide", "uniform", "full")


def _diffusion_pipe_options(values: Mapping[str, Any], default: ClipOptions) -> ClipOptions:
    ratios: Iterable[float] = ()
    if values.get("ar_buckets"):
        ratios = (one[0] / one[1] if isinstance(one, list) else float(one) for one in values["ar_buckets"])
    elif values.get("enable_ar_bucket"):
        ratios = diffusion_pipe_ratios(
            values.get("min_ar", 0.5), values.get("max_ar", 2.0), values.get("num_ar_buckets", 7)
        )
    sizes = tuple((one[0], one[1], one[2]) for one in values.get("size_buckets", ()))
    return dataclasses.replace(
        default,
        frames=tuple(sorted({1, *values.get("frame_buckets", (1,))})),
        mode=values.get("video_clip_mode", "single_beginning"),
        resampling="diffusion-pipe",
        source_fps=None,
        resolutions=tuple(_area(one) for one in values.get("resolutions", (512,))),
        bucket_rule="diffusion-pipe",
        # Without buckets of ratios everything is square.
        ratios=tuple(ratios) or (1.0,),
        size_buckets=sizes,
    )


def _ai_toolkit_options(values: Mapping[str, Any], default: ClipOptions) -> ClipOptions:
    resolution = values.get("resolution", 512)
    shrink = values.get("shrink_video_to_frames", True) and not values.get("auto_frame_count")
    frames = int(values.get("num_frames", 1))
    return dataclasses.replace(
        default,
        frames=(frames,),
        max_frames=max(frames, default.max_frames),
        mode="full" if values.get("auto_frame_count") else "shrink" if shrink else "head",
        fps=None if shrink else float(values.get("fps", 24)),
        resampling="none" if shrink else "diffsynth" if values.get("auto_frame_count") else "ai-toolkit",
        source_fps=None,
        resolutions=tuple(
            _area(one) for one in (resolution if isinstance(resolution, list) else [resolution])
        ),
        bucket_rule="ai-toolkit",
        size_buckets=(),
    )


def _simpletuner_options(entry: Mapping[str, Any], default: ClipOptions) -> ClipOptions:
    video = entry.get("video", {})
    size = float(entry.get("resolution", 1.0 if entry.get("resolution_type", "area") == "area" else 480))
    side = round(math.sqrt(size * 1e6)) if entry.get("resolution_type", "area") == "area" else round(size)
    square = entry.get("crop") and entry.get("crop_aspect", "square") == "square"
    return dataclasses.replace(
        default,
        frames=(int(video["num_frames"]),) if "num_frames" in video else default.frames,
        mode="head",
        resolutions=((side, side),),
        bucket_rule="fixed" if square else default.bucket_rule,
        size_buckets=(),
    )


def _ai_toolkit_paths(path: Path, clips: ClipOptions | None, repeats: int) -> list[MediaItem]:
    values = load_json(path)
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise UserError(f"{path} must be an object: absolute path to {{'caption': ...}}")
    rows = [{"file": name, **value} for name, value in values.items()]
    return rows_to_items(path, rows, repeats=repeats, clips=clips)


def _with_trigger(text: str, trigger: str) -> str:
    if not trigger:
        return text
    replaced = text.replace("[trigger]", trigger).replace("[name]", trigger)
    return replaced if trigger in replaced else f"{trigger} {replaced}"


def _find_datasets(config: object) -> Iterable[dict[str, Any]]:
    """All `datasets` lists of a YAML job, at any depth."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "datasets" and isinstance(value, list):
                yield from (one for one in value if isinstance(one, dict))
            else:
                yield from _find_datasets(value)
    elif isinstance(config, list):
        for value in config:
            yield from _find_datasets(value)


def _options(where: str, build: Callable[[], ClipOptions]) -> ClipOptions:
    try:
        return build()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        raise UserError(
            f"{where}: a value has the wrong type; compare it with the trainer's manual"
        ) from None


def _area(value: object) -> Size:
    if isinstance(value, (list, tuple)):
        width, height = value
        return int(width), int(height)
    if isinstance(value, (int, float)):
        return int(value), int(value)
    raise TypeError(value)


def _choice(key: str, value: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise UserError(f"{key} is {value!r}{did_you_mean(value, known)}; choose one of {', '.join(known)}")
    return value


def _check_keys(where: object, values: Mapping[str, Any], known: set[str]) -> None:
    for key in values:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}; remove or correct it")


def _required(where: str, values: Mapping[str, Any], key: str) -> str:
    if not values.get(key):
        raise UserError(f"{where}: {key} is missing; add it")
    return str(values[key])


def _existing(where: str, name: str, base: Path) -> Path:
    for path in (Path(name).absolute(), (base / name).absolute()):
        if path.exists():
            return path
    raise UserError(f"{where}: {name} does not exist; correct the path")


def _folder(where: str, name: str, base: Path) -> Path:
    path = _existing(where, name, base)
    if not path.is_dir():
        raise UserError(f"{where}: {name} is not a folder")
    return path
