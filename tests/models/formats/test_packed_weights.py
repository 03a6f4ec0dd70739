"""Quantised weights that stay as their file stores them: mapped, and exactly the dequantised ones."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kinema.models.formats.loader import open_model
from kinema.models.lora.apply import LoraLinear, apply_loras
from kinema.models.lora.match import match_lora
from kinema.models.lora.reader import open_lora
from kinema.models.packed_weight import PackedLinear
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.block_offload import offload_blocks
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.int8 import quantize_
from kinema.pipeline.memory_policy import weight_bytes
from tests.fixtures import wan_files, wan_fixtures

CPU = torch.device("cpu")
KINDS = ("Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "F16", "fp8_scaled", "int8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return wan_files.save_folder(tmp_path_factory.mktemp("wan") / "folder")


@pytest.fixture(scope="module")
def models(folder, tmp_path_factory):
    """A checkpoint of each kind."""
    root, original = tmp_path_factory.mktemp("packed"), wan_files.original_tensors(folder)
    opened = {}
    for kind in KINDS:
        file = root / f"wan-{kind}.{'gguf' if kind[0] in 'QF' else 'safetensors'}"
        if kind == "fp8_scaled":
            save_file(wan_files.fp8_scaled(original, suffix="scale_weight", per_row=False)[0], file)
        elif kind == "int8":
            save_file(wan_files.int8_rows(original)[0], file)
        else:
            wan_files.write_gguf(file, original, kind)
        opened[kind] = open_model(str(file), vae=str(folder), text_encoder=str(folder))
    return opened


@torch.no_grad()
def velocity(dit: Dit, dtype=torch.float32):
    torch.manual_seed(0)
    prompt = TextEmbeddings.from_list([torch.randn(5, wan_fixtures.TEXT_WIDTH)]).to(dtype=dtype)
    return dit(torch.randn(1, 16, 2, 4, 4), torch.full((1, 2), 0.7), dit.context(prompt))


def load(model, *, keep_packed=True, dtype=torch.float32) -> Dit:
    return model.load_transformer(dtype=dtype, device=CPU, keep_packed=keep_packed)


def packed_layers(dit: Dit) -> list[PackedLinear]:
    return [module for module in dit.modules() if isinstance(module, PackedLinear)]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in ("Q4_K", "Q8_0", "fp8_scaled") else pytest.mark.slow)
        for kind in KINDS
    ],
)
def test_results_are_those_of_the_dequantised_weights(models, kind):
    for dtype in (torch.float32, torch.bfloat16):
        packed, plain = load(models[kind], dtype=dtype), load(models[kind], keep_packed=False, dtype=dtype)
        assert len(packed_layers(packed)) == 20
        assert not packed_layers(plain)
        for name, layer in packed.named_modules():
            if isinstance(layer, PackedLinear):
                own = plain.get_submodule(name)
                assert isinstance(own, nn.Linear)
                assert torch.equal(layer.unpack_weight(dtype), own.weight)
                assert torch.equal(layer.unpack(dtype).weight, own.weight)
        assert torch.equal(velocity(packed, dtype), velocity(plain, dtype))


def is_mapped(tensor: torch.Tensor, file: Path) -> bool:
    """Whether a tensor's memory is a mapping of the file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, rest = line.partition(" ")
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= tensor.data_ptr() < end:
            return rest.endswith(str(file))
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what is mapped")
@pytest.mark.parametrize("kind", ["Q4_K", "F16", "fp8_scaled"])
def test_there_is_no_second_copy(models, kind):
    for layer in packed_layers(load(models[kind])):
        assert is_mapped(layer.get_buffer("values"), models[kind].folder)


@pytest.mark.parametrize("kind", ["Q4_K", "fp8_scaled"])
def test_memory_is_that_of_the_file(models, kind):
    sizes = weight_bytes(models[kind], torch.float32, int8=False)
    dit = load(models[kind])
    tensors = [*dit.parameters(), *dit.buffers()]
    scales = sum(layer.get_buffer("scale").nbytes for layer in packed_layers(dit) if kind == "fp8_scaled")
    assert sizes["transformer"] == sum(tensor.nbytes for tensor in tensors) - scales
    assert sizes["transformer"] < 0.5 * sum(
        t.nbytes for t in load(models[kind], keep_packed=False).parameters()
    )


@pytest.mark.parametrize("kind", ["Q4_K", "int8"])
def test_blocks_are_offloaded(models, kind):
    dit = load(models[kind])
    expected = velocity(dit)
    offload = offload_blocks(dit, CPU)
    assert torch.equal(velocity(dit), expected)
    block = sum(t.nbytes for t in [*dit.blocks[0].parameters(), *dit.blocks[0].buffers()])
    assert offload.peak_bytes <= 2 * block


def write_lora(file: Path, **extra) -> Path:
    generator = torch.Generator().manual_seed(0)
    stem = "diffusion_model.blocks.0.self_attn.q"
    tensors = {
        f"{stem}.lora_A.weight": torch.randn(4, 256, generator=generator),
        f"{stem}.lora_B.weight": torch.randn(256, 4, generator=generator),
        **{f"{stem}.{name}": value for name, value in extra.items()},
    }
    save_file(tensors, file)
    return file


@pytest.mark.parametrize("kind", ["Q4_K", "F16", "fp8_scaled"])
def test_a_lora_is_beside_the_weight(models, kind, tmp_path):
    model = models[kind]
    match = match_lora(open_lora(write_lora(tmp_path / "a.safetensors")), model.dit, model_name="wan")
    dit = load(model)
    before = velocity(dit)
    changed = apply_loras(dit, [(match, 0.5)])
    layer = changed.blocks[0].attn1.to_q
    assert isinstance(layer, LoraLinear)
    assert isinstance(layer.base, PackedLinear)
    expected = velocity(apply_loras(load(model, keep_packed=False), [(match, 0.5)]))
    torch.testing.assert_close(velocity(changed), expected, atol=2e-5, rtol=0)
    assert (expected - before).abs().max() > 1e-3
    assert torch.equal(velocity(dit), before)


def test_a_lora_that_needs_the_weight_restores_its_layer(models, tmp_path):
    model = models["Q4_K"]
    file = write_lora(tmp_path / "dora.safetensors", dora_scale=torch.full((256, 1), 0.7))
    match = match_lora(open_lora(file), model.dit, model_name="wan")
    changed = apply_loras(load(model), [(match, 1.0)])
    assert type(changed.blocks[0].attn1.to_q) is nn.Linear
    assert isinstance(changed.blocks[0].attn1.to_k, PackedLinear)
    expected = velocity(apply_loras(load(model, keep_packed=False), [(match, 1.0)]))
    torch.testing.assert_close(velocity(changed), expected, atol=2e-5, rtol=0)


def test_int8_starts_from_stored_weights(models):
    packed, plain = load(models["Q8_0"]), load(models["Q8_0"], keep_packed=False)
    quantize_(packed)
    quantize_(plain)
    assert not packed_layers(packed)
    assert torch.equal(velocity(packed), velocity(plain))


def test_a_layer_is_copied_with_its_values(models):
    dit = load(models["Q4_K"])
    assert torch.equal(velocity(copy.deepcopy(dit)), velocity(dit))
