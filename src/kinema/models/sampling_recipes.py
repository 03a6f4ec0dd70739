"""Sampling recipes of step-distilled weights: the few noise levels that they were trained for.

Distilled weights need no guidance and work at their own noise levels only. Their files carry no settings, so
a recipe is recognised by the file's name or metadata, or named by the user.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.models.sampling_defaults import SamplingDefaults, Solver


@dataclass(frozen=True, kw_only=True)
class SamplingRecipe:
    """How step-distilled weights are sampled, without guidance.

    Attributes:
        name: as users write it.
        num_inference_steps: solver steps.
        solver: `euler`, or `lcm` for weights that were trained to be noised again at every step.
        flow_shift: shift of even steps; not read with `sigmas`.
        sigmas: the noise levels, without the final 0; empty: even steps, shifted.
        boundary_step: with two experts, the step from which the second one denoises.
    """

    name: str
    num_inference_steps: int
    solver: Solver = "euler"
    flow_shift: float = 1.0
    sigmas: tuple[float, ...] = ()
    boundary_step: int | None = None


def _timesteps(*timesteps: int) -> tuple[float, ...]:
    return tuple(timestep / 1000 for timestep in timesteps)


def _trigflow(*angles: float) -> tuple[float, ...]:
    # rCM counts noise in angles: x = cos(t)·data + sin(t)·noise. Divided by cos(t) + sin(t) that is ours.
    return tuple(math.sin(angle) / (math.cos(angle) + math.sin(angle)) for angle in angles)


RECIPES = (
    SamplingRecipe(name="lightning-4", num_inference_steps=4, flow_shift=5.0, boundary_step=2),
    SamplingRecipe(name="fastwan-3", num_inference_steps=3, solver="lcm", sigmas=_timesteps(1000, 757, 522)),
    SamplingRecipe(
        name="causvid-9",
        num_inference_steps=9,
        sigmas=_timesteps(999, 934, 862, 756, 603, 410, 250, 140, 74),
    ),
    SamplingRecipe(name="causvid-3", num_inference_steps=3, solver="lcm", sigmas=_timesteps(1000, 757, 522)),
    SamplingRecipe(
        name="rcm-4", num_inference_steps=4, solver="lcm", sigmas=_trigflow(math.atan(80), 1.3, 1.0, 0.6)
    ),
    SamplingRecipe(name="self-forcing-4", num_inference_steps=4, solver="lcm", flow_shift=5.0),
)
"""lightning: lightx2v and Wan2.2-Lightning. fastwan: FastWan (DMD2, arXiv 2405.14867). causvid:
arXiv 2412.07772. rcm: arXiv 2510.08431. self-forcing: arXiv 2506.08009."""
_PATTERNS = (
    (r"self.?forcing|causal.?forcing|krea.*realtime|longlive|rolling.?forcing", "self-forcing-4"),
    (r"causvid", "causvid-9"),
    (r"fast.?wan", "fastwan-3"),
    (r"rcm|turbo.?(wan|diffusion)", "rcm-4"),
    (r"lightning|lightx2v|step.?distill|cfg.?distill|4.?steps?(?![a-z])", "lightning-4"),
)
"""What the names of published files contain; the first that matches counts."""


def find_recipe(name: str) -> SamplingRecipe:
    """The recipe of that name.

    Raises:
        UserError: there is none.
    """
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    names = ", ".join(recipe.name for recipe in RECIPES)
    raise UserError(f"there is no recipe {name!r}; give fast (the model's own) or one of {names}")


def recognize_recipe(file_name: str, metadata: Mapping[str, str] | None = None) -> SamplingRecipe | None:
    """The recipe of step-distilled weights or of a LoRA, by its file's name and header; None: not distilled.

    Args:
        file_name: without its folders.
        metadata: the `__metadata__` of a safetensors file. Its title and its own file name are read.
    """
    texts = [file_name]
    for key in ("modelspec.title", "ss_output_name", "name", "title"):
        value = (metadata or {}).get(key)
        if isinstance(value, str):
            texts.append(value[:200])
    for pattern, name in _PATTERNS:
        if any(re.search(rf"(?<![a-z])(?:{pattern})", text, re.IGNORECASE) for text in texts):
            return find_recipe(name)
    return None


def apply_recipe(defaults: SamplingDefaults, recipe: SamplingRecipe) -> SamplingDefaults:
    """A model's defaults with the steps, noise levels and solver of a recipe, and without guidance."""
    return dataclasses.replace(
        defaults,
        recipe=recipe.name,
        num_inference_steps=recipe.num_inference_steps,
        guidance_scale=(1.0,) * defaults.num_experts,
        solver=recipe.solver,
        eta=0.0,
        schedule="linear",
        flow_shift=recipe.flow_shift,
        sigmas=recipe.sigmas,
        boundary_step=recipe.boundary_step if defaults.num_experts == 2 else None,
    )


def fast_defaults(defaults: SamplingDefaults, *, name: str) -> SamplingDefaults:
    """The defaults of a model in few steps.

    Args:
        defaults: of the model.
        name: what the model is called in messages.

    Raises:
        UserError: the model is not distilled; the message says how to get weights that are.
    """
    if defaults.recipe is not None:
        return defaults
    if defaults.distilled_steps is not None:
        return dataclasses.replace(
            defaults,
            num_inference_steps=defaults.distilled_steps,
            guidance_scale=(1.0,) * defaults.num_experts,
        )
    raise UserError(
        f"{name} has no weights for few steps; add a step-distilled LoRA for it (lightx2v on the hub: "
        "--lora FILE), or use a merged model such as lightx2v's or FastWan"
    )
