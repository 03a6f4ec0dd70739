"""Writing LoRA files in the forms that other programs read.

Form `original` (Wan's own module names, PEFT suffixes, no alpha) is read by ComfyUI, diffusers, Wan2GP and
LightX2V; `kohya` by musubi-tuner and sd-scripts' heirs; `diffusers` by diffusers alone.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kinema.atomic_io import atomic_write
from kinema.errors import UserError
from kinema.models.formats.wan_keys import to_original_transformer_key
from kinema.models.lora.names import parse_name

LoraFormat = Literal["original", "kohya", "diffusers"]


def save_lora(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    *,
    alpha: float | None = None,
    lora_format: LoraFormat = "original",
    expert: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a LoRA file, atomically.

    Args:
        path: a `.safetensors` file.
        tensors: `<module>.lora_A.weight` [r, in] and `<module>.lora_B.weight` [out, r] for each module of a
            `Dit`, by our names (`blocks.0.attn1.to_q`); PEFT's prefix `base_model.model.` and its
            `.default` are accepted. They are stored in the type they have.
        alpha: the change of a weight is alpha / r · B·A; None: r, so that it is B·A.
        lora_format: `original` and `diffusers` fold √(alpha / r) into both factors or write it to the
            header, `kohya` stores alpha.
        expert: 1 for the expert for low noise; only `diffusers` writes it.
        metadata: strings for the header, such as the base model and the steps.

    Raises:
        UserError: the file can't be written.
        ValueError: a module has one factor of the two, shapes do not match, or a value is not finite.
    """
    from safetensors.torch import save_file

    if Path(path).suffix != ".safetensors":
        raise UserError(f"a LoRA is written as .safetensors, not as {path}; give such a name")
    pairs = _pair_factors(tensors)
    header = {"format": "pt", **(metadata or {})}
    match lora_format:
        case "original":
            stored = _original(pairs, alpha)
        case "kohya":
            stored = _kohya(pairs, alpha)
            ranks = sorted({len(down) for down, _ in pairs.values()})
            header = {
                "ss_network_module": "networks.lora_wan",
                "ss_network_dim": str(ranks[-1]),
                "ss_network_alpha": str(float(ranks[-1] if alpha is None else alpha)),
                **header,
            }
        case "diffusers":
            prefix = "transformer" if expert == 0 else "transformer_2"
            stored = {
                f"{prefix}.{module}.lora_{part}.weight": factor
                for module, factors in pairs.items()
                for part, factor in zip("AB", factors, strict=True)
            }
            header["lora_adapter_metadata"] = json.dumps(_peft_settings(pairs, alpha, prefix), sort_keys=True)
    with atomic_write(path) as temporary:
        save_file(stored, temporary, metadata=header)


def _pair_factors(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Both factors of each module on the CPU, sorted by module."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parsed = parse_name(name)
        if parsed.role not in ("down", "up"):
            raise ValueError(f"{name!r} is neither lora_A nor lora_B of a module")
        if not torch.isfinite(value).all():
            raise ValueError(f"{name!r} has values that are not finite; nothing was written")
        found.setdefault(parsed.module, {})[parsed.role] = (
            value.detach().cpu().clone(memory_format=torch.contiguous_format)
        )
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for module, factors in sorted(found.items()):
        down, up = factors.get("down"), factors.get("up")
        if down is None or up is None:
            raise ValueError(f"module {module!r} has only one of lora_A and lora_B")
        if up.shape[1] != down.shape[0]:
            raise ValueError(
                f"lora_B {tuple(up.shape)} of {module!r} does not match lora_A {tuple(down.shape)}"
            )
        pairs[module] = down, up
    if not pairs:
        raise ValueError("there is no module to write")
    return pairs


def _original(pairs: Mapping[str, tuple[Tensor, Tensor]], alpha: float | None) -> dict[str, Tensor]:
    stored = {}
    for module, (down, up) in pairs.items():
        scale = 1.0 if alpha is None else alpha / len(down)
        # The sign of a negative alpha goes into one factor.
        root = math.sqrt(abs(scale))
        name = f"diffusion_model.{to_original_transformer_key(module)}"
        stored[f"{name}.lora_A.weight"] = down if scale == 1 else down * root
        stored[f"{name}.lora_B.weight"] = up if scale == 1 else up * math.copysign(root, scale)
    return stored


def _kohya(pairs: Mapping[str, tuple[Tensor, Tensor]], alpha: float | None) -> dict[str, Tensor]:
    stored = {}
    for module, (down, up) in pairs.items():
        name = "lora_unet_" + to_original_transformer_key(module).replace(".", "_")
        stored[f"{name}.lora_down.weight"] = down
        stored[f"{name}.lora_up.weight"] = up
        stored[f"{name}.alpha"] = torch.tensor(float(len(down)) if alpha is None else alpha)
    return stored


def _peft_settings(
    pairs: Mapping[str, tuple[Tensor, Tensor]], alpha: float | None, prefix: str
) -> dict[str, object]:
    """PEFT's settings as diffusers stores them: each key with the component's name."""
    ranks = {module: len(down) for module, (down, _) in pairs.items()}
    rank = max(ranks.values())
    settings: dict[str, object] = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank if alpha is None else alpha,
        "rank_pattern": {module: own for module, own in ranks.items() if own != rank},
        "alpha_pattern": {module: own for module, own in ranks.items() if own != rank and alpha is None},
        "target_modules": sorted(pairs),
    }
    return {f"{prefix}.{key}": value for key, value in settings.items()}
