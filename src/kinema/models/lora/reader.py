"""The header of a LoRA file: its modules, shapes and scales, without the tensors.

Files are opened by safetensors' own reader, which checks all offsets and sizes.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.atomic_io import file_sha256
from kinema.errors import UserError
from kinema.models.formats.safetensors_io import PICKLE_SUFFIXES
from kinema.models.lora.names import ParsedName, Role, parse_name

_EXPERT_PATTERN = r"(?i)(?<![a-z])(high|low)(?:(?=[ _.-]?noise)|(?![a-z]))"
"""The word in a file's name that says which expert of Wan 2.2 A14B it is for."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of a file: its name and shape."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ModuleTensors:
    """The tensors of one module in a file.

    Attributes:
        name: the module's name in the file.
        tensors: by what they are.
    """

    name: ParsedName
    tensors: Mapping[Role, StoredTensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraFile:
    """The header of a LoRA file.

    Attributes:
        path: the file.
        modules: the tensors of each module.
        unknown: names of tensors of no known kind.
        peft_scales: PEFT's settings, by whether they are of the second expert; for tensors without alpha.
        metadata: the strings of the header.
    """

    path: Path
    modules: tuple[ModuleTensors, ...]
    unknown: tuple[str, ...]
    peft_scales: Mapping[bool, PeftScale]
    metadata: Mapping[str, str]

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return file_sha256(self.path)

    @property
    def expert(self) -> int | None:
        """The expert that the file's name says it is for: 0 for high noise, 1 for low noise; None: both."""
        found = {word.lower() for word in re.findall(_EXPERT_PATTERN, self.path.stem)}
        return {"high": 0, "low": 1}[found.pop()] if len(found) == 1 else None


@dataclass(frozen=True, kw_only=True)
class PeftScale:
    """PEFT's settings of the scale.

    Attributes:
        alpha: `lora_alpha`.
        alpha_pattern: of single modules, by their full names or the ends of these.
        root: divide by √r instead of r (`use_rslora`).
    """

    alpha: float
    alpha_pattern: Mapping[str, float]
    root: bool

    def scale(self, module: str, rank: int) -> float:
        """The factor of B·A."""
        alpha = self.alpha
        for pattern, own in self.alpha_pattern.items():
            if module == pattern or module.endswith("." + pattern):
                alpha = own
        return alpha / (math.sqrt(rank) if self.root else rank)


def open_lora(path: str | os.PathLike[str]) -> LoraFile:
    """Read the header of a LoRA file.

    Raises:
        UserError: there is no such file, it is damaged, a pickle, or no LoRA.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path).expanduser()
    _check_path(path)
    try:
        with safe_open(path, framework="pt") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a complete safetensors file ({reason}); download it again") from None
    grouped: dict[tuple[str, bool, bool], dict[Role, StoredTensor]] = {}
    names: dict[tuple[str, bool, bool], ParsedName] = {}
    unknown = []
    for name, shape in sorted(shapes.items()):
        parsed = parse_name(name)
        if parsed.role is None:
            unknown.append(name)
            continue
        if parsed.role == "unsupported":
            raise UserError(
                f"{path.name} has {name[:80]!r}, a kind of change that is not supported; "
                "LoRA, LoHa, LoKr, DoRA and differences are: convert the file, or take another one"
            )
        key = (parsed.module, parsed.underscores, parsed.second_expert)
        names[key] = parsed
        if parsed.role in grouped.setdefault(key, {}):
            raise UserError(
                f"{path.name} has {name[:80]!r} and the same under another name; download it again"
            )
        grouped[key][parsed.role] = StoredTensor(name=name, shape=shape)
    if not grouped:
        what = f"none of its {len(unknown)} tensors is" if unknown else "it has no tensor that is"
        raise UserError(
            f"{path.name} is no LoRA: {what} a change of a weight (lora_A, lora_down, hada_w1_a, lokr_w1, "
            "diff); full weights belong into a model folder, for --model"
        )
    return LoraFile(
        path=path,
        modules=tuple(ModuleTensors(name=names[key], tensors=roles) for key, roles in grouped.items()),
        unknown=tuple(unknown),
        peft_scales=_read_peft_scales(path, metadata),
        metadata=metadata,
    )


def _check_path(path: Path) -> None:
    if path.suffix in PICKLE_SUFFIXES:
        raise UserError(
            f"{path} is a pickle, which can run code when it is opened; only safetensors files are read: "
            "convert it, or download the safetensors"
        )
    if not path.is_file():
        raise UserError(f"there is no LoRA {path}; give a .safetensors file")


def _read_peft_scales(path: Path, metadata: Mapping[str, str]) -> dict[bool, PeftScale]:
    """PEFT's scale from the header (diffusers) or from `adapter_config.json` next to the file."""
    settings: dict[bool, dict[str, Any]] = {}
    if "lora_adapter_metadata" in metadata:
        values = _parse_json(metadata["lora_adapter_metadata"], path)
        for second, prefix in ((False, "transformer."), (True, "transformer_2.")):
            own = {name.removeprefix(prefix): one for name, one in values.items() if name.startswith(prefix)}
            if own:
                settings[second] = own
    config = path.with_name("adapter_config.json")
    if not settings and path.name == "adapter_model.safetensors" and config.is_file():
        try:
            settings[False] = _parse_json(config.read_text(encoding="utf-8"), config)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{config} can't be read ({error}); download it again") from None
    return {
        second: _parse_peft(values, path) for second, values in settings.items() if "lora_alpha" in values
    }


def _parse_json(text: str, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"PEFT's settings in {path} are not a JSON object; download the file again")
    return values


def _parse_peft(values: Mapping[str, Any], path: Path) -> PeftScale:
    patterns = values.get("alpha_pattern") or {}
    numbers = [values["lora_alpha"], *(patterns.values() if isinstance(patterns, dict) else [None])]
    if not all(isinstance(one, int | float) and abs(one) < 1e9 for one in numbers):
        raise UserError(f"lora_alpha of {path} is not a number; download the file again")
    return PeftScale(
        alpha=float(values["lora_alpha"]),
        alpha_pattern={str(name): float(alpha) for name, alpha in patterns.items()},
        root=values.get("use_rslora") is True,
    )
