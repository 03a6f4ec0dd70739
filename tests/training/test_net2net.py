"""An expanded transformer computes the same function, and its copied channels diverge in training."""

import dataclasses

import pytest
import torch

from kinema.errors import UserError
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig, tiny
from kinema.training.net2net import net2net_expand

SMALL = tiny(text_conditioning="joint")


def make_model(config: DitConfig) -> Dit:
    """Create a model without zero weights: a newly initialised one predicts zero."""
    torch.manual_seed(3)
    dit = Dit(config)
    for parameter in dit.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    dit.set_text_statistics(torch.randn(config.text_width), torch.rand(config.text_width) + 0.5)
    return dit


def velocity(dit: Dit, blocks: tuple[int, ...] = ()) -> torch.Tensor:
    torch.manual_seed(4)
    lengths = torch.tensor([5, 3])
    states = torch.randn(2, 5, dit.config.text_width) * (torch.arange(5) < lengths[:, None])[..., None]
    context = dit.context(TextEmbeddings(hidden_states=states, lengths=lengths))
    return dit(torch.randn(2, 4, 3, 4, 6), torch.rand(2, 3), context, block_frames=blocks)


def larger(factor: int, layers: int = SMALL.layers) -> DitConfig:
    return dataclasses.replace(
        SMALL,
        width=factor * SMALL.width,
        heads=factor * SMALL.heads,
        mlp_width=factor * SMALL.mlp_width,
        layers=layers,
    )


@pytest.mark.parametrize("blocks", [(), (1, 2)])
@pytest.mark.parametrize("target", [larger(2), larger(3), larger(1, 4), larger(2, 3)])
def test_expanded_model_computes_the_same(target: DitConfig, blocks: tuple[int, ...]) -> None:
    small = make_model(SMALL)
    large = Dit(target)
    large.load_state_dict(net2net_expand(small.state_dict(), SMALL, target))
    torch.testing.assert_close(velocity(large, blocks), velocity(small, blocks), atol=2e-5, rtol=1e-4)


def test_copied_channels_diverge() -> None:
    target = larger(2)
    dit = Dit(target)
    dit.load_state_dict(net2net_expand(make_model(SMALL).state_dict(), SMALL, target))
    velocity(dit).square().mean().backward()
    for name, parameter in dit.named_parameters():
        if name.startswith("blocks.") and parameter.ndim == 2:
            gradient = parameter.grad
            assert gradient is not None
            first, second = gradient.chunk(2)
            assert (first - second).norm() > 0.02 * gradient.norm(), name


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (dataclasses.replace(larger(2), patch_size=1), "patch"),
        (dataclasses.replace(larger(2), heads=SMALL.heads), "heads"),
        (dataclasses.replace(SMALL, mlp_width=SMALL.mlp_width + 32), "whole factors"),
        (dataclasses.replace(SMALL, layers=1), "no fewer layers"),
    ],
)
def test_unsupported_expansion_is_a_user_error(target: DitConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        net2net_expand(Dit(SMALL).state_dict(), SMALL, target)
