"""A LoRA step equals that of peft and diffusers; frozen weights in few bits; block swap; checkpointing."""

import dataclasses

import pytest
import torch

from kinema.models.formats.loader import open_model
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import tiny
from kinema.training.frozen_linear import BlockSwap, FrozenLinear, freeze_base
from kinema.training.lora_layers import LoraConfig, add_lora, list_targets, lora_parameters
from tests.fixtures import wan_fixtures

CPU = torch.device("cpu")


def random_dit(**changes):
    torch.manual_seed(0)
    dit = Dit(dataclasses.replace(tiny(), width=64, heads=2, layers=4, mlp_width=128, **changes))
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return dit


def batch_for(dit, batch=2, frames=3, side=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    channels = dit.config.in_channels
    latents = torch.randn(batch, channels, frames, side, side, generator=generator)
    target = torch.randn(batch, dit.config.out_channels, frames, side, side, generator=generator)
    sigmas = torch.rand(batch, 1, generator=generator).expand(-1, frames).contiguous()
    text = TextEmbeddings.from_list(
        [torch.randn(n, dit.config.text_width, generator=generator) for n in (5, 9)[:batch]]
    )
    return latents, sigmas, text, target


def loss_of(dit, batch, *, recompute=False):
    latents, sigmas, text, target = batch
    velocity = dit(latents, sigmas, dit.context(text), recompute=recompute)
    return (velocity.float() - target).square().mean()


def randomize_lora(dit):
    generator = torch.Generator().manual_seed(3)
    for name, parameter in lora_parameters(dit):
        if "lora_B" in name:
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)


def test_a_new_lora_changes_nothing_and_only_it_is_trained():
    dit = random_dit()
    batch = batch_for(dit)
    before = loss_of(dit, batch)
    assert len(list_targets(dit, LoraConfig())) == 40, "ten linear layers in each of four blocks"
    freeze_base(dit, "float32", CPU)
    add_lora(dit, LoraConfig(rank=4), seed=0, device=CPU)
    loss = loss_of(dit, batch)
    assert loss.item() == pytest.approx(before.item(), rel=1e-6)
    loss.backward()
    trained = {name for name, parameter in dit.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in lora_parameters(dit)}
    assert len(trained) == 80


def test_the_seed_determines_the_new_lora():
    first, second, other = random_dit(), random_dit(), random_dit()
    for dit, seed in ((first, 1), (second, 1), (other, 2)):
        freeze_base(dit, "float32", CPU)
        add_lora(dit, LoraConfig(rank=4), seed=seed, device=CPU)
    values = [torch.cat([p.flatten() for _, p in lora_parameters(dit)]) for dit in (first, second, other)]
    assert values[0].equal(values[1])
    assert not values[0].equal(values[2])


@pytest.mark.parametrize(
    ("base_dtype", "tolerance"), [("float32", 0.0), ("bfloat16", 0.01), ("fp8", 0.05), ("int8", 0.01)]
)
def test_frozen_weights_in_few_bits(base_dtype, tolerance):
    """The loss and the gradients of a LoRA over frozen weights, relative to float32 weights."""
    results = []
    for storage in ("float32", base_dtype):
        dit = random_dit()
        freeze_base(dit, storage, CPU)
        add_lora(dit, LoraConfig(rank=4), seed=0, device=CPU)
        randomize_lora(dit)
        loss = loss_of(dit, batch_for(dit))
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for _, p in lora_parameters(dit)])
        results.append((loss.item(), gradient))
    (expected, reference), (loss, gradient) = results
    assert abs(loss - expected) <= tolerance * expected
    assert (gradient - reference).norm() <= 3 * tolerance * reference.norm()
    bits = {"float32": 32, "bfloat16": 16, "fp8": 8, "int8": 8}[base_dtype]
    layers = [module for module in dit.modules() if isinstance(module, FrozenLinear)]
    assert len(layers) == 40
    assert all(layer.weight.element_size() * 8 == bits for layer in layers)


def test_gradients_through_frozen_layers_equal_those_of_linear_layers():
    torch.manual_seed(0)
    plain = torch.nn.Linear(24, 40)
    frozen = FrozenLinear(plain, "float32")
    x, weights = torch.randn(3, 5, 24, requires_grad=True), torch.randn(3, 5, 40)
    gradients = [torch.autograd.grad((layer(x) * weights).sum(), x)[0] for layer in (plain, frozen)]
    torch.testing.assert_close(*gradients)
    assert {name for name, _ in frozen.named_parameters()} == {"weight", "bias"}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("swapped", [1, 3, 4])
def test_block_swap_and_recomputation_change_nothing(swapped, recompute):
    def run(swapped_blocks, recompute):
        dit = random_dit()
        swap = freeze_base(dit, "bfloat16", CPU, swapped_blocks=swapped_blocks)
        add_lora(dit, LoraConfig(rank=4), seed=0, device=CPU)
        randomize_lora(dit)
        loss = loss_of(dit, batch_for(dit), recompute=recompute)
        loss.backward()
        return swap, loss, torch.cat([p.grad.flatten() for _, p in lora_parameters(dit)])

    _, expected, reference = run(0, False)
    swap, loss, gradient = run(swapped, recompute)
    assert isinstance(swap, BlockSwap)
    assert loss.equal(expected)
    assert gradient.equal(reference)
    assert swap.num_copied_blocks <= 2, "this block and the next"


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wan")
    wan_fixtures.pipeline("t2v-2.1").save_pretrained(folder)
    return folder


def test_one_step_equals_peft_and_diffusers(wan_folder):
    """Loss and gradients of a LoRA on a tiny Wan, against diffusers' transformer with peft's adapter."""
    import peft
    from diffusers import WanTransformer3DModel

    ours = open_model(str(wan_folder)).load_transformer(dtype=torch.float32, device=CPU)
    config = LoraConfig(rank=4, alpha=8.0)
    freeze_base(ours, "float32", CPU)
    add_lora(ours, config, seed=0, device=CPU)
    randomize_lora(ours)

    theirs = WanTransformer3DModel.from_pretrained(wan_folder / "transformer").requires_grad_(False)
    targets = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
    theirs.add_adapter(peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    own = dict(lora_parameters(ours))
    adapter = {
        name.replace(".default", ""): parameter
        for name, parameter in theirs.named_parameters()
        if "lora_" in name
    }
    assert own.keys() == adapter.keys()
    for name, parameter in adapter.items():
        parameter.data = own[name].data.clone()

    # A training step of flow matching: noisy latents at one sigma, the velocity as the target.
    latents, _, text, _ = batch_for(ours, side=4)
    clean, noise, sigma = latents, torch.randn(latents.shape, generator=torch.Generator().manual_seed(5)), 0.6
    noisy, target = (1 - sigma) * clean + sigma * noise, noise - clean
    velocity = ours(noisy, torch.full((2, clean.shape[2]), sigma), ours.context(text))
    loss = (velocity - target).square().mean()
    loss.backward()

    padded = torch.zeros(2, 512, text.hidden_states.shape[2])
    padded[:, : text.hidden_states.shape[1]] = text.hidden_states
    predicted = theirs(noisy, torch.full((2,), 1000 * sigma), padded, return_dict=False)[0]
    expected = torch.nn.functional.mse_loss(predicted, target)
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for name, parameter in own.items():
        torch.testing.assert_close(parameter.grad, adapter[name].grad, atol=1e-5, rtol=1e-4)
