"""Blocks in the CPU's memory, copied one ahead: the same result, and two blocks on the device."""

import copy
import dataclasses

import pytest
import torch

from kinema.errors import UserError
from kinema.models.copy_ahead import CopyAhead
from kinema.models.formats.loader import open_model
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer import dit_config
from kinema.models.transformer.block_offload import offload_blocks
from kinema.models.transformer.dit import Dit
from kinema.pipeline.memory_policy import parse_memory_mode, policy_weight_bytes, select_memory_policy

CPU = torch.device("cpu")


def random_dit(conditioning, **changes):
    torch.manual_seed(0)
    config = dataclasses.replace(dit_config.tiny(text_conditioning=conditioning), layers=5, **changes)
    dit = Dit(config).eval().requires_grad_(False)
    for parameter in dit.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return dit


@pytest.mark.parametrize(
    ("conditioning", "changes"),
    [("cross", {}), ("joint", {}), ("cross", {"control_layers": (0, 3), "control_channels": 4})],
)
@torch.no_grad()
def test_same_result_with_two_blocks_on_the_device(conditioning, changes):
    dit = random_dit(conditioning, **changes)
    offloaded = copy.deepcopy(dit)
    offload = offload_blocks(offloaded, CPU)
    latents = torch.randn(1, dit.config.in_channels, 3, 4, 4)
    control = torch.randn(1, 4, 3, 4, 4) if changes else None
    prompt = TextEmbeddings.from_list([torch.randn(5, dit.config.text_width)])
    blocks = [*offloaded.blocks, *(offloaded.vace_blocks if changes else ())]
    largest = sorted(sum(p.nbytes for p in block.parameters()) for block in blocks)
    resident = []
    for block in blocks:
        block.register_forward_hook(lambda *_: resident.append(offload.copied_bytes))
    for step in range(2):
        sigma = torch.full((1, 3), 0.7 - 0.3 * step)
        context, expected_context = offloaded.context(prompt), dit.context(prompt)
        found = offloaded(latents, sigma, context, control=control)
        assert found.equal(dit(latents, sigma, expected_context, control=control))
    assert len(resident) >= 2 * len(blocks)
    assert 0 < max(resident) <= offload.peak_bytes <= sum(largest[-2:])
    # Between two passes the parameters are in the CPU's memory again, and unchanged.
    for name, parameter in dit.state_dict().items():
        assert offloaded.state_dict()[name].equal(parameter)


def test_copies_are_of_the_block_and_the_next():
    tensors = [[torch.full((4,), float(index)), None] for index in range(4)]
    copies = CopyAhead(tensors, CPU)
    for index in (0, 1, 2, 3):
        first, second = copies.fetch(index, index + 1)
        assert second is None
        assert first.equal(tensors[index][0])
        assert first.data_ptr() != tensors[index][0].data_ptr()
        assert copies.num_copied_blocks == min(2, 4 - index)
    copies.drop()
    assert copies.copied_bytes == 0


def test_plan_for_a_card():
    model = open_model("world")
    assert parse_memory_mode("8GB") == 8 * 10**9
    assert parse_memory_mode("1.5 GiB") == 3 * 2**29
    whole = select_memory_policy(model, CPU, dtype="float32", memory=8 * 10**9)
    assert whole.keep_loaded
    assert not whole.offload_blocks
    sizes = policy_weight_bytes(model, whole)
    # Less than the whole transformer, more than two of its six blocks.
    budget = int(sizes["transformer"] / 0.7) - 1
    small = select_memory_policy(model, CPU, dtype="float32", memory=budget)
    assert small.offload_blocks
    assert policy_weight_bytes(model, small)["transformer"] < 0.5 * sizes["transformer"]
    with pytest.raises(UserError, match=r"world does not fit into 0\.001 GB; it needs .* GB with blocks"):
        select_memory_policy(model, CPU, dtype="float32", memory=10**6)
    for text in ("8", "8TB", "0GB", "-1GB", "lots"):
        with pytest.raises(UserError, match="or a size such as 8GB"):
            parse_memory_mode(text)
