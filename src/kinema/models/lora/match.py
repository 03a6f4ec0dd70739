"""A LoRA file and a model: which weights it changes, and how.

Names and shapes are compared before a tensor is read, so that a wrong base model is an error before the work.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.models.lora.changes import WeightChange
from kinema.models.lora.decode import build_changes, find_misfit
from kinema.models.lora.names import ModuleTable, ParsedName, Role, canonical_name
from kinema.models.lora.reader import LoraFile, ModuleTensors
from kinema.models.module_init import skip_init
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig

_BASE_MODELS = {
    1536: "Wan 2.1 T2V-1.3B",
    3072: "Wan 2.2 TI2V-5B",
    5120: "Wan 2.1 14B or Wan 2.2 A14B",
}
"""Published models by the channels of a token."""
_NUM_NAMES = 3
"""Names that a message lists."""
_NAME_CHARS = 80
"""Characters of such a name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraMatch:
    """A file and a model.

    Attributes:
        file: the file.
        config: of the model's transformers.
        modules: for each expert, the file's tensors by our name of the module.
        unknown: modules of the file that the model does not have.
        misfits: modules outside of the blocks whose shape is another one; they are left out.
    """

    file: LoraFile
    config: DitConfig
    modules: tuple[Mapping[str, ModuleTensors], ...]
    unknown: tuple[str, ...]
    misfits: tuple[str, ...]

    @property
    def note(self) -> str:
        """What of the file is not used, in one line; empty if all is."""
        parts = []
        if self.unknown:
            parts.append(f"{_list_names(self.unknown)}, which the model does not have")
        if self.misfits:
            parts.append(f"{_list_names(self.misfits)}, whose shape is another one")
        return f"{self.file.path.name} is used without {' and '.join(parts)}" if parts else ""


def match_lora(file: LoraFile, config: DitConfig, *, num_experts: int = 1, model_name: str) -> LoraMatch:
    """Find the file's modules in a model, and compare the shapes.

    Args:
        file: the file.
        config: of the model's transformers.
        num_experts: the number of transformers, 1 or 2.
        model_name: for messages.

    Raises:
        UserError: the file belongs to another model or is damaged.
    """
    shapes = _parameter_shapes(config)
    table = ModuleTable(shapes)
    names_experts = any(module.name.second_expert for module in file.modules)
    found: tuple[dict[str, ModuleTensors], ...] = tuple({} for _ in range(num_experts))
    unknown, misfits = list(file.unknown), []
    for module in file.modules:
        name = table.find(module.name)
        experts = _select_experts(file, module.name, names_experts, num_experts)
        if name is None or not experts:
            unknown.append(canonical_name(module.name))
            continue
        stored = {role: tensor.shape for role, tensor in module.tensors.items()}
        try:
            problem = find_misfit(stored, shapes[_weight_name(name, shapes)], shapes.get(f"{name}.bias"))
        except ValueError as error:
            raise UserError(f"{file.path.name} is damaged: {name}: {error}; download it again") from None
        if problem and "blocks." in name:
            raise UserError(
                f"{file.path.name} does not fit {model_name}: {name}: {problem}{_advice(file, config)}"
            )
        if problem:
            misfits.append(name)
            continue
        for expert in experts:
            if name in found[expert]:
                raise UserError(f"{file.path.name} is damaged: it changes {name} twice; download it again")
            found[expert][name] = module
    if not any(found):
        raise UserError(
            f"{file.path.name} does not fit {model_name}: it changes {_list_names([*unknown, *misfits])}, "
            f"and {model_name} has none of these{_advice(file, config)}"
        )
    return LoraMatch(file=file, config=config, modules=found, unknown=tuple(unknown), misfits=tuple(misfits))


def read_changes(match: LoraMatch, expert: int = 0) -> dict[str, tuple[WeightChange, ...]]:
    """The changes of each parameter, by its name in the `Dit`; tensors are float32 on the CPU.

    Args:
        match: the file and the model.
        expert: the transformer.

    Raises:
        UserError: a value is not finite, or the file has changed since it was opened.
    """
    from safetensors import SafetensorError, safe_open

    file, shapes = match.file, _parameter_shapes(match.config)
    changes: dict[str, tuple[WeightChange, ...]] = {}
    try:
        with safe_open(file.path, framework="pt") as opened:
            for name, module in match.modules[expert].items():
                tensors: dict[Role, Tensor] = {}
                for role, stored in module.tensors.items():
                    # A copy: the file may be replaced while the tensor is in use.
                    value = opened.get_tensor(stored.name).to(torch.float32, copy=True)
                    if tuple(value.shape) != stored.shape:
                        raise UserError(f"{file.path} has changed since it was opened; start again")
                    if not torch.isfinite(value).all():
                        raise UserError(
                            f"{file.path.name} is damaged: {stored.name!r} has values that are not finite; "
                            "download it again"
                        )
                    tensors[role] = value
                peft = file.peft_scales.get(module.name.second_expert)
                scale = None if peft is None else functools.partial(peft.scale, name)
                changes[_weight_name(name, shapes)], changes[f"{name}.bias"] = build_changes(tensors, scale)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file.path} can't be read ({error}); download it again") from None
    return {name: own for name, own in changes.items() if own}


@functools.lru_cache(maxsize=4)
def _parameter_shapes(config: DitConfig) -> Mapping[str, tuple[int, ...]]:
    with skip_init():
        module = Dit(config)
    return {name: tuple(value.shape) for name, value in module.named_parameters()}


def _weight_name(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The parameter that is a module's weight, or the bare parameter itself."""
    return f"{name}.weight" if f"{name}.weight" in shapes else name


def _select_experts(
    file: LoraFile, name: ParsedName, names_experts: bool, num_experts: int
) -> tuple[int, ...]:
    """The transformers that a module's change is for; none if the model has no such transformer."""
    if names_experts:
        expert = int(name.second_expert)
        return (expert,) if expert < num_experts else ()
    if num_experts == 1 or file.expert is None:
        return tuple(range(num_experts))
    return (file.expert,)


def _advice(file: LoraFile, config: DitConfig) -> str:
    """What the file was trained for, as far as its shapes tell, and what to do."""
    widths = {
        module.tensors["down"].shape[1]
        for module in file.modules
        if "down" in module.tensors
        and len(module.tensors["down"].shape) == 2
        and module.name.module.endswith(("attn.q", "attn_q", "to_q"))
    }
    width = next(iter(widths)) if len(widths) == 1 else None
    if width is None or width == config.width:
        return "; choose a LoRA of this model"
    base = _BASE_MODELS.get(width, "another model")
    return f"; it was trained for {base} ({width} channels): give that as --model, or choose another LoRA"


def _list_names(names: Sequence[str]) -> str:
    # Names come from the file, and may have any characters and any length.
    first = ", ".join(repr(name[:_NAME_CHARS])[1:-1] for name in names[:_NUM_NAMES])
    more = len(names) - _NUM_NAMES
    listed = f"{first} and {more} more" if more > 0 else first
    return f"{len(names)} module{'s' if len(names) > 1 else ''} ({listed})"
