"""Names in LoRA files: prefix, module and suffix, and which of our modules each is.

Files use the module names of the original Wan repositories or those of diffusers, which are ours. Kohya's
files replace every dot of a name by an underscore. No rule can undo that (`cross_attn_k_img`), so the names
are looked up in a table of the model's own modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kinema.models.formats.wan_keys import convert_transformer_key, to_original_transformer_key

Role = Literal[
    "down",
    "up",
    "mid",
    "up_bias",
    "alpha",
    "dora_scale",
    "diff",
    "diff_b",
    "set_weight",
    "hada_w1_a",
    "hada_w1_b",
    "hada_w2_a",
    "hada_w2_b",
    "lokr_w1",
    "lokr_w1_a",
    "lokr_w1_b",
    "lokr_w2",
    "lokr_w2_a",
    "lokr_w2_b",
    "unsupported",
]
"""What a tensor is to the change of a module's weight."""

_SUFFIXES: tuple[tuple[str, Role], ...] = (
    (".lora_A.default.weight", "down"),
    (".lora_B.default.weight", "up"),
    (".lora_A.weight", "down"),
    (".lora_B.weight", "up"),
    (".lora_B.default.bias", "up_bias"),
    (".lora_B.bias", "up_bias"),
    (".lora_A", "down"),
    (".lora_B", "up"),
    (".lora_down.weight", "down"),
    (".lora_up.weight", "up"),
    (".lora_mid.weight", "mid"),
    (".lora.down.weight", "down"),
    (".lora.up.weight", "up"),
    ("_lora.down.weight", "down"),
    ("_lora.up.weight", "up"),
    (".lora_linear_layer.down.weight", "down"),
    (".lora_linear_layer.up.weight", "up"),
    (".lora_magnitude_vector.default.weight", "dora_scale"),
    (".lora_magnitude_vector.weight", "dora_scale"),
    (".lora_magnitude_vector", "dora_scale"),
    (".dora_scale", "dora_scale"),
    (".alpha", "alpha"),
    (".diff", "diff"),
    (".diff_b", "diff_b"),
    (".w_norm", "diff"),
    (".b_norm", "diff_b"),
    (".set_weight", "set_weight"),
    (".hada_w1_a", "hada_w1_a"),
    (".hada_w1_b", "hada_w1_b"),
    (".hada_w2_a", "hada_w2_a"),
    (".hada_w2_b", "hada_w2_b"),
    (".lokr_w1_a", "lokr_w1_a"),
    (".lokr_w1_b", "lokr_w1_b"),
    (".lokr_w2_a", "lokr_w2_a"),
    (".lokr_w2_b", "lokr_w2_b"),
    (".lokr_w1", "lokr_w1"),
    (".lokr_w2", "lokr_w2"),
    # Tucker decompositions of convolutions, and orthogonal fine-tuning.
    (".hada_t1", "unsupported"),
    (".hada_t2", "unsupported"),
    (".lokr_t2", "unsupported"),
    (".oft_blocks", "unsupported"),
    (".reshape_weight", "unsupported"),
)
_MODULATION_SUFFIX = ".diff_m"
_PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "unet.",
    "model.",
    "module.",
)
_SECOND_EXPERT_PREFIX = "transformer_2."
_UNDERSCORE_PREFIXES = ("lora_unet__", "lora_unet_", "lycoris_", "lora_transformer_")


@dataclass(frozen=True, kw_only=True)
class ParsedName:
    """A tensor's name in a LoRA file.

    Attributes:
        module: the module's name without prefix, with dots, or as kohya writes it.
        underscores: whether the name has underscores in place of dots.
        role: what the tensor is; None for a suffix of no known kind.
        second_expert: whether the name says that it belongs to the expert for low noise.
    """

    module: str
    underscores: bool
    role: Role | None
    second_expert: bool


def parse_name(name: str) -> ParsedName:
    """Take a tensor's name apart."""
    module, role = _split_suffix(name)
    second_expert = False
    stripped = True
    while stripped:
        stripped = False
        if module.startswith(_SECOND_EXPERT_PREFIX):
            module, second_expert, stripped = module.removeprefix(_SECOND_EXPERT_PREFIX), True, True
        for prefix in _PREFIXES:
            if module.startswith(prefix):
                module, stripped = module.removeprefix(prefix), True
    for prefix in _UNDERSCORE_PREFIXES:
        if module.startswith(prefix):
            return ParsedName(
                module=module.removeprefix(prefix), underscores=True, role=role, second_expert=second_expert
            )
    return ParsedName(module=module, underscores=False, role=role, second_expert=second_expert)


def _split_suffix(name: str) -> tuple[str, Role | None]:
    if name.endswith(_MODULATION_SUFFIX):
        owner = name.removesuffix(_MODULATION_SUFFIX)
        return (owner if owner.endswith("modulation") else owner + ".modulation"), "diff"
    for suffix, role in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix), role
    return name, None


class ModuleTable:
    """The modules of a model under all names that files have for them.

    Args:
        parameters: names of the model's parameters.
    """

    def __init__(self, parameters: Iterable[str]) -> None:
        self._by_name: dict[str, str] = {}
        self._by_underscores: dict[str, str] = {}
        for parameter in parameters:
            module = parameter.removesuffix(".weight").removesuffix(".bias")
            for name in (module, to_original_transformer_key(module)):
                self._by_name[name] = module
                self._by_underscores[name.replace(".", "_")] = module

    def find(self, name: ParsedName) -> str | None:
        """Our name of a file's module or bare parameter, or None where the model has no such module."""
        if name.underscores:
            return self._by_underscores.get(name.module)
        return self._by_name.get(name.module)


def canonical_name(name: ParsedName) -> str:
    """Our name of a module that the model may lack, for messages; kohya's names stay as they are."""
    if name.underscores:
        return name.module
    return convert_transformer_key(name.module + ".weight").removesuffix(".weight")
