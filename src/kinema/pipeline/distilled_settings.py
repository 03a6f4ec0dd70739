"""Few steps, for weights that were distilled to them."""

from __future__ import annotations

from dataclasses import dataclass

from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint


@dataclass(frozen=True, kw_only=True)
class DistilledSettings:
    """The settings of the fast path."""

    num_inference_steps: int
    guidance_scale: float


def distilled_settings(model: ModelCheckpoint) -> DistilledSettings:
    """How the model makes films in few steps, without guidance.

    Raises:
        UserError: its weights were not distilled; the message says what is quicker all the same.
    """
    steps = model.sampling_defaults.distilled_steps
    if steps is None:
        raise UserError(
            f"{model.name} was not distilled to few steps; for speed at a loss give fewer steps "
            f"(--steps {max(1, model.sampling_defaults.num_inference_steps // 2)}) or leave guidance out (--guidance 1)"
        )
    return DistilledSettings(num_inference_steps=steps, guidance_scale=1.0)
